"""Retraining of one network on every fold of a split; each fold leaves a bundle and the prediction of its test part."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from nas.artifact import Artifact
from nas.bundle import Bundle, bundle_folder
from nas.context import TaskSetup
from nas.data.loading import VolumeSet
from nas.data.splits import Fold
from nas.errors import NASError, TrialFailed
from nas.inference.model_card import CARD, ModelCard
from nas.network_traits import depends_on_length
from nas.retraining.prediction_file import read_array, write_array
from nas.retraining.shared_work import each_once
from nas.supernets.loading import load_supernet
from nas.training.checkpoint import load_checkpoint
from nas.training.distributed import is_main
from nas.training.loop import LAST, FitResult, OnEpoch, fit, predict, require_sampler, training_identity
from nas.training.recipe import prepared_setup, with_settings
from nas.training.settings import TrainingSettings
from nas.utils.hashing import file_digest
from nas.utils.identity import PredictionIdentity, TrainingIdentity

LOCK = ".lock"  # of a fold's training, among processes that share the work
SHORT = 16  # hexadecimal digits of the digests in a bundle
OnFoldEpoch = Callable[[str, int, int, Mapping[str, float]], None]


def ignore_fold(fold: str, epoch: int, epochs: int, metrics: Mapping[str, float]) -> None:
    """Do nothing; the default of callbacks.

    Args:
        fold: Name of the fold.
        epoch: Epochs done.
        epochs: Epochs planned.
        metrics: Validation metrics.
    """


@dataclass(frozen=True)
class FoldPrediction:
    """The prediction of one trained network for one test part.

    Attributes:
        fold: Name of the fold.
        indices: (N,) rows of the store.
        prob: Output of `Task.predict`: class probabilities (N, K), of a segmentation (N, K, D, H, W), of a detection
            boxes.
        threshold: Decision threshold of the network, None if the task has none.
    """

    fold: str
    indices: np.ndarray
    prob: np.ndarray
    threshold: float | None = None


@dataclass(frozen=True)
class FoldTrainings:
    """The trainings of one network, one for each fold.

    Args:
        network: The architecture.
        setting: Data, task and device.
        rounds: The folds.
        training: Settings of the training.
        seed: Seed of weights, batches and augmentation.
        folder: Folder of the training. For every fold it gets `checkpoints/<architecture>/<fold>/` (checkpoints and
            prediction) and the bundle `bundles/<architecture>/<fold>/`.
        supernet: Checkpoint (`last.pt`) of a supernet whose weights the network starts from. If None, the weights are
            random.
        shared: Whether other processes do the same trainings at the same time, each a fold that no other one does.
        recipe: Settings that replace those of `training` and of the task and the patches of `setting`. If None, the
            recipe of the network, which only architectures of a joint search have.
    """

    network: Artifact
    setting: TaskSetup
    rounds: Sequence[Fold]
    training: TrainingSettings
    seed: int
    folder: Path
    supernet: Path | None = None
    shared: bool = False
    recipe: Mapping[str, Any] | None = None

    @property
    def applied(self) -> Mapping[str, Any]:
        """The recipe of the trainings."""
        return self.network.recipe if self.recipe is None else self.recipe

    def check(self) -> None:
        """Check, before anything is written, that the folder holds no other training of the network.

        Raises:
            NASError: If checkpoints or a bundle of the folder belong to a training with other settings, or the supernet
                cannot be used.
        """
        self.inherited()
        for part in self.rounds:
            _Fold(self, part).check()

    def fingerprints(self) -> list[str]:
        """Return what decides the prediction of each fold.

        Returns:
            One digest per fold.
        """
        return [_Fold(self, part).fingerprint for part in self.rounds]

    def is_finished(self) -> bool:
        """Check whether the folder holds the intact bundle and prediction of every fold.

        Returns:
            True if nothing is left to train or to predict.

        Raises:
            NASError: If a bundle is damaged, or of another training.
        """
        return all(_Fold(self, part).is_finished() for part in self.rounds)

    def effort(self) -> dict[str, float]:
        """Return what the trainings of all folds took, from their bundles.

        Returns:
            seconds, and seen: samples that the network was trained on, each epoch counted.
        """
        facts = [ModelCard.load(_Fold(self, part).home / CARD).facts["trained"] for part in self.rounds]
        return {name: float(sum(one.get(name, math.nan) for one in facts)) for name in ("seconds", "seen")}

    def inherited(self) -> nn.Module | None:
        """Read the weights that the network starts from.

        Returns:
            The network's part of the supernet, or None if the weights are random.

        Raises:
            NASError: If the supernet cannot be read, is of another space, or was trained on other samples than the
                search's training part of this split.
        """
        if self.supernet is None:
            return None
        setting, space = self.setting, self.network.searched_space
        searched_on = VolumeSet(setting.store, setting.split.search[0], setting.device)
        weights = load_supernet(self.supernet, space, setting.task.spec, searched_on)
        return weights.subnetwork(space.architecture(self.network.arch.genes))

    def predictions(self, on_epoch: OnFoldEpoch = ignore_fold) -> list[FoldPrediction]:
        """Train on the train part of every fold, keep the epoch that validates best, and predict the test part.

        Finished folds are read from the folder; an interrupted one continues after its last epoch.

        Args:
            on_epoch: Called with fold, epoch, number of epochs and validation metrics.

        Returns:
            One prediction per fold.

        Raises:
            NASError: If the folder holds another training or a damaged bundle, the supernet is of another space or was
                trained on other samples than the search's training part of this split, or a training fails (NaN loss,
                out of memory).
        """
        folds = {part.name: _Fold(self, part) for part in self.rounds}
        locks = {name: fold.checkpoints / LOCK for name, fold in folds.items()} if self.shared else {}
        return each_once(folds, lambda name: folds[name].tested(partial(on_epoch, name)), locks)


class _Fold:
    """The training of one network on one fold."""

    def __init__(self, trainings: FoldTrainings, part: Fold) -> None:
        self.trainings = trainings
        network, folder, seed, supernet = trainings.network, trainings.folder, trainings.seed, trainings.supernet
        setting = prepared_setup(trainings.applied, trainings.setting)
        training = with_settings(trainings.training, trainings.applied)
        self.network, self.setting, self.part = network, setting, part
        self.training, self.seed, self.supernet = training, seed, supernet
        self.checkpoints = folder / "checkpoints" / network.arch.id / part.name
        self.home = bundle_folder(folder, network.arch.id, part.name)
        self.fingerprint = _identity(network, setting, part, training, seed, supernet).digest()
        self.file = self.checkpoints / f"prediction-{self.fingerprint[:12]}.npy"
        self.train, self.valid, self.test = (
            VolumeSet(setting.store, rows, setting.device) for rows in (part.train, part.valid, part.test)
        )

    def check(self) -> None:
        """Raise NASError if the folder holds another training."""
        settings, device = self.training, self.setting.device
        name = _network_of(self.network, self.supernet)
        parts = (self.seed, self.train, self.valid)
        require_sampler(self.train, settings)
        extendable = not (settings.extendable and depends_on_length(self.network.build(self.setting.task.spec)))
        bf16 = settings.uses_bf16(device)
        identity = training_identity(name, self.setting.task, settings, bf16, *parts, extendable=extendable)
        load_checkpoint(self.checkpoints / LAST, identity.parts())
        self._has_bundle()

    def tested(self, on_epoch: OnEpoch) -> FoldPrediction:
        finished = self._finished()
        prob = None if finished is None else read_array(self.file)
        bundle = finished or self._trained(on_epoch)
        if prob is None:
            # of the bundle, not of the training: the same prediction, bit for bit, if it has to be made again
            model = bundle.network(self.setting.device)
            prob = predict(model, self.setting.task, self.test.normalised_like(self.train), self.training.batch_size)
            if is_main():
                write_array(self.file, prob)
        return FoldPrediction(self.part.name, self.part.test, prob, bundle.card.inference.get("threshold"))

    def is_finished(self) -> bool:
        return self._finished() is not None and read_array(self.file) is not None

    def _has_bundle(self) -> bool:
        """Whether the folder holds the bundle of this training; that of another training is refused."""
        if not (self.home / CARD).is_file():
            return False
        trained = ModelCard.load(self.home / CARD).facts.get("trained")
        if isinstance(trained, dict) and trained.get("fingerprint") == self.fingerprint:
            return True
        if (self.checkpoints / LAST).is_file():
            return False  # the check of the checkpoint names the difference
        raise NASError(
            f"{self.home}, a bundle of another training (other data, seed or settings)",
            "a folder of this training",
            "train in another folder (name=...), or delete this one",
        )

    def _finished(self) -> Bundle | None:
        """Return the bundle of this training, or None if there is none yet."""
        if not self._has_bundle():
            return None
        package = self.network.space.class_path.partition(".")[0]
        return Bundle.load(self.home, trusted=(package, type(self.setting.task).__module__.partition(".")[0]))

    def _trained(self, on_epoch: OnEpoch) -> Bundle:
        setting = self.setting
        torch.manual_seed(_seed_of(self.seed, self.network.arch.id, self.part.name))
        model = self.network.build(setting.task.spec).to(setting.device)
        if (inherited := self.trainings.inherited()) is not None:
            _inherit(model, inherited)
        try:
            result = fit(
                model,
                setting.task,
                self.train,
                self.valid,
                self.training,
                seed=self.seed,
                device=setting.device,
                folder=self.checkpoints,
                fingerprint=_network_of(self.network, self.supernet),
                on_epoch=on_epoch,
            )
        except TrialFailed as failure:
            raise NASError(
                f"{failure} in {self.checkpoints}",
                "a finite loss and enough memory",
                "lower training.lr or the batch size",
            ) from failure
        bundle = self._bundle(model, result)
        if is_main():
            bundle.save(self.home)
        return bundle

    def _bundle(self, model: nn.Module, result: FitResult) -> Bundle:
        setting, store = self.setting, self.setting.store
        preparation = dict(store.preparation)
        if store.by_training:
            preparation["intensity"] = asdict(store.intensity(self.part.train))
        valid, size = self.valid.normalised_like(self.train), self.training.batch_size
        task = setting.task.chosen_on(lambda: predict(model, setting.task, valid, size), self.valid.targets)
        return Bundle.of(
            model,
            self.network,
            task,
            store.input_shape,
            classes=store.classes,
            preparation=preparation,
            facts={
                "trained": {
                    "data": asdict(setting.data_facts),
                    "split": asdict(setting.split_facts),
                    "round": self.part.name,
                    "seed": self.seed,
                    "epochs": result.epochs_run,
                    "best_epoch": result.best_epoch,
                    "seconds": round(result.seconds, 1),
                    "seen": result.epochs_run * self.train.per_epoch,
                    "samples": {name: len(rows) for name, rows in self._parts().items()},
                    "groups": {name: group_digests(store.groups[rows]) for name, rows in self._parts().items()},
                    "contents": {
                        name: [content[:SHORT] for content in store.content_digests(rows)]
                        for name, rows in self._parts().items()
                    },
                    "fingerprint": self.fingerprint,
                    **({"recipe": dict(self.trainings.applied)} if self.trainings.applied else {}),
                },
                "score": setting.task.score_name,
                "direction": setting.task.metrics[0].direction,
                "validation": dict(result.metrics),
            },
            curves=result.history,
        )

    def _parts(self) -> dict[str, np.ndarray]:
        return {"train": self.part.train, "valid": self.part.valid, "test": self.part.unseen}


def group_digest(group: str) -> str:
    """Return a short hash of a patient's name, by which a bundle knows a patient without naming it.

    Args:
        group: Name of the patient.

    Returns:
        16 hexadecimal digits.
    """
    return hashlib.sha256(group.encode()).hexdigest()[:SHORT]


def group_digests(groups: np.ndarray) -> list[str]:
    """Return the sorted hashes of the different patients.

    Args:
        groups: (N,) names of patients, one per sample.

    Returns:
        One hash for each patient.
    """
    return sorted(group_digest(str(group)) for group in np.unique(groups))


def _inherit(model: nn.Module, weights: nn.Module) -> None:
    """Copy weights; modules that only the training adds (classifiers for deep supervision) keep their own."""
    inherited, own = weights.state_dict(), model.state_dict()
    unlike = [name for name, value in inherited.items() if name not in own or own[name].shape != value.shape]
    if unlike:
        raise NASError(
            f"a network whose {unlike[0]} is not as in the supernet",
            "space_changes that keep the sizes of weights",
            "leave out supernet= or the space_changes",
        )
    model.load_state_dict({**own, **inherited})


def _identity(
    network: Artifact, setting: TaskSetup, part: Fold, training: TrainingSettings, seed: int, supernet: Path | None
) -> PredictionIdentity:
    """Everything that decides the weights and the prediction."""
    return PredictionIdentity(
        TrainingIdentity(
            network=_network_of(network, supernet),
            task=setting.task,
            training=training,
            seed=seed,
            train=[setting.store.sha256, part.train, setting.store.patches],
            valid=part.valid,
        ).parts(),
        test=part.test,
    )


def _network_of(network: Artifact, supernet: Path | None) -> str:
    """Describe the architecture and its first weights for messages."""
    text = f"{network.arch.space}/{network.arch.id}"
    if supernet is not None:
        text += f", from the supernet {file_digest(supernet)[:12]}"
    return text


def _seed_of(seed: int, *words: str) -> int:
    digest = hashlib.blake2s(f"{seed}|{'|'.join(words)}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big")
