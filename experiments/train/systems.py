"""Everything in a training's table: retrained networks, their ensemble, and the baselines."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.build import build
from experiments.networks import resolve
from experiments.progress import TrainingProgress, scored
from experiments.search.random_counterpart import check_counterpart, random_counterpart
from experiments.trackers import build_trackers
from experiments.train.config import TrainConfig
from experiments.train.plain_unet import plain_unets
from experiments.train.recipes import kept_recipe
from nas.artifact import Artifact
from nas.context import TaskSetup
from nas.data.splits import Fold
from nas.provenance import SearchRecord
from nas.report.live_training import LiveTraining
from nas.retraining.folds import FoldTrainings, OnFoldEpoch, ignore_fold
from nas.retraining.scoring import System
from nas.retraining.systems import baseline_systems, retrained_system
from nas.training.distributed import is_main
from nas.training.settings import TrainingSettings


class SystemTrainer:
    """Trains networks and fits baselines on the same rounds.

    Args:
        config: The settings.
        setting: Data, task and device.
        rounds: The rounds of the split.
        folder: The output folder.
        number: Number of the process among those that share the trainings.
        recipe: Settings of the first network's recipe, by which networks that stand beside it are trained too.
        on_epoch: Called with fold, epoch, number of epochs and validation metrics of every training.
    """

    def __init__(
        self,
        config: TrainConfig,
        setting: TaskSetup,
        rounds: Sequence[Fold],
        folder: Path,
        number: int = 0,
        recipe: Mapping[str, Any] | None = None,
        on_epoch: OnFoldEpoch = ignore_fold,
    ) -> None:
        self.config, self.setting, self.rounds, self.folder, self.number = config, setting, rounds, folder, number
        self.recipe, self.on_epoch = recipe or {}, on_epoch
        self.training = build(config.training, "training", TrainingSettings)
        self.board = build_trackers(config.tracking)
        self._unets: list[tuple[Artifact, str]] | None = None
        self.live: LiveTraining | None = None

    def check(self, networks: Sequence[Artifact]) -> None:
        """Check, before anything is written, that these networks and their random counterpart can be trained here.

        Args:
            networks: The networks.

        Raises:
            NASError: If the folder holds a training with other settings, or a search cannot be repeated at random.
        """
        for network in networks:
            self._trainings(network, self._supernet).check()
        if (searched := self.to_repeat(networks)) is not None:
            check_counterpart(*searched, self.setting, self.config.allow_packages)
        for unet, _ in self.plain_unets(networks):
            self._trainings(unet, None).check()
        if (known := self.published(networks)) is not None:
            self._trainings(known, None).check()

    def plain_unets(self, networks: Sequence[Artifact]) -> list[tuple[Artifact, str]]:
        """Return the plain U-Nets that stand beside networks for segmentation.

        Args:
            networks: The networks.

        Returns:
            Networks with their names in the table, without any that is among the given ones.

        Raises:
            NASError: If `baselines.plain_unet` is none of its choices.
        """
        if self._unets is None:
            self._unets = plain_unets(self.setting, networks, self.config.baselines.get("plain_unet", "both"))
        return self._unets

    @property
    def _supernet(self) -> Path | None:
        return Path(self.config.supernet) if self.config.supernet else None

    def fingerprints(self, networks: Sequence[Artifact]) -> list[list[str]]:
        """Return what decides the predictions of networks.

        Args:
            networks: The networks.

        Returns:
            For every network and every plain U-Net beside them, a digest per round.
        """
        own = [self._trainings(network, self._supernet).fingerprints() for network in networks]
        return own + [self._trainings(unet, None).fingerprints() for unet, _ in self.plain_unets(networks)]

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

    def to_repeat(self, networks: Sequence[Artifact]) -> tuple[Artifact, SearchRecord] | None:
        """Return the first searched network and its search, if the table compares it with random search.

        Args:
            networks: The networks.

        Returns:
            The network and its search, or None.
        """
        if not self.config.wants("random_search"):
            return None
        searches = ((network, network.provenance.search) for network in networks)
        return next(((network, search) for network, search in searches if search is not None), None)

    def recipe_of(self, network: Artifact) -> Mapping[str, Any]:
        """Return the settings that replace those of the command in the training of a network.

        Args:
            network: The network.

        Returns:
            Its recipe; of a network without one, which stands beside the others, the recipe of the first of these.
        """
        return kept_recipe(network, self.config.over_recipe) if network.space.has_recipe else self.recipe

    def _trainings(self, network: Artifact, supernet: Path | None) -> FoldTrainings:
        seed = self.config.seed
        shared, folder = self.config.processes > 1, self.folder
        recipe = self.recipe_of(network)
        return FoldTrainings(network, self.setting, self.rounds, self.training, seed, folder, supernet, shared, recipe)

    def show_live(self, networks: Sequence[Artifact]) -> LiveTraining:
        """Show the trainings on a live page from now on.

        Args:
            networks: The networks of the training.

        Returns:
            The page.
        """
        beside = (self.to_repeat(networks) is not None) + (self.published(networks) is not None)
        beside += len(self.plain_unets(networks))
        folds = [part.name for part in self.rounds]
        title, metrics = f"Training {self.config.name}", self.setting.task.metrics
        self.live = LiveTraining(self.folder, title, metrics, folds, len(networks) + beside)
        return self.live

    def networks(self, networks: Sequence[Artifact]) -> list[System]:
        """Retrain networks.

        Args:
            networks: The networks.

        Returns:
            Their ensemble, if there are several, then each of them.
        """
        systems = [self.network(network, network.name, self._supernet) for network in networks]
        if len(systems) == 1:
            return systems
        pooled = self.setting.task.pool([(system.indices, system.prediction) for system in systems])
        thresholds = [one.threshold for system in systems for one in system.tested]
        return [System(f"ensemble of {len(networks)} networks", *pooled, thresholds=thresholds), *systems]

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
        last = time.monotonic()  # end of the epoch before
        if self.live is not None:
            self.live.begin(name, network.arch.id)

        def on_epoch(part: str, epoch: int, epochs: int, metrics: Mapping[str, float]) -> None:
            if is_main():
                nonlocal last
                line = lines.setdefault(part, TrainingProgress(f"{name} {part}", keep=True, since=last))
                last = time.monotonic()
                line.update(epoch, epochs, scored(score, metrics))
                if self.live is not None:
                    self.live.update(name, part, epoch, epochs, metrics)
                if metrics:
                    self.board.scalar(f"validation {score} of {name}", part, epoch, metrics[score])
            self.on_epoch(part, epoch, epochs, metrics)

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
        return baseline_systems(self.setting, self.rounds, self.config.seed, self.config.wants) + self.rivals(networks)

    def rivals(self, networks: Sequence[Artifact]) -> list[System]:
        """Train the networks that stand for random search, for plain U-Nets and for the literature.

        Args:
            networks: The networks of the training.

        Returns:
            Those that the configuration asks for.
        """
        systems = []
        if (searched := self.to_repeat(networks)) is not None:
            folder, allow = self.folder / "random_search", self.config.allow_packages
            systems.append(self.network(*random_counterpart(*searched, folder, self.setting, allow, self.number)))
        systems += [self.network(unet, name) for unet, name in self.plain_unets(networks)]
        if (known := self.published(networks)) is not None:
            systems.append(self.network(known, str(self.config.baselines["published"])))
        return systems

    def published(self, networks: Sequence[Artifact]) -> Artifact | None:
        """Load the network of the literature that the table compares with.

        Args:
            networks: The networks of the training.

        Returns:
            The network; None if there is none, if it is one of them, or if it is for another task.

        Raises:
            NASError: If the setting names no published network.
        """
        name, task = self.config.baselines.get("published"), self.setting.task.spec
        if not name:
            return None
        known = resolve(str(name), task, self.config.allow_packages)
        fresh = known.arch.id not in {network.arch.id for network in networks}
        return known if fresh and known.space.is_for(task) else None
