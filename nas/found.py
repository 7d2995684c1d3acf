"""What a search found: the chosen network, the Pareto front, and all trials as a table."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nas.artifact import Artifact
from nas.context import RunContext
from nas.evaluators.base import Evaluator
from nas.history import History, Proposal, Trial
from nas.problem import Problem
from nas.provenance import Provenance, SearchRecord
from nas.trials_table import rows_of, write_csv
from nas.utils.plain_table import as_frame, html_table

CHOSEN, PARETO, TRIALS = "arch.json", "pareto", "trials.csv"


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
            proposal = Proposal(trial.arch, trial.budget)
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
        return html_table(["architecture", *names, ""], rows, title) + self.best._repr_html_()
