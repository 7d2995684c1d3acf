"""The body of run_train.py: retraining, test, baselines, table, report."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig

from experiments.baselines import feature_baseline, volume_baseline
from experiments.benchmark import benchmark
from experiments.networks import resolve, resolve_all
from experiments.progress import TrainingProgress
from experiments.random_baseline import random_search_network
from experiments.retrain import Tested, retrain
from experiments.setup import Setting, resolved, versions, write_config
from experiments.tables import Row, caption, markdown, terminal
from nas.artifact import Artifact
from nas.data.splits import Round
from nas.ensemble import mean_probability
from nas.errors import NASError
from nas.files import write_text
from nas.report import train_report
from nas.stats import GroupBootstrap, binary_metrics, mean_of
from nas.training import distributed
from nas.training.distributed import is_main

PROTOCOLS = ("holdout", "cross_validation")


@dataclass
class System:
    """A row of the table.

    indices (N,), prob_NK: the tested samples and their mean probability over the rounds. tested: the single networks
    behind it, one a round. costs: as `benchmark` gives them; empty where it is no single network.
    """

    name: str
    indices: np.ndarray
    prob_NK: np.ndarray
    tested: list[Tested] = field(default_factory=list)
    costs: Mapping[str, Any] = field(default_factory=dict)


def run_train_experiment(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """Retrains `arch` on the split's rounds and writes into `folder`:

    result.json, predictions.csv, table.md, report.html, config.yaml, checkpoints/. Returns the content of result.json.
    The same command again goes on where it was. Raises NASError for a user's mistake.
    """
    plain = resolved(cfg)
    setting = Setting.of(cfg)
    if cfg.protocol not in PROTOCOLS:
        raise NASError(f"protocol={cfg.protocol}", f"one of {', '.join(PROTOCOLS)}", "mend protocol")
    networks = resolve_all(plain["arch"], setting.task.spec, cfg.allow_packages)
    split = setting.split
    rounds = split.holdout_rounds() if cfg.protocol == "holdout" else split.cross_validation_rounds()
    for network in networks:
        require_untouched_test(network, setting, cfg.protocol)
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
    systems = [trainer.network(network, network_name(network)) for network in networks]
    if len(networks) > 1:
        pooled = mean_probability([(system.indices, system.prob_NK) for system in systems])
        systems.insert(0, System(f"ensemble of {len(networks)} networks", *pooled))
    baselines = trainer.baselines(networks)
    trainer.board.close()
    if not is_main():
        return {}
    return _write(folder, plain, setting, networks, systems, baselines)


def require_untouched_test(network: Artifact, setting: Setting, protocol: str) -> None:
    """A searched network is tested on the fold its search never saw: same data, same split, protocol holdout."""
    searched = network.provenance.get("split")
    if searched is None:
        return
    if protocol != "holdout":
        raise NASError(
            f"protocol={protocol} for a network whose search saw all folds but one",
            "protocol=holdout",
            "leave protocol as it is, or search anew for each test fold (split.test_fold)",
        )
    same_data = network.provenance["data"]["sha256"] == setting.store.sha256
    if same_data and searched["sha256"] != setting.split.sha256:
        raise NASError(
            f"a split {setting.split.sha256[:12]} for a network searched under {searched['sha256'][:12]}",
            "the split of the search, whose test fold it never saw",
            "use the same split.* and seed settings as the search",
        )


def network_name(network: Artifact) -> str:
    published = network.provenance.get("published")
    return str(published) if published else f"searched {network.arch.id}"


class _Trainer:
    """Trains networks and fits baselines on the same rounds."""

    def __init__(self, cfg: DictConfig, setting: Setting, rounds: Sequence[Round], folder: Path) -> None:
        self.cfg, self.setting, self.rounds, self.folder = cfg, setting, rounds, folder
        self.training = instantiate(cfg.training)
        self.board = instantiate(cfg.tracking)

    def network(self, network: Artifact, name: str) -> System:
        score = self.setting.task.score
        lines: dict[str, TrainingProgress] = {}

        def on_epoch(part: str, epoch: int, epochs: int, metrics: Mapping[str, float]) -> None:
            if is_main():
                line = lines.setdefault(part, TrainingProgress(f"{name} {part}", keep=True))
                line.update(epoch, epochs, f"{score} {metrics[score]:.3f}")
                self.board.scalar(f"{name}: validation {score}", part, epoch, metrics[score])

        where = self.folder / "checkpoints" / network.arch.id
        tested = retrain(network, self.setting, self.rounds, self.training, self.cfg.seed, where, on_epoch)
        for line in lines.values():
            line.close()
        indices, prob_NK = mean_probability([(one.indices, one.prob_NK) for one in tested])
        costs = benchmark(network.build(self.setting.task.spec), self.setting.store.shape, self.setting.device)
        return System(name, indices, prob_NK, tested, costs)

    def baselines(self, networks: Sequence[Artifact]) -> list[System]:
        wanted, store, seed = self.cfg.baselines, self.setting.store, self.cfg.seed
        found = []
        if wanted.volume:
            found.append(System("volume", *volume_baseline(store, self.rounds)))
        if wanted.features:
            found.append(System("features", *feature_baseline(store, self.rounds, seed)))
        searched = next((network for network in networks if "search" in network.provenance), None)
        if wanted.random_search and searched is not None:
            rival = random_search_network(searched, self.folder / "random_search", self.setting, resolved(self.cfg))
            found.append(self.network(rival, "random search"))
        ids = {network.arch.id for network in networks}
        if wanted.published:
            known = resolve(wanted.published, self.setting.task.spec, self.cfg.allow_packages)
            if known.arch.id not in ids:
                found.append(self.network(known, wanted.published))
        return found


class _Scorer:
    """Metrics of systems on the tested samples, with intervals by bootstrap over patients."""

    def __init__(self, setting: Setting, rows: np.ndarray, resamples: int, seed: int) -> None:
        self.setting, self.rows = setting, rows
        self.label = setting.store.labels[rows]
        self.group = setting.store.groups[rows]
        self.bootstrap = GroupBootstrap(self.group, self.label, resamples, seed)
        binary = setting.task.spec.outputs == 2
        self._resampled = binary_metrics if binary else setting.task.metrics

    def of(self, system: System) -> dict[str, float]:
        return dict(self.setting.task.metrics(system.prob_NK, self.label))

    def interval(self, system: System) -> dict[str, tuple[float, float]]:
        return self.bootstrap.interval(lambda rows: self._resampled(system.prob_NK[rows], self.label[rows]))

    def folds(self, system: System) -> list[dict[str, Any]]:
        """One entry a round: its name, number of test samples, and the metrics of its single network."""
        labels = self.setting.store.labels
        return [
            {"fold": one.round, "n": len(one.indices), **self.setting.task.metrics(one.prob_NK, labels[one.indices])}
            for one in system.tested
        ]

    def interval_of_mean(self, system: System) -> dict[str, tuple[float, float]]:
        """Of the mean over the rounds' networks: patients are resampled once, each network is scored on its part."""
        place = {int(row): position for position, row in enumerate(self.rows)}
        parts = []
        for one in system.tested:
            index = np.full(len(self.rows), -1)
            index[[place[int(row)] for row in one.indices]] = np.arange(len(one.indices))
            parts.append((index, one.prob_NK))

        def statistic(rows: np.ndarray) -> dict[str, float]:
            scored = []
            for index, prob_NK in parts:
                here = rows[index[rows] >= 0]
                if len(np.unique(self.label[here])) == prob_NK.shape[1]:
                    scored.append(self._resampled(prob_NK[index[here]], self.label[here]))
            return mean_of(scored)

        return self.bootstrap.interval(statistic)


