"""Result of a search: the chosen network, the Pareto front, and all trials as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from nas.artifact import Artifact
from nas.confirmation import warnings_of_replication
from nas.context import RunContext, small_part
from nas.evaluators.base import Evaluator
from nas.history import CONFIRMATION, History, Trial
from nas.metrics.metric import Metric
from nas.metrics.names import COLLAPSED, REPEATED
from nas.noise import Noise
from nas.problem import Problem
from nas.provenance import Provenance, SearchRecord
from nas.strategies.fidelity.emergence import warnings_of_budgets
from nas.trials_csv import rows_of, write_csv
from nas.utils.plain_table import as_frame, html_lines, html_table

CHOSEN, PARETO, TRIALS = "arch.json", "pareto", "trials.csv"
MOST_LISTED = 10  # trials that collapsed
AT_CHANCE = 0.02  # largest distance from the score of a guess at which a score counts as one


def warnings_of_search(history: History, metrics: Sequence[Metric]) -> list[str]:
    """Warn if the scores of a search do not distinguish its networks, or if trainings collapsed.

    Args:
        history: The trials.
        metrics: The metrics that the task declares.

    Returns:
        One sentence for each: all networks have one score, none is better than a guess, most of the differences is
        noise as replicates show, or trainings collapsed.
    """
    done = history.final()
    metric = next((one for one in metrics if one.name == history.score), None)
    if len(done) < 2 or metric is None:
        return _collapsed(history.complete())
    value_N = history.sign[history.score] * history.scores(done)
    digits, count, found = metric.digits, len(done), []
    if np.ptp(value_N) == 0:
        found.append(
            f"All {count} networks of the search have the same {metric.label}, {value_N[0]:.{digits}f}: the choice "
            "among them is by cost alone."
        )
    best = value_N.max() if metric.sign > 0 else value_N.min()
    if metric.chance is not None and metric.sign * (best - metric.chance) <= AT_CHANCE:
        found.append(
            f"No network of the search is better than a guess: the best {metric.label} is {best:.{digits}f}, that of a "
            f"guess {metric.chance:g}."
        )
    noise = Noise.of(history)
    if noise is not None and not noise.can_rank:
        found.append(noise.sentence(metric.label))
    return found + _collapsed(history.complete())


def _collapsed(done: Sequence[Trial]) -> list[str]:
    """Warn of trainings that collapsed, the last one of each trial."""
    numbers = [trial.number for trial in done if trial.metrics.get(COLLAPSED, 0) > 0]
    repeated = sum(trial.metrics.get(REPEATED, 0) > 0 for trial in done)
    again = f"; {repeated} were repeated" if repeated else ""
    if not numbers:
        return [f"Of {len(done)} trainings {repeated} collapsed and were repeated."] if repeated else []
    fix = "" if repeated else "; evaluator.repeat_collapsed=true repeats such trainings once"
    listed = ", ".join(map(str, sorted(numbers)[:MOST_LISTED])) + (", ..." if len(numbers) > MOST_LISTED else "")
    trials = f"trial{'s' * (len(numbers) > 1)} {listed}"
    return [
        f"{len(numbers)} of {len(done)} trainings collapsed (a class that is never found, a constant output, or an AUC "
        f"of 0.5): {trials}{again}{fix}."
    ]


@dataclass(frozen=True)
class SearchResult:
    """The outcome of a search.

    Args:
        history: All trials of the study.
        problem: The problem that was searched.
        record: The search, without a trial.
        evaluator: The evaluator, which may keep weights; None if it is not at hand.
        context: The surroundings of its evaluations.
    """

    history: History
    problem: Problem
    record: SearchRecord
    evaluator: Evaluator | None = field(default=None, repr=False)
    context: RunContext | None = field(default=None, repr=False)

    @property
    def best(self) -> Artifact:
        """The chosen architecture: the best score, and of equal ones the cheapest."""
        return self.artifact(self.history.best)

    @property
    def front(self) -> list[Artifact]:
        """The Pareto front, best score first."""
        return [self.artifact(trial) for trial in self.history.front()]

    @property
    def warnings(self) -> list[str]:
        """Warnings about the scores, one sentence each."""
        small = "" if self.context is None else small_part(self.context.valid)
        found = warnings_of_search(self.history, self.problem.task.metrics) + warnings_of_budgets(self.history)
        found += warnings_of_replication(self.history, self.record.replication)
        return found + ([small] if small else [])

    def artifact(self, trial: Trial) -> Artifact:
        """Return an architecture of the search with its provenance, the content of arch.json.

        Args:
            trial: A network of the front, or a finished trial.

        Returns:
            The architecture with its metrics and provenance, and with the weights that the evaluator kept.
        """
        history = self.history
        over = {name: history.statistic(trial, name) for name in trial.metrics}
        record = replace(
            self.record,
            trials=len(history.searched),
            trial=trial.number,
            budget=trial.budget,
            evaluations=len(history.replicates(trial.arch, trial.budget)),
            standard_error={name: one.standard_error for name, one in over.items() if one.deviation > 0},
            confirmed=trial.replicate >= CONFIRMATION,
        )
        space, task, evaluator, context = self.problem.space, self.problem.task, self.evaluator, self.context
        weights = None
        if evaluator is not None and context is not None:
            proposal = trial.proposal
            weights = lambda: evaluator.network(proposal, self.problem, context)
        return Artifact(space, trial.arch, task.spec, trial.metrics, Provenance(search=record), weights)

    def table(self) -> Any:
        """Return all trials as a table: the columns of trials.csv, `front` and `chosen`.

        Returns:
            A pandas DataFrame if pandas is installed, else a `nas.utils.plain_table.PlainTable`.
        """
        history = self.history
        columns, rows = rows_of(history.records, history)
        stands_for = {
            trial.number: {one.number for one in history.replicates(trial.arch, trial.budget)}
            for trial in history.front()
        }
        front, best = set().union(*stands_for.values()), stands_for[history.best.number]
        rows = [[*row, row[0] in front, row[0] in best] for row in rows]
        return as_frame([*columns, "front", "chosen"], rows)

    def save(self, folder: Path) -> None:
        """Write trials.csv, pareto/*.json and arch.json.

        Args:
            folder: The output folder.
        """
        write_csv(folder / TRIALS, self.history.records, self.history)
        front = {f"{artifact.arch.id}.json": artifact for artifact in self.front}
        for name, artifact in front.items():
            artifact.save(folder / PARETO / name)
        for path in (folder / PARETO).glob("*.json"):
            if path.name not in front:
                path.unlink(missing_ok=True)
        self.best.save(folder / CHOSEN)

    def _shown(self, trial: Trial, name: str) -> str:
        """Mean of a metric with its standard error, if it has one."""
        over = self.history.statistic(trial, name)
        error = f" ± {over.standard_error:.2g} (n={over.count})" if over.standard_error > 0 else ""
        return f"{over.mean:.4g}{error}"

    def _repr_html_(self) -> str:
        """Show the Pareto front and the chosen network in a notebook."""
        names = [*self.history.objectives, *(["params"] if "params" in self.history.best.metrics else [])]
        chosen = self.history.best.arch
        rows = [
            [
                trial.arch.id,
                *(self._shown(trial, name) for name in names),
                "chosen" if trial.arch == chosen else "",
            ]
            for trial in self.history.front()
        ]
        count = len(self.history.complete())
        title = (
            f"Search {self.record.study}: {count} of {len(self.history)} trials finished, Pareto front of {len(rows)}"
        )
        below = html_lines([f"warning: {text}" for text in self.warnings])
        return html_table(["architecture", *names, ""], rows, title) + below + self.best._repr_html_()
