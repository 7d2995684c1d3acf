"""Base class of the rules that decide for how many epochs a search trains its networks."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

from annotated_types import Ge, Le

from nas.architecture import Architecture
from nas.errors import NASError
from nas.history import History, Proposal, State, Trial

EMERGED = 9  # epochs after which short trainings ranked networks, see Fidelity
Factor = Annotated[float, Ge(2), Le(1000)]  # between the budgets of two rungs


class Fidelity(ABC):
    """A rule by which networks are trained in several steps, each with a larger budget, and only the good ones further.

    A step of one network is a trial of the study. A rule has no state: it reads the history alone, as a strategy does,
    so that it works with any number of workers and resumed studies.

    The smallest budget has to be past the epoch at which all classes are predicted. Trainings of the hippocampus at
    2 mm that were cut at 3, 6, 9 and 12 epochs (of 31 steps) had intra-class correlations of .25, .06, .79 and .82:
    networks that are compared after 3 or 6 epochs are chosen at random. Networks of the DiNTS space cut at 4, 6 and 8
    epochs (of 31 steps) had rank correlations of .41, .80 and .84 with other seeds' test scores.

    Attributes:
        budgets: Epochs of the steps, in ascending order.
    """

    budgets: tuple[int, ...]

    @abstractmethod
    def start(self, history: History) -> int:
        """Return the budget of the next new network.

        Args:
            history: Finished and running trials.

        Returns:
            Epochs, one of `budgets`.
        """

    @abstractmethod
    def promotion(self, history: History, *, closed: bool = False) -> Proposal | None:
        """Return the training that continues next.

        Args:
            history: Finished and running trials.
            closed: Whether no trial is running and no new network can begin, so that nothing is gained by waiting.

        Returns:
            A network with a larger budget than it has, or None if a new network is to begin.
        """

    @abstractmethod
    def unfinished(self, history: History) -> frozenset[str]:
        """Return the networks whose training a later call of `promotion` may continue.

        Args:
            history: Finished and running trials.

        Returns:
            Ids of architectures.
        """

    @abstractmethod
    def mean_budget(self, continues: bool) -> float:
        """Return the expected mean number of epochs that a trial runs.

        Args:
            continues: Whether a training continues from its checkpoint; if not, each step begins anew.

        Returns:
            Epochs.
        """

    def epochs_run(self, continues: bool) -> tuple[int, ...]:
        """Return the number of epochs that a trial of each step runs.

        Args:
            continues: Whether a training continues from its checkpoint.

        Returns:
            Epochs of each of `budgets`, for a network that begins at the smallest one.
        """
        before = (0, *self.budgets[:-1]) if continues else (0,) * len(self.budgets)
        return tuple(budget - done for budget, done in zip(self.budgets, before, strict=True))


def rungs(eta: float, lowest: int, highest: int) -> tuple[int, ...]:
    """Return the budgets of the rungs: lowest, lowest * eta, lowest * eta^2, ... and highest.

    Budgets within a factor of sqrt(eta) of the highest are left out.

    Args:
        eta: Factor between two rungs, above 1.
        lowest: Budget of the lowest rung.
        highest: Budget of the highest rung, at least `lowest`.

    Returns:
        Budgets in ascending order.

    Raises:
        NASError: If the lowest budget exceeds the highest.
    """
    if lowest > highest:
        raise NASError(
            f"fidelity.min_budget={lowest} with fidelity.max_budget={highest}",
            "min_budget <= max_budget (by default training.epochs)",
            f"set fidelity.max_budget to {lowest} or more; a smaller min_budget only if the classes emerge by then",
        )
    count = math.floor(math.log(highest / lowest, eta)) + 1
    budgets = [round(lowest * eta**step) for step in range(count)]
    while len(budgets) > 1 and highest / budgets[-1] < math.sqrt(eta):
        budgets.pop()
    return tuple(dict.fromkeys([*budgets, highest]))


def results_at(history: History, budget: int) -> tuple[Trial, ...]:
    """Return the networks that finished a budget, with means over their replicates.

    Args:
        history: Trials of the study.
        budget: Epochs.

    Returns:
        One trial for each network, in the order in which they finished.
    """
    return replace(history, records=tuple(trial for trial in history if trial.budget == budget)).final()


def begun_at(history: History, budget: int) -> dict[str, State]:
    """Return the networks that have begun a budget.

    Args:
        history: Trials of the study.
        budget: Epochs.

    Returns:
        Id of the architecture -> state of its last trial; running as long as one of its replicates is.
    """
    found: dict[str, State] = {}
    for trial in history:
        if trial.budget == budget and found.get(trial.arch.id) is not State.RUNNING:
            found[trial.arch.id] = trial.state
    return found


def starts(history: History) -> Iterator[tuple[Architecture, int]]:
    """Return where each network began.

    Args:
        history: Trials of the study.

    Yields:
        Networks in order of their first trial, each with its smallest budget.
    """
    smallest: dict[Architecture, int] = {}
    for trial in history:
        smallest[trial.arch] = min(trial.budget, smallest.get(trial.arch, trial.budget))
    yield from smallest.items()