def _write(
    folder: Path,
    plain: Mapping[str, Any],
    setting: Setting,
    networks: Sequence[Artifact],
    systems: Sequence[System],
    baselines: Sequence[System],
) -> dict[str, Any]:
    """systems: the ensemble of architectures first where there are several, then each network."""
    main = systems[-len(networks)]
    scorer = _Scorer(setting, main.indices, plain["resamples"], plain["seed"])
    folds = scorer.folds(main)
    everything = [*systems, *baselines]
    pooled = {system.name: scorer.of(system) for system in everything}
    bounds = {system.name: scorer.interval(system) for system in everything}
    metrics = list(bounds[main.name])
    result: dict[str, Any] = {
        "name": main.name,
        "arch_id": networks[0].arch.id,
        **main.costs,
        "protocol": plain["protocol"],
        "folds": folds,
        "mean": mean_of([{name: fold[name] for name in metrics} for fold in folds]),
        "ci95": scorer.interval_of_mean(main),
        "ensembles": {system.name: {**pooled[system.name], "ci95": bounds[system.name]} for system in systems},
        "baselines": {system.name: {**pooled[system.name], "ci95": bounds[system.name]} for system in baselines},
        "data": setting.data_facts,
        "split": setting.split_facts,
        "tested": {"samples": len(scorer.rows), "groups": len(np.unique(scorer.group))},
        "seed": plain["seed"],
        "versions": versions(),
    }
    single = Row(f"{main.name}, mean of {len(folds)}", result["mean"], result["ci95"], main.costs)
    rows = [single] + [Row(one.name, pooled[one.name], bounds[one.name], one.costs) for one in everything]
    if len(folds) > 1 and plain["protocol"] == "holdout":
        rows = [Row(_of_folds(row.system, everything), row.metrics, row.ci95, row.costs) for row in rows]
    write_text(folder / "result.json", json.dumps(result, indent=1) + "\n")
    write_text(folder / "table.md", markdown(rows, caption(result)))
    write_text(folder / "predictions.csv", _predictions_csv(setting, scorer, everything))
    positive = {one.name: one.prob_NK[:, 1] if one.prob_NK.shape[1] == 2 else one.prob_NK for one in everything}
    train_report(
        folder / "report.html",
        title=f"Training {plain['name']}",
        space=networks[0].space,
        arch=networks[0].arch,
        result=result,
        predictions={
            "label": scorer.label,
            "group": scorer.group,
            "prob": positive[main.name],
            **{f"prob_{name}": value for name, value in positive.items() if name != main.name},
        },
        table_rows=[row.cells() for row in rows],
    )
    print(terminal(rows, caption(result)))
    print(f"\nwrote {folder / 'table.md'} and {folder / 'report.html'}")
    return result


def _of_folds(name: str, systems: Sequence[System]) -> str:
    """Under `holdout` a network's row is the ensemble of its folds' networks, and says so."""
    folds = {system.name: len(system.tested) for system in systems}.get(name, 0)
    return f"{name}, ensemble of {folds}" if folds > 1 else name


def _predictions_csv(setting: Setting, scorer: _Scorer, systems: Sequence[System]) -> str:
    """One line a tested sample: name, patient, label, and each system's probability of every class but the first."""
    classes = setting.store.classes
    text = io.StringIO()
    writer = csv.writer(text)
    columns = [(one, k) for one in systems for k in range(1, one.prob_NK.shape[1])]
    writer.writerow(["sample", "patient", "label", *(f"{one.name}: {classes[k]}" for one, k in columns)])
    for position, row in enumerate(scorer.rows):
        values = [f"{one.prob_NK[position, k]:.6f}" for one, k in columns]
        writer.writerow([setting.store.names[row], scorer.group[position], classes[scorer.label[position]], *values])
    return text.getvalue()
