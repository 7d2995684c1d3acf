"""What an evaluator is given and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

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


class Evaluator(Protocol):
    """Resumable by architecture id. Raises TrialFailed with a reason where the candidate cannot be scored."""

    def __call__(self, proposal: Proposal, context: EvaluationContext) -> Mapping[str, float]: ...
