"""The body of run_train.py: retraining, test, baselines, table, report."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
from experiments.tables import Row, markdown, terminal
from nas.artifact import Artifact
from nas.data.splits import Round
from nas.ensemble import mean_probability
from nas.errors import NASError
from nas.files import write_text
from nas.report import train_report
from nas.stats import intervals
from nas.training.distributed import is_main

PROTOCOLS = ("holdout", "cross_validation")


@dataclass
class System:
    """A row of the table: what it predicts for the tested samples, and what it costs where it is a network."""

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
    write_config(folder / "config.yaml", plain)
    trainer = _Trainer(cfg, setting, rounds, folder)
    systems = [trainer.network(network, network_name(network)) for network in networks]
    if len(networks) > 1:
        pooled = mean_probability([(system.indices, system.prob_NK) for system in systems])
        systems.insert(0, System(f"ensemble of {len(networks)} networks", *pooled, tested=[]))
    baselines = trainer.baselines(networks)
    if not is_main():
        return {}
    return _write(folder, plain, setting, networks, systems, baselines, rounds)


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

    def network(self, network: Artifact, name: str) -> System:
        board = instantiate(self.cfg.tracking)
        lines: dict[str, TrainingProgress] = {}

        def on_epoch(part: str, epoch: int, epochs: int) -> None:
            if is_main():
                lines.setdefault(part, TrainingProgress(f"{name} {part}", keep=True)).update(epoch, epochs)
                board.scalar(name, part, epoch, epoch / epochs)

        where = self.folder / "checkpoints" / network.arch.id
        tested = retrain(network, self.setting, self.rounds, self.training, self.cfg.seed, where, on_epoch)
        for line in lines.values():
            line.close()
        board.close()
        indices, prob_NK = mean_probability([(one.indices, one.prob_NK) for one in tested])
        costs = benchmark(network.build(self.setting.task.spec), self.setting.store.shape, self.setting.device)
        return System(name, indices, prob_NK, tested, costs)

    def baselines(self, networks: Sequence[Artifact]) -> list[System]:
        wanted, store, seed = self.cfg.baselines, self.setting.store, self.cfg.seed
        found = []
        if wanted.volume:
            found.append(System("volume", *volume_baseline(store, self.rounds, seed)))
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
