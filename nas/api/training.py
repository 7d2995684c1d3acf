"""Retraining from Python: one architecture on the folds of a split, with its table."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from nas.artifact import Artifact
from nas.bundle import Bundle, bundle_folder, bundles_of
from nas.context import TaskSetup
from nas.data.splits import Split
from nas.inference.model_spec import RESULT
from nas.report.live_training import LiveTraining
from nas.report.train import REPORT, next_command, train_report
from nas.retraining.answer import answer
from nas.retraining.folds import FoldTrainings, ignore_fold
from nas.retraining.model_cards import write_model_cards
from nas.retraining.predictions import PREDICTIONS, predictions_csv
from nas.retraining.result import TrainResult
from nas.retraining.scoring import Scorer
from nas.retraining.subgroups import with_subgroups
from nas.retraining.summary import summarise, table_rows
from nas.retraining.systems import baseline_systems, retrained_system
from nas.retraining.tables import TABLE, Row, caption, markdown, terminal
from nas.retraining.unseen import check_unseen
from nas.tasks.base import Task
from nas.tasks.default import default_task
from nas.training.distributed import is_main
from nas.training.settings import TrainingSettings
from nas.utils.files import exclusive, write_text
from nas.utils.plain_table import html_lines, html_table


@dataclass(frozen=True)
class Retrained:
    """A retrained network beside its baselines.

    Args:
        result: All scores.
        rows: The rows of the table.
        folder: The folder of the training.
        trusted: Packages beside VoxNAS that define its space or task.
    """

    result: TrainResult
    rows: Sequence[Row]
    folder: Path
    trusted: Sequence[str] = ()

    def model(self, fold: str | None = None) -> nn.Module:
        """Return a trained network with its weights, in evaluation mode on the CPU.

        Args:
            fold: Name of the fold that validated it, such as "valid1". If None, the one that validates best.

        Returns:
            The network.

        Raises:
            NASError: If its bundle is missing or damaged.
        """
        if fold is not None:
            home = bundle_folder(self.folder, self.result.arch_id, fold)
            return Bundle.load(home, trusted=self.trusted).network()
        (bundle,) = bundles_of(self.folder, arch=self.result.arch_id, best=1, trusted=self.trusted)
        return bundle.network()

    def table(self) -> str:
        """Return the table for a terminal.

        Returns:
            Aligned columns and a caption.
        """
        return terminal(self.rows, caption(self.result), self.result.columns, lines=self.result.lines)

    def _repr_html_(self) -> str:
        """Show the table in a notebook."""
        cells = [row.cells(self.result.columns) for row in self.rows]
        return html_table(list(cells[0]), [list(row.values()) for row in cells], caption(self.result)) + html_lines(
            self.result.lines
        )


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
        folder: Holds the files of run_train.py: checkpoints, bundles, result.json, table.md, predictions.csv,
            curves.csv, report.html and live.html.
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
    metrics, kind = setup.task.metrics, setup.task.spec.kind
    with exclusive(folder) if is_main() else nullcontext(), ExitStack() as at_end:
        live = LiveTraining(folder, f"Training {folder.name}", metrics, [part.name for part in rounds], 1)
        live.begin(network.name, network.arch.id)
        words = ["The training was stopped before its end; the same call continues it.", ""]
        if is_main():
            at_end.callback(lambda: live.finish(*words))
        on_epoch = partial(live.update, network.name) if is_main() else ignore_fold
        main = retrained_system(trainings, network.name, on_epoch)
        baselines = baseline_systems(setup, rounds, seed)
        scorer = Scorer(split.store, setup.task, main.indices, resamples, seed)
        facts = {"arch_id": network.arch.id, "protocol": "holdout", "seed": seed, "search_patients_known": known}
        result = summarise(scorer, main, [main], baselines, setup, **facts)
        rows = table_rows(result, main, [main, *baselines])
        if is_main():
            result.save(folder / RESULT)
            text = markdown(rows, caption(result), result.columns, result.lines)
            write_text(folder / TABLE, with_subgroups(text, result))
            write_text(folder / PREDICTIONS, predictions_csv(scorer, [main, *baselines]))
            write_model_cards(folder, result, [main], split.store)
            train_report(
                folder / REPORT,
                title=f"Training {folder.name}",
                space=network.space,
                arch=network.arch,
                result=result.to_json(),
                table_rows=[row.cells(result.columns) for row in rows],
                metrics=result.metrics,
                sections=setup.task.sections(scorer.cases(main, baselines)),
                task=setup.task.spec,
                answer=answer(result),
                command=next_command(kind, folder),
            )
            words[:] = [f"{answer(result)} The whole result is in {REPORT}.", next_command(kind, folder)]
    packages = {network.space.class_path, type(setup.task).__module__}
    return Retrained(result, rows, folder, sorted(name.partition(".")[0] for name in packages))
