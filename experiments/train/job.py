"""The body of run_train.py: retraining, test, baselines, table, report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from experiments.build import build
from experiments.commands.export import listed
from experiments.context import Setting, require_window, resolved, versions, write_config
from experiments.networks import resolve, resolve_all
from experiments.progress import TrainingProgress, scored
from experiments.search.random_counterpart import rival
from experiments.train.exports import export_rounds
from nas.artifact import Artifact
from nas.baselines.simple import feature_baseline, intensity_baseline, volume_baseline
from nas.cost.benchmark import benchmark
from nas.data.splits import Round
from nas.errors import NASError
from nas.export.onnx import require_formats
from nas.html.boxes import BoxExample, mean_overlaps
from nas.html.slices import Example, chosen_cases
from nas.metrics.bootstrap import GroupBootstrap, mean_of
from nas.metrics.surface import dice
from nas.report import train_report
from nas.retraining.folds import Tested, retrain
from nas.retraining.predictions import predictions_csv
from nas.retraining.tables import Row, caption, markdown, terminal
from nas.tasks.segmentation import Segmentation
from nas.tracking import Tracker
from nas.training import distributed
from nas.training.distributed import is_main
from nas.training.settings import TrainingSettings
from nas.utils.files import write_text

PROTOCOLS = ("holdout", "cross_validation")


@dataclass
class System:
    """A row of the table.

    indices (N,), prob: the tested samples and their mean probability over the rounds, (N, K), of a segmentation
    (N, K, D, H, W), of a detection pooled boxes (`Task.pooled`). tested: the single networks behind it, one a round.
    costs: as `benchmark` gives them; empty where it is no single network.
    """

    name: str
    indices: np.ndarray
    prob: np.ndarray
    tested: list[Tested] = field(default_factory=list)
    costs: Mapping[str, Any] = field(default_factory=dict)


def run_train_experiment(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """Retrains `arch` on the split's rounds and writes into `folder`:

    result.json, predictions.csv, table.md, report.html, config.yaml, checkpoints/. Returns the content of result.json.
    The same command again goes on where it was. Raises NASError for a user's mistake.
    """
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
        require_window(setting, network.space, network.arch)
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
        pooled = setting.task.pooled([(system.indices, system.prob) for system in systems])
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
        self.training = build(cfg.training, "training", TrainingSettings, cfg.allow_packages)
        self.board = build(cfg.tracking, "tracking", Tracker, cfg.allow_packages)

    def network(self, network: Artifact, name: str, supernet: Path | None = None) -> System:
        score = self.setting.task.score
        lines: dict[str, TrainingProgress] = {}

        def on_epoch(part: str, epoch: int, epochs: int, metrics: Mapping[str, float]) -> None:
            if is_main():
                line = lines.setdefault(part, TrainingProgress(f"{name} {part}", keep=True))
                line.update(epoch, epochs, scored(score, metrics))
                if metrics:
                    self.board.scalar(f"{name}: validation {score}", part, epoch, metrics[score])

        where = self.folder / "checkpoints" / network.arch.id
        if is_main():
            network.save(where / "arch.json")  # with the weights beside it, all that a later command needs
        tested = retrain(network, self.setting, self.rounds, self.training, self.cfg.seed, where, supernet, on_epoch)
        for line in lines.values():
            line.close()
        indices, prob = self.setting.task.pooled([(one.indices, one.prob) for one in tested])
        costs = benchmark(network.build(self.setting.task.spec), self.setting.store.input_shape, self.setting.device)
        return System(name, indices, prob, tested, costs)

    def baselines(self, networks: Sequence[Artifact]) -> list[System]:
        wanted, store, seed = self.cfg.baselines, self.setting.store, self.cfg.seed
        found = []
        if wanted.volume and store.kind == "classification":
            found.append(System("volume", *volume_baseline(store, self.rounds)))
        if wanted.features and store.kind == "classification":
            found.append(System("features", *feature_baseline(store, self.rounds, seed)))
        if wanted.intensity and store.kind == "segmentation":
            found.append(System("intensity", *intensity_baseline(store, self.rounds, seed)))
        searched = next((network for network in networks if "search" in network.provenance), None)
        if wanted.random_search and searched is not None:
            found.append(
                self.network(*rival(searched, self.folder / "random_search", self.setting, resolved(self.cfg)))
            )
        ids = {network.arch.id for network in networks}
        if wanted.published:
            known = resolve(wanted.published, self.setting.task.spec, self.cfg.allow_packages)
            if known.arch.id not in ids and known.space.kind == self.setting.task.kind:
                found.append(self.network(known, wanted.published))
        return found


class _Scorer:
    """Metrics of systems on the tested samples, with intervals by bootstrap over patients."""

    def __init__(self, setting: Setting, rows: np.ndarray, resamples: int, seed: int) -> None:
        self.setting, self.rows = setting, rows
        self.target = setting.store.targets(rows)
        self.spacing_mm = setting.store.voxel_mm(rows)
        self.group = setting.store.groups[rows]
        self.bootstrap = GroupBootstrap(self.group, setting.store.labels[rows], resamples, seed)

    def of(self, system: System) -> dict[str, float]:
        return dict(self.setting.task.metrics(system.prob, self.target, self.spacing_mm))

    def interval(self, system: System) -> dict[str, tuple[float, float]]:
        return self.bootstrap.interval(self.setting.task.resampled(system.prob, self.target, self.spacing_mm))

    def folds(self, system: System) -> list[dict[str, Any]]:
        """One entry a round: its name, number of test samples, and the metrics of its single network."""
        return [
            {"fold": one.round, "n": len(one.indices), **self.setting.task.metrics(one.prob, *self._truth(one))}
            for one in system.tested
        ]

    def interval_of_mean(self, system: System) -> dict[str, tuple[float, float]]:
        """Of the mean over the rounds' networks: patients are resampled once, each network is scored on its part."""
        place = {int(row): position for position, row in enumerate(self.rows)}
        parts = []
        for one in system.tested:
            index = np.full(len(self.rows), -1)
            index[[place[int(row)] for row in one.indices]] = np.arange(len(one.indices))
            parts.append((index, self.setting.task.resampled(one.prob, *self._truth(one))))

        def statistic(rows: np.ndarray) -> dict[str, float]:
            scored = [resampled(index[rows[index[rows] >= 0]]) for index, resampled in parts]
            return mean_of([one for one in scored if one])

        return self.bootstrap.interval(statistic)

    def _truth(self, one: Tested) -> tuple[np.ndarray, np.ndarray | None]:
        return self.setting.store.targets(one.indices), self.setting.store.voxel_mm(one.indices)


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
    result: dict[str, Any] = {
        "name": main.name,
        "arch_id": networks[0].arch.id,
        **main.costs,
        "protocol": plain["protocol"],
        "folds": folds,
        "mean": mean_of([{name: fold[name] for name in fold if name not in ("fold", "n")} for fold in folds]),
        "ci95": scorer.interval_of_mean(main),
        "ensembles": {system.name: {**pooled[system.name], "ci95": bounds[system.name]} for system in systems},
        "baselines": {system.name: {**pooled[system.name], "ci95": bounds[system.name]} for system in baselines},
        "data": setting.data_facts,
        "split": setting.split_facts,
        "tested": {"samples": len(scorer.rows), "groups": len(np.unique(scorer.group))},
        "seed": plain["seed"],
        "versions": versions(),
    }
    if setting.task.kind == "segmentation":
        result["length_unit"] = "voxels" if scorer.spacing_mm is None else "mm"
    rows = [Row(one.name, pooled[one.name], bounds[one.name], one.costs) for one in everything]
    if len(folds) > 1:
        rows.insert(0, Row(f"{main.name}, mean of {len(folds)}", result["mean"], result["ci95"], main.costs))
        if plain["protocol"] == "holdout":
            rows = [Row(_of_folds(row.system, everything), row.metrics, row.ci95, row.costs) for row in rows]
    write_text(folder / "result.json", json.dumps(result, indent=1) + "\n")
    write_text(folder / "table.md", markdown(rows, caption(result)))
    write_text(
        folder / "predictions.csv", predictions_csv(setting, scorer.rows, {one.name: one.prob for one in everything})
    )
    train_report(
        folder / "report.html",
        title=f"Training {plain['name']}",
        space=networks[0].space,
        arch=networks[0].arch,
        result=result,
        predictions=_curves(scorer, main, everything) if setting.task.kind == "classification" else {},
        examples=_examples(setting, scorer, main),
        boxes=_box_examples(setting, scorer, main),
        table_rows=[row.cells() for row in rows],
    )
    print(terminal(rows, caption(result)))
    print(f"\nwrote {folder / 'table.md'} and {folder / 'report.html'}")
    return result


