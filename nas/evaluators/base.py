"""What an evaluator is given and what it gives back."""

from __future__ import annotations

import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch

from nas.data.loading import VolumeSet
from nas.history import Proposal
from nas.space import SearchSpace
from nas.tasks.base import Task
from nas.tracking import NoTracking, Tracker


@dataclass(frozen=True, slots=True)
class EvaluationContext:
    """Everything of a search except the proposal. train, valid: parts of the non-test folds, nothing else.

    folder: where evaluations keep their checkpoints, one sub-folder per architecture id.
    on_epoch: called after each epoch with (epoch, epochs); it renews the trial's lease and moves the progress line.
    tracker: where live curves go.
    """

    space: SearchSpace
    task: Task
    train: VolumeSet
    valid: VolumeSet
    folder: Path
    device: torch.device
    seed: int
    on_epoch: Callable[[int, int], None] = lambda epoch, epochs: None
    tracker: Tracker = field(default_factory=NoTracking)


class Evaluator(ABC):
    """Scores proposals; an interrupted evaluation of the same architecture and budget continues where it stopped."""

    trains: ClassVar[bool] = True  # whether the networks are trained for their scores

    @property
    def identity(self) -> Mapping[str, Any]:
        """The evaluator as a study records it: by default its class and the attributes named as its arguments."""
        names = [name for name in inspect.signature(type(self).__init__).parameters if name != "self"]
        arguments = {name: getattr(self, name) for name in names if hasattr(self, name)}
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return {"class": path, "arguments": json.loads(json.dumps(arguments, default=str))}

    def metrics(self, task: Task) -> frozenset[str] | None:
        """Names of the metrics that `__call__` reports, if known beforehand.

        Args:
            task: The task whose validation metrics the evaluator may report.

        Returns:
            The names, or None if they are only known from the results.
        """
        return None

    def check(self, space: SearchSpace, input_shape: Sequence[int]) -> None:
        """Check the settings against a space and its inputs, before a study is created.

        Args:
            space: The space that is searched.
            input_shape: Shape (C, D, H, W) of the volumes.

        Raises:
            NASError: If proposals of this space cannot be evaluated.
        """
        return

    @abstractmethod
    def __call__(self, proposal: Proposal, context: EvaluationContext) -> Mapping[str, float]:
        """Evaluate a proposal.

        Args:
            proposal: The architecture and its budget.
            context: Data, device, seed and folder.

        Returns:
            The metrics by name.

        Raises:
            TrialFailed: If the candidate cannot be scored.
        """
