"""Whether the smallest budget of a multi-fidelity search was large enough, from what the search measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nas.history import History
from nas.noise import Noise
from nas.strategies.fidelity.schedule import results_at

FEW = 10  # networks below which no statement is made
COLLAPSED = "collapsed"  # metric of a training whose network carries no information on a class
OFTEN = 0.1  # share of collapsed trainings above which the classes have not emerged


def warnings_of_budgets(history: History) -> list[str]:
    """Warn if networks were compared before all classes had emerged.

    Args:
        history: The trials of a search.

    Returns:
        One sentence if trainings of the smallest budget often collapsed, one if their replicates differ more than their
        networks, and one if the networks that were trained on came in another order than before; nothing if all trials
        have one budget.
    """
    budgets = sorted({trial.budget for trial in history.complete() if trial.budget > 0})
    if len(budgets) < 2:
        return []
    smallest, larger = budgets[:2]
    low, high = results_at(history, smallest), {trial.arch.id: trial for trial in results_at(history, larger)}
    found = []
    collapsed = sum(trial.metrics.get(COLLAPSED, 0) > 0 for trial in low)
    if len(low) >= FEW and collapsed > OFTEN * len(low):
        found.append(
            f"{collapsed} of {len(low)} trainings of {smallest} epochs, the smallest budget, had not learned all "
            "classes: they are compared too early; set fidelity.min_budget to a larger value."
        )
    noise = Noise.of(replace(history, records=tuple(trial for trial in history if trial.budget == smallest)))
    if noise is not None and noise.components.networks >= FEW and not noise.can_rank:
        found.append(
            f"After {smallest} epochs, the smallest budget, {100 * noise.share:.0f} % of the differences is noise (ICC "
            f"{noise.icc:.2f}): set fidelity.min_budget to a larger value."
        )
    both = [trial for trial in low if trial.arch.id in high]
    if len(both) >= FEW:
        tau = kendall(history.scores(both), history.scores([high[trial.arch.id] for trial in both]))
        if tau <= 0:
            found.append(
                f"The order of {len(both)} networks after {smallest} epochs says nothing about that after {larger} "
                f"(Kendall's tau {tau:.2f}): set fidelity.min_budget to a larger value."
            )
    return found


def kendall(x_N: np.ndarray, y_N: np.ndarray) -> float:
    """Return Kendall's rank correlation, tau-a.

    Args:
        x_N: (N,) values.
        y_N: (N,) values of the same things.

    Returns:
        Concordant minus discordant pairs, as a share of all pairs, -1 to 1.
    """
    rows, columns = np.triu_indices(len(x_N), 1)
    return float((np.sign(x_N[rows] - x_N[columns]) * np.sign(y_N[rows] - y_N[columns])).mean())
