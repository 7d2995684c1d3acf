"""The evaluator that looks results up in a table of trained networks instead of training them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nas.budget import Estimate
from nas.context import RunContext
from nas.errors import NASError, TrialFailed
from nas.evaluators.base import Evaluator
from nas.history import CONFIRMATION, Proposal, State
from nas.problem import Problem
from nas.trials_table import SECONDS, TrialsTable, read_h5
from nas.utils.annotations import PathName
from nas.utils.checked import checked


@checked("evaluator")
class Tabular(Evaluator):
    """Evaluator that looks up recorded metrics.

    `seconds` is the recorded time of the trial, so that the best score over training time can be computed. Of several
    trials of one network, budget and replicate the first finished one counts. Budget 0 is the largest budget of the
    table; in a table with curves, smaller budgets are epochs at which a training is stopped. Networks that the table
    does not hold, or whose trial failed, fail; a budget without trials raises NASError.

    Replicates of a confirmation are those of the table from the last one down, which a search uses last. If the table
    is of a search with a confirmation, that of its best networks alone is not looked up.

    Args:
        path: A table that `voxnas study export` wrote.

    Raises:
        NASError: If the file is no such table.
    """

    def __init__(self, path: PathName) -> None:
        self.path = path
        try:
            self.table = read_h5(path)
        except NASError as error:
            raise NASError(f"evaluator.path={error.got}", error.expected, error.fix) from error
        self.look_up = LookUp(self.table, str(path))

    trains, uses_recipe = False, True

    @property
    def identity(self) -> Mapping[str, str]:
        """Digest of the table, which a study records instead of the path."""
        return {"tabular": self.table.sha256}

    @property
    def replicates(self) -> int:  # type: ignore[override]
        """Number of replicates of the table."""
        return self.look_up.replicates

    def check(self, problem: Problem, context: RunContext) -> None:
        """Check that the table holds networks of the same space, with costs for inputs of the same shape.

        Args:
            problem: Space, task, cost, objectives and constraints.
            context: Not used.

        Raises:
            NASError: If the space or the shape differ.
        """
        space, input_shape = problem.space, problem.cost.input_shape
        if space.fingerprint != self.table.space.fingerprint:
            raise NASError(
                f"the space {space.fingerprint} with a table of {self.table.space.fingerprint} ({self.path})",
                "a table of the same space",
                "restore the arguments of the space, or set evaluator.path to a table of this space",
            )
        recorded = self.table.spec.get("cost", {}).get("input_shape")
        if recorded is not None and list(recorded) != list(input_shape):
            raise NASError(
                f"volumes of shape {list(input_shape)} with a table of shape {recorded} ({self.path})",
                "the data with which the table was made",
                "restore data.size and the other settings of the data",
            )

    def check_budgets(self, budgets: Sequence[int]) -> None:
        """Check that the table holds trials with each budget."""
        for budget in budgets:
            self.look_up.require_budget(budget)

    def estimate(self, proposal: Proposal, problem: Problem, context: RunContext) -> Estimate:
        """Return no time and no disk: a result is looked up."""
        return Estimate()

    def evaluate(self, proposal: Proposal, problem: Problem, context: RunContext) -> Mapping[str, float]:
        return self.look_up(proposal)


class LookUp:
    """Rows of a table by genes, budget and replicate; with curves, each epoch is a budget (`TrialsTable.by_epoch`).

    Args:
        table: The table.
        name: Name of the table in messages.

    Raises:
        NASError: If no trial of the table is finished.
    """

    def __init__(self, table: TrialsTable, name: str = "the table") -> None:
        score = next((metric for metric in table.objectives if metric in table.curves), "")
        table = table.by_epoch(score)
        self.table, self.name = table, name
        self._rows: dict[tuple[tuple[int, ...], int, int], int] = {}
        columns = (map(tuple, table.genes_NG.tolist()), table.budgets_N.tolist(), table.replicates_N.tolist())
        for row, (key, state) in enumerate(zip(zip(*columns, strict=True), table.states, strict=True)):
            better = key not in self._rows or table.states[self._rows[key]] is not State.COMPLETE
            if state is State.COMPLETE and better:
                self._rows[key] = row
            elif state is State.FAILED:
                self._rows.setdefault(key, row)
        if not any(state is State.COMPLETE for state in table.states):
            raise NASError(f"{name} without a finished trial", "at least one", "export a study that has results")
        self.budgets = sorted({budget for _, budget, _ in self._rows})
        self.replicates = 1 + max((own for _, _, own in self._rows if own < CONFIRMATION), default=-1)

    def row(self, proposal: Proposal) -> int:
        """Find the row of a proposal.

        Args:
            proposal: Architecture, budget and replicate.

        Returns:
            The row of a finished or failed trial.

        Raises:
            NASError: If no trial of the table has this budget.
            TrialFailed: If the table does not hold the network with this budget and replicate.
        """
        budget = proposal.budget
        if budget == 0 and budget not in self.budgets:
            budget = self.budgets[-1]
        self.require_budget(budget)
        replicate = proposal.replicate
        if replicate >= CONFIRMATION:
            replicate = self.replicates - 1 - (replicate - CONFIRMATION)
        row = self._rows.get((proposal.arch.genes, budget, replicate))
        if row is None:
            which = f", replicate {replicate}" if replicate else ""
            raise TrialFailed(f"{self.name} does not hold this network with {budget} epochs{which}")
        return row

    def require_budget(self, budget: int) -> None:
        """Check that a trial has a budget.

        Args:
            budget: Training epochs.

        Raises:
            NASError: If no trial of the table has it.
        """
        if budget not in self.budgets:
            known = ", ".join(map(str, self.budgets))
            raise NASError(
                f"a proposal for {budget} epochs with {self.name}",
                f"a budget that it holds ({known}), or 0 for the evaluator's own",
                "set the strategy's budgets to these, or take a strategy that has none",
            )

    def seconds(self, row: int) -> float:
        """Return the recorded time of a trial.

        Args:
            row: Row of the table.

        Returns:
            Seconds; 0.0 if none were recorded.
        """
        seconds = float(self.table.seconds_N[row])
        return seconds if seconds == seconds else 0.0

    def metrics(self, row: int) -> dict[str, float]:
        """Return the recorded metrics of a trial.

        Args:
            row: Row of the table.

        Returns:
            Metrics by name, without undefined ones, and `seconds`.

        Raises:
            TrialFailed: If the trial failed, with the recorded reason.
        """
        if self.table.states[row] is not State.COMPLETE:
            raise TrialFailed(self.table.reasons[row])
        values = {name: float(column[row]) for name, column in self.table.metrics.items()}
        return {**{name: value for name, value in values.items() if value == value}, SECONDS: self.seconds(row)}

    def __call__(self, proposal: Proposal) -> dict[str, float]:
        return self.metrics(self.row(proposal))