def _of_folds(name: str, systems: Sequence[System]) -> str:
    """Under `holdout` a network's row is the ensemble of its folds' networks, and says so."""
    folds = {system.name: len(system.tested) for system in systems}.get(name, 0)
    return f"{name}, ensemble of {folds}" if folds > 1 else name


def _curves(scorer: _Scorer, main: System, everything: Sequence[System]) -> dict[str, np.ndarray]:
    """What the report draws ROC curves and the confusion matrix from."""
    positive = {one.name: one.prob[:, 1] if one.prob.shape[1] == 2 else one.prob for one in everything}
    others = {f"prob_{name}": value for name, value in positive.items() if name != main.name}
    return {"label": scorer.target, "group": scorer.group, "prob": positive[main.name], **others}


def _examples(setting: Setting, scorer: _Scorer, main: System) -> list[Example]:
    """The test cases of a segmentation that the report shows."""
    if not isinstance(setting.task, Segmentation):
        return []
    guess = main.prob.argmax(axis=1)
    dice_N = np.ma.masked_invalid(dice(guess, scorer.target, main.prob.shape[1])).mean(axis=1).filled(np.nan)
    found = []
    for position in chosen_cases(dice_N):
        name, image = _image(setting, scorer.rows[position])
        found.append(Example(name, image, scorer.target[position], guess[position], float(dice_N[position])))
    return found


def _box_examples(setting: Setting, scorer: _Scorer, main: System) -> list[BoxExample]:
    """The test images of a detection that the report shows."""
    if setting.task.kind != "detection":
        return []
    chosen = chosen_cases(mean_overlaps(main.prob, scorer.target))
    return [
        BoxExample(*_image(setting, scorer.rows[position]), scorer.target[position], main.prob[position])
        for position in chosen
    ]


def _image(setting: Setting, row: int) -> tuple[str, np.ndarray]:
    """Name and first channel of a sample."""
    image = setting.store.read([row]).reshape(setting.store.sample_shape)[0]
    return str(setting.store.names[row]), image
