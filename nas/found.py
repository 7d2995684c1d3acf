"""What a search found: the chosen network, the Pareto front, and all trials as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from nas.artifact import Artifact
from nas.context import RunContext, small_part
from nas.evaluators.base import Evaluator
from nas.history import History, Trial
from nas.metrics.metric import Metric
from nas.problem import Problem
from nas.provenance import Provenance, SearchRecord
from nas.strategies.fidelity.emergence import warnings_of_budgets
from nas.trials_table import rows_of, write_csv
from nas.utils.plain_table import as_frame, html_lines, html_table

CHOSEN, PARETO, TRIALS = "arch.json", "pareto", "trials.csv"
AT_CHANCE = 0.02  # largest distance from the score of a guess at which a score counts as one


def warnings_of_search(history: History, metrics: Sequence[Metric]) -> list[str]:
    """Warn if the scores of a search do not distinguish its networks.

    Args:
        history: The trials.
        metrics: The metrics that the task declares.

    Returns:
        One sentence for each: all networks have one score, or none is better than a guess.
    """
    done = history.complete()
    metric = next((one for one in metrics if one.name == history.score), None)
    if len(done) < 2 or metric is None:
        return []
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
    return found


@dataclass(frozen=True)
class SearchResult:
    """The outcome of a search.

    Args:
        history: All trials of the study.
        problem: What was searched.
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
        return found + ([small] if small else [])

    def artifact(self, trial: Trial) -> Artifact:
        """Return an architecture of the search with its provenance, the content of arch.json.

        Args:
            trial: A finished trial.

        Returns:
            The architecture with its metrics and provenance, and with the weights that the evaluator kept.
        """
        record = replace(self.record, trials=len(self.history), trial=trial.number, budget=trial.budget)
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
        columns, rows = rows_of(self.history.records)
        front = {trial.number for trial in self.history.front()}
        best = self.history.best.number
        rows = [[*row, row[0] in front, row[0] == best] for row in rows]
        return as_frame([*columns, "front", "chosen"], rows)

    def save(self, folder: Path) -> None:
        """Write trials.csv, pareto/*.json and arch.json.

        Args:
            folder: The output folder.
        """
        write_csv(folder / TRIALS, self.history.records)
        front = {f"{artifact.arch.id}.json": artifact for artifact in self.front}
        for name, artifact in front.items():
            artifact.save(folder / PARETO / name)
        for path in (folder / PARETO).glob("*.json"):
            if path.name not in front:
                path.unlink(missing_ok=True)
        self.best.save(folder / CHOSEN)

    def _repr_html_(self) -> str:
        """Show the Pareto front and the chosen network in a notebook."""
        names = [*self.history.objectives, *(["params"] if "params" in self.history.best.metrics else [])]
        chosen = self.history.best.arch
        rows = [
            [trial.arch.id, *(f"{trial.metrics[name]:.4g}" for name in names), "chosen" if trial.arch == chosen else ""]
            for trial in self.history.front()
        ]
        count = len(self.history.complete())
        title = (
            f"Search {self.record.study}: {count} of {len(self.history)} trials finished, Pareto front of {len(rows)}"
        )
        below = html_lines([f"warning: {text}" for text in self.warnings])
        return html_table(["architecture", *names, ""], rows, title) + below + self.best._repr_html_()
