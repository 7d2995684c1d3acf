"""Everything in a training's table: retrained networks, their ensemble, and the baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.build import build
from experiments.networks import resolve
from experiments.progress import TrainingProgress, scored
from experiments.search.random_counterpart import check_counterpart, random_counterpart
from experiments.trackers import build_trackers
from experiments.train.config import TrainConfig
from nas.artifact import Artifact
from nas.context import TaskSetup
from nas.data.splits import Fold
from nas.provenance import SearchRecord
from nas.retraining.folds import FoldTrainings
from nas.retraining.scoring import System
from nas.retraining.systems import baseline_systems, network_name, retrained_system
from nas.training.distributed import is_main
from nas.training.settings import TrainingSettings


class SystemTrainer:
    """Trains networks and fits baselines on the same rounds.

    Args:
        config: The settings.
        setting: Data, task and device.
        rounds: The rounds of the split.
        folder: The output folder.
    """

    def __init__(self, config: TrainConfig, setting: TaskSetup, rounds: Sequence[Fold], folder: Path) -> None:
        self.config, self.setting, self.rounds, self.folder = config, setting, rounds, folder
        self.training = build(config.training, "training", TrainingSettings)
        self.board = build_trackers(config.tracking)

    def check(self, networks: Sequence[Artifact]) -> None:
        """Check, before anything is written, that these networks and their random counterpart can be trained here.

        Args:
            networks: The networks.

        Raises:
            NASError: If the folder holds a training with other settings, or a search cannot be repeated at random.
        """
        for network in networks:
            self._trainings(network, self._supernet).check()
        if (searched := self._to_repeat(networks)) is not None:
            check_counterpart(*searched, self.setting, self.config.allow_packages)

    @property
    def _supernet(self) -> Path | None:
        return Path(self.config.supernet) if self.config.supernet else None

    def fingerprints(self, networks: Sequence[Artifact]) -> list[list[str]]:
        """Return what decides the predictions of networks.

        Args:
            networks: The networks.

        Returns:
            For every network, a digest per round.
        """
        return [self._trainings(network, self._supernet).fingerprints() for network in networks]

    def is_finished(self, networks: Sequence[Artifact]) -> bool:
        """Check whether the folder holds all bundles and predictions of networks.

        Args:
            networks: The networks.

        Returns:
            True if none of them is left to train.

        Raises:
            NASError: If a bundle is damaged.
        """
        return all(self._trainings(network, self._supernet).is_finished() for network in networks)

    def _to_repeat(self, networks: Sequence[Artifact]) -> tuple[Artifact, SearchRecord] | None:
        """Return the first searched network and its search, if the table compares it with random search."""
        if not self.config.wants("random_search"):
            return None
        searches = ((network, network.provenance.search) for network in networks)
        return next(((network, search) for network, search in searches if search is not None), None)

    def _trainings(self, network: Artifact, supernet: Path | None) -> FoldTrainings:
        seed = self.config.seed
        return FoldTrainings(network, self.setting, self.rounds, self.training, seed, self.folder, supernet)

    def networks(self, networks: Sequence[Artifact]) -> list[System]:
        """Retrain networks.

        Args:
            networks: The networks.

        Returns:
            Their ensemble, if there are several, then each of them.
        """
        systems = [self.network(network, network_name(network), self._supernet) for network in networks]
        if len(systems) == 1:
            return systems
        pooled = self.setting.task.pool([(system.indices, system.prediction) for system in systems])
        return [System(f"ensemble of {len(networks)} networks", *pooled), *systems]

    def network(self, network: Artifact, name: str, supernet: Path | None = None) -> System:
        """Retrain one network on every round.

        Args:
            network: The network.
            name: Its name in tables.
            supernet: last.pt of a supernet, whose weights the network starts from.

        Returns:
            The network with the pooled predictions of its rounds and its costs.
        """
        score = self.setting.task.score_name
        lines: dict[str, TrainingProgress] = {}

        def on_epoch(part: str, epoch: int, epochs: int, metrics: Mapping[str, float]) -> None:
            if is_main():
                line = lines.setdefault(part, TrainingProgress(f"{name} {part}", keep=True))
                line.update(epoch, epochs, scored(score, metrics))
                if metrics:
                    self.board.scalar(f"validation {score} of {name}", part, epoch, metrics[score])

        try:
            return retrained_system(self._trainings(network, supernet), name, on_epoch)
        finally:
            for line in lines.values():
                line.close()

    def baselines(self, networks: Sequence[Artifact]) -> list[System]:
        """Fit the baselines of the task, and train the networks that stand for random search and the literature.

        Args:
            networks: The networks of the training.

        Returns:
            The baselines that the configuration asks for.
        """
        config, task = self.config, self.setting.task
        systems = baseline_systems(self.setting, self.rounds, config.seed, config.wants)
        if (searched := self._to_repeat(networks)) is not None:
            folder = self.folder / "random_search"
            systems.append(self.network(*random_counterpart(*searched, folder, self.setting, config.allow_packages)))
        published = config.baselines.get("published")
        if published:
            known = resolve(str(published), task.spec, config.allow_packages)
            if known.arch.id not in {network.arch.id for network in networks} and known.space.is_for(task.spec):
                systems.append(self.network(known, str(published)))
        return systems
