"""The body of run_train.py: retraining, test, baselines, table, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig

from experiments.config import resolved
from experiments.context import Setting, require_window, write_config
from experiments.networks import resolve, resolve_all
from experiments.progress import TrainingProgress, scored
from experiments.search.random_counterpart import random_counterpart
from experiments.train.exports import export_rounds
from nas.artifact import Artifact
from nas.context import versions
from nas.cost.benchmark import benchmark
from nas.data.splits import Round
from nas.errors import NASError
from nas.export.onnx import require_formats
from nas.export.trained import listed
from nas.metrics.bootstrap import mean_of
from nas.metrics.metric import MM, VOXELS, in_unit_of
from nas.report import train_report
from nas.retraining.folds import retrain
from nas.retraining.predictions import predictions_csv
from nas.retraining.result import TrainResult
from nas.retraining.scoring import Scorer, System
from nas.retraining.tables import Row, caption, markdown, terminal
from nas.training import distributed
from nas.training.distributed import is_main
from nas.utils.files import write_text

PROTOCOLS = ("holdout", "cross_validation")


def run_train_experiment(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """Retrains `arch` on the split's rounds and writes into `folder`:

    result.json, predictions.csv, table.md, report.html, config.yaml, checkpoints/. Returns the content of result.json.
    The same command again goes on where it was. Raises NASError for a user's mistake.
    """
    if not isinstance(cfg.seed, int) or cfg.seed < 0:
        raise NASError(f"seed={cfg.seed}", "at least 0", "set seed to 0 or more")
    setting = Setting.of(cfg)
    plain = resolved(cfg)
    if cfg.protocol not in PROTOCOLS:
        raise NASError(f"protocol={cfg.protocol}", f"one of {', '.join(PROTOCOLS)}", "mend protocol")
    networks = resolve_all(plain["arch"], setting.task.spec, cfg.allow_packages, plain["space_changes"])
    if formats := listed(plain["export"]):
        require_formats(formats)
    split = setting.split
    rounds = split.holdout_rounds() if cfg.protocol == "holdout" else split.cross_validation_rounds()
    if cfg.rounds is not None:
        rounds = _first(rounds, cfg)
    for network in networks:
        require_untouched_test(network, setting, cfg.protocol)
        require_window(setting.task, setting.store.shape[0], network.space, network.arch)
    device = distributed.initialise(setting.device)
    setting = replace(setting, device=device)
    if is_main():
        write_config(folder / "config.yaml", plain)
    try:
        return _run(cfg, plain, setting, networks, rounds, folder)
    finally:
        distributed.shutdown()


def _run(
    cfg: DictConfig,
    plain: Mapping[str, Any],
    setting: Setting,
    networks: Sequence[Artifact],
    rounds: Sequence[Round],
    folder: Path,
) -> dict[str, Any]:
    trainer = _Trainer(cfg, setting, rounds, folder)
    supernet = Path(cfg.supernet) if cfg.supernet else None
    systems = [trainer.network(network, network_name(network), supernet) for network in networks]
    if len(networks) > 1:
        pooled = setting.task.pool([(system.indices, system.prediction) for system in systems])
        systems.insert(0, System(f"ensemble of {len(networks)} networks", *pooled))
    baselines = trainer.baselines(networks)
    trainer.board.close()
    if not is_main():
        return {}
    result = _write(folder, plain, setting, networks, systems, baselines)
    if formats := listed(plain["export"]):
        export_rounds(networks, rounds, folder, formats, cfg.allow_packages)
    return result


def _first(rounds: list[Round], cfg: DictConfig) -> list[Round]:
    if cfg.protocol != "holdout" or not isinstance(cfg.rounds, int) or not 1 <= cfg.rounds <= len(rounds):
        raise NASError(
            f"rounds={cfg.rounds} with protocol={cfg.protocol}",
            f"1 to {len(rounds)} rounds of protocol=holdout, or null",
            "mend rounds",
        )
    return rounds[: cfg.rounds]


def require_untouched_test(network: Artifact, setting: Setting, protocol: str) -> None:
    """A searched network is tested on the fold its search never saw: same data, same split, protocol holdout."""
    search = network.provenance.search
    if search is None or setting.split.overfit:  # tests on samples that it trained on, and the table states it
        return
    if protocol != "holdout":
        raise NASError(
            f"protocol={protocol} for a network whose search saw all folds but one",
            "protocol=holdout",
            "leave protocol as it is, or search anew for each test fold (split.test_fold)",
        )
    if search.data.sha256 == setting.store.sha256 and search.split.sha256 != setting.split.sha256:
        raise NASError(
            f"a split {setting.split.sha256[:12]} for a network searched under {search.split.sha256[:12]}",
            "the split of the search, whose test fold it never saw",
            "use the same split.* and seed settings as the search",
        )


def network_name(network: Artifact) -> str:
    return network.provenance.published or f"searched {network.arch.id}"


class _Trainer:
    """Trains networks and fits baselines on the same rounds."""

    def __init__(self, cfg: DictConfig, setting: Setting, rounds: Sequence[Round], folder: Path) -> None:
        self.cfg, self.setting, self.rounds, self.folder = cfg, setting, rounds, folder
        self.training = instantiate(cfg.training)
        self.board = instantiate(cfg.tracking)

    def network(self, network: Artifact, name: str, supernet: Path | None = None) -> System:
        score = self.setting.task.score_name
        lines: dict[str, TrainingProgress] = {}

        def on_epoch(part: str, epoch: int, epochs: int, metrics: Mapping[str, float]) -> None:
            if is_main():
                line = lines.setdefault(part, TrainingProgress(f"{name} {part}", keep=True))
                line.update(epoch, epochs, scored(score, metrics))
                if metrics:
                    self.board.scalar(f"{name}: validation {score}", part, epoch, metrics[score])

        tested = retrain(
            network, self.setting, self.rounds, self.training, self.cfg.seed, self.folder, supernet, on_epoch
        )
        for line in lines.values():
            line.close()
        indices, prediction = self.setting.task.pool([(one.indices, one.prob) for one in tested])
        costs = benchmark(network.build(self.setting.task.spec), self.setting.store.input_shape, self.setting.device)
        return System(name, indices, prediction, tested, costs)

    def baselines(self, networks: Sequence[Artifact]) -> list[System]:
        wanted, store, seed = resolved(self.cfg)["baselines"], self.setting.store, self.cfg.seed
        found = [
            System(baseline.name, *baseline.fit_and_predict(store, self.rounds, seed))
            for baseline in self.setting.task.baselines()
            if wanted.get(baseline.name, True)
        ]
        searched = next((network for network in networks if network.provenance.search is not None), None)
        if wanted["random_search"] and searched is not None and searched.provenance.search is not None:
            folder = self.folder / "random_search"
            found.append(self.network(*random_counterpart(searched, searched.provenance.search, folder, self.setting)))
        ids = {network.arch.id for network in networks}
        if wanted["published"]:
            known = resolve(wanted["published"], self.setting.task.spec, self.cfg.allow_packages)
            if known.arch.id not in ids and known.space.is_for(self.setting.task.spec):
                found.append(self.network(known, wanted["published"]))
        return found


def _write(
    folder: Path,
    plain: Mapping[str, Any],
    setting: Setting,
    networks: Sequence[Artifact],
    systems: Sequence[System],
    baselines: Sequence[System],
) -> dict[str, Any]:
    """systems: the ensemble of architectures first where there are several, then each network."""
    task, main, everything = setting.task, systems[-len(networks)], [*systems, *baselines]
    scorer = Scorer(setting.store, task, main.indices, plain["resamples"], plain["seed"])
    folds = scorer.folds(main)
    pooled = {system.name: scorer.over_all(system) for system in everything}
    bounds = {system.name: scorer.interval(system) for system in everything}
    in_mm = scorer.spacing_mm is not None
    result = TrainResult(
        name=main.name,
        arch_id=networks[0].arch.id,
        costs=main.costs,
        protocol=plain["protocol"],
        folds=folds,
        mean=mean_of([{name: fold[name] for name in fold if name not in ("fold", "n")} for fold in folds]),
        ci95=scorer.interval_of_mean(main),
        ensembles={system.name: {**pooled[system.name], "ci95": bounds[system.name]} for system in systems},
        baselines={system.name: {**pooled[system.name], "ci95": bounds[system.name]} for system in baselines},
        differences={system.name: scorer.difference(main, system) for system in baselines},
        data=asdict(setting.data_facts),
        split=asdict(setting.split_facts),
        tested={"samples": len(scorer.rows), "groups": len(np.unique(scorer.group))},
        seed=plain["seed"],
        versions=versions(),
        metrics=in_unit_of(task.metrics, in_mm),
        length_unit=(MM if in_mm else VOXELS) if any(metric.length for metric in task.metrics) else None,
    )
    rows = [Row(one.name, pooled[one.name], bounds[one.name], one.costs) for one in everything]
    if len(folds) > 1:
        rows.insert(0, Row(f"{main.name}, mean of {len(folds)}", result.mean, result.ci95, main.costs))
        if plain["protocol"] == "holdout":
            rows = [Row(_of_folds(row.system, everything), row.metrics, row.ci95, row.costs) for row in rows]
    content = result.to_json()
    result.save(folder / "result.json")
    write_text(folder / "table.md", markdown(rows, caption(result), result.columns))
    write_text(folder / "predictions.csv", predictions_csv(scorer, everything))
    train_report(
        folder / "report.html",
        title=f"Training {plain['name']}",
        space=networks[0].space,
        arch=networks[0].arch,
        result=content,
        table_rows=[row.cells(result.columns) for row in rows],
        metrics=result.metrics,
        sections=task.sections(scorer.cases(main, [one for one in everything if one is not main])),
    )
    print(terminal(rows, caption(result), result.columns))
    print(f"\nwrote {folder / 'table.md'} and {folder / 'report.html'}")
    return content


def _of_folds(name: str, systems: Sequence[System]) -> str:
    """Under `holdout` a network's row is the ensemble of its folds' networks, and says so."""
    folds = {system.name: len(system.tested) for system in systems}.get(name, 0)
    return f"{name}, ensemble of {folds}" if folds > 1 else name
