"""Shared parts of trainings of supernets: epochs with a checkpoint after each, curves, and the score of a network."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas.data.loading import VolumeSet
from nas.errors import NASError
from nas.supernets.memory import oom_as_user_error
from nas.tasks.base import Task
from nas.tracking.base import Tracker
from nas.training import distributed
from nas.training.checkpoint import load_checkpoint, save_checkpoint
from nas.training.curves import write_curves
from nas.training.loop import LAST, predict, training_identity
from nas.training.requirements import require_options, require_supernet_settings
from nas.training.settings import TrainingSettings
from nas.utils.files import locked

SUPERNET = "supernet"  # the part of a checkpoint with its weights


class SupernetEpochs(ABC):
    """Training of a supernet in epochs, resumable after each, bit for bit on a CPU.

    A subclass defines `_epoch` and `_parts`, and sets `identity` by `_identity_of`. Writes curves.csv into the folder,
    and sends it to the tracker.

    Args:
        supernet: Supernet to train, moved to `device`.
        task: Loss and metrics.
        train: Training samples.
        valid: Validation samples.
        settings: Settings of the weights.
        seed: Seed of the training.
        device: Device to train on.
        folder: Folder of the checkpoint.
        tracker: Receiver of live curves.

    Attributes:
        history: "epoch" and the curves of each finished epoch.
        identity: What decides the weights, by which checkpoints are recognised.

    Raises:
        NASError: If the samples do not fit the settings.
    """

    identity: dict[str, Any]

    def __init__(
        self,
        supernet: nn.Module,
        task: Task,
        train: VolumeSet,
        valid: VolumeSet,
        settings: TrainingSettings,
        *,
        seed: int,
        device: torch.device,
        folder: Path,
        tracker: Tracker,
    ) -> None:
        require_supernet_settings(settings)
        require_options(train, task, settings)
        supernet.to(device)
        self.task, self.settings = task.for_training(train.labels), settings
        self.train, self.valid = train.normalised_like(train), valid.normalised_like(train)
        self.seed, self.device, self.folder, self.tracker = seed, device, folder, tracker
        self.bf16 = settings.uses_bf16(device)
        self.history: list[dict[str, float]] = []

    @abstractmethod
    def _epoch(self, number: int) -> None:
        """Train one epoch, and pass its curves to `_record`."""

    @abstractmethod
    def _parts(self) -> Mapping[str, Any]:
        """Return the objects of a checkpoint, each with `state_dict`, `SUPERNET` first."""

    def run(self, on_epoch: Callable[[int, int], None] = lambda epoch, epochs: None) -> None:
        """Train the remaining epochs.

        Args:
            on_epoch: Called after each epoch with its number and the number of all epochs.

        Raises:
            NASError: If a loss is not finite, or memory runs out.
        """
        with self._random_state(), oom_as_user_error(), self._kernels():
            self._resume()
            while len(self.history) < self.settings.epochs:
                self._epoch(len(self.history) + 1)
                if distributed.is_main():
                    self._save()
                on_epoch(len(self.history), self.settings.epochs)

    def run_alone(self, on_epoch: Callable[[int, int], None]) -> None:
        """Train the remaining epochs while no other worker trains in the folder.

        Args:
            on_epoch: Called after each epoch on the main process of this training, see `run`.

        Raises:
            NASError: As `run` does.
        """
        if distributed.is_main():
            with locked(self.folder / ".lock"):
                self.run(on_epoch)
        else:
            self.run()

    def checkpoint_bytes(self) -> float:
        """Return the size of the checkpoint: the weights, and two values of the optimiser for each.

        Returns:
            Bytes.
        """
        supernet = self._parts()[SUPERNET]
        values = [*supernet.parameters(), *supernet.buffers()]
        return 3.0 * sum(value.numel() * value.element_size() for value in values)

    def _random_state(self) -> AbstractContextManager[None]:
        """Restore the state of torch's random generators at the end."""
        return torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else [])

    def _kernels(self) -> AbstractContextManager[object]:
        """Choose the kernels of a GPU; by default those that PyTorch takes."""
        return nullcontext()

    def _identity_of(self, task: Task, fingerprint: str, extendable: bool, **more: object) -> dict[str, Any]:
        """Describe what decides the weights."""
        common = training_identity(
            fingerprint, task, self.settings, self.bf16, self.seed, self.train, self.valid, extendable=extendable
        )
        return {**common.parts(), **{name: str(value) for name, value in more.items()}}

    def _validates(self, number: int, every: int) -> bool:
        return number % every == 0 or number == self.settings.epochs

    def _record(self, number: int, row: Mapping[str, float], started: float) -> None:
        """Add the curves of an epoch to the history, with its seconds, and send them to the tracker."""
        self.history.append({"epoch": number, **row, "seconds": time.perf_counter() - started})
        for name, value in list(self.history[-1].items())[1:]:
            score = self.task.score_name in name
            self.tracker.scalar("supernet score" if score else f"supernet {name}", name, number, value)

    def _require_finite(self, number: int, values: Mapping[str, float]) -> None:
        if not all(map(math.isfinite, values.values())):
            raise NASError(
                f"a supernet with a loss that is not finite in epoch {number}",
                "finite losses",
                "set strategy.settings.lr to a smaller value, or strategy.settings.precision to fp32",
            )

    def _score(self, model: nn.Module) -> float:
        prediction = predict(model, self.task, self.valid, self.settings.batch_size)
        return float(self.task.score(prediction, self.valid.targets, quick=True).over()[self.task.score_name])

    def _adopt_new_weights(self) -> None:
        """Prepare the optimisers for loaded weights; most supernets have all their weights from the start."""
        return

    def _resume(self) -> None:
        state = distributed.from_main(
            load_checkpoint(self.folder / LAST, self.identity) if distributed.is_main() else None
        )
        if state is None:
            return
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
            if name == SUPERNET:
                self._adopt_new_weights()
        self.history = [dict(row) for row in state["history"]]

    def _save(self) -> None:
        state = {name: part.state_dict() for name, part in self._parts().items()}
        save_checkpoint(self.folder / LAST, self.identity, {**state, "history": self.history})
        write_curves(self.folder, self.history)
