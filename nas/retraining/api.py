"""Retraining from Python: one architecture on the folds of a split, with its table."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from nas.artifact import Artifact
from nas.bundle import RESULT
from nas.context import TaskSetup
from nas.data.splits import Split
from nas.retraining.folds import FoldTrainings
from nas.retraining.result import TrainResult
from nas.retraining.scoring import Scorer
from nas.retraining.summary import summarise, table_rows
from nas.retraining.systems import baseline_systems, network_name, retrained_system
from nas.retraining.tables import Row, caption, terminal
from nas.retraining.unseen import check_unseen
from nas.tasks.base import Task
from nas.tasks.default import default_task
from nas.training.distributed import is_main
from nas.training.settings import TrainingSettings
from nas.utils.files import exclusive


@dataclass(frozen=True)
class Retrained:
    """A retrained network beside its baselines.

    Args:
        result: All scores.
        rows: The rows of the table.
    """

    result: TrainResult
    rows: Sequence[Row]

    def table(self) -> str:
        """Return the table for a terminal.

        Returns:
            Aligned columns and a caption.
        """
        return terminal(self.rows, caption(self.result), self.result.columns)


def retrain(
    network: Artifact,
    split: Split,
    *,
    folder: str | Path,
    training: TrainingSettings | None = None,
    task: Task | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    resamples: int = 2000,
) -> Retrained:
    """Train an architecture on each fold but the test fold in turn, and test it beside the simple baselines.

    The same call again resumes an interrupted training.

    Args:
        network: The architecture.
        split: The split of its search.
        folder: Holds checkpoints, bundles and result.json.
        training: Settings of the training; None for the defaults.
        task: The task; None for the default task of the data.
        seed: Seed of weights, batches and augmentation, at least 0.
        device: Device of the trainings.
        resamples: Number of bootstrap samples of patients.

    Returns:
        Scores with intervals and paired differences, and their table.

    Raises:
        NASError: If the test fold holds patients that the search has seen, or a training fails.
    """
    folder, rounds = Path(folder), split.holdout_rounds()
    known = check_unseen(network, split, rounds)
    setup = TaskSetup(split, task or default_task(split.store), torch.device(device))
    trainings = FoldTrainings(network, setup, rounds, training or TrainingSettings(), seed, folder)
    trainings.check()
    with exclusive(folder) if is_main() else nullcontext():
        main = retrained_system(trainings, network_name(network))
        baselines = baseline_systems(setup, rounds, seed)
        scorer = Scorer(split.store, setup.task, main.indices, resamples, seed)
        facts = {"arch_id": network.arch.id, "protocol": "holdout", "seed": seed, "search_patients_known": known}
        result = summarise(scorer, main, [main], baselines, setup, **facts)
        if is_main():
            result.save(folder / RESULT)
    return Retrained(result, table_rows(result, main, [main, *baselines]))
