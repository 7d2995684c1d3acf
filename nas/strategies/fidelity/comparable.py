"""The history that the strategy within a multi-fidelity search reads: one result for each network, on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nas.history import History, State, Trial
from nas.strategies.budget_shifts import shifts
from nas.strategies.fidelity.schedule import results_at

STATES = (State.FAILED, State.RUNNING)  # of a network without a result, the weaker one first


def comparable(history: History, budgets: Sequence[int]) -> History:
    """Return every network once, with its result at its largest budget, as if it had the largest budget of all.

    A result counts as the sum of a network's and a budget's effect (a two-way layout without interaction; Scheffé,
    The Analysis of Variance, 1959, chapter 4). The difference between two neighbouring budgets is the mean difference
    of the networks that finished both. Networks are promoted for good results, part of which are chance, so that it is
    estimated somewhat too small, in favour of the promoted ones. Costs of the architecture have no such difference.

    Args:
        history: Trials of the study.
        budgets: Epochs of the steps, in ascending order.

    Returns:
        Trials with budget 0, with the number and the times of the network's first result, so that a promotion makes no
        network younger; networks without a result are running or failed. Replicates that are running or failed at the
        largest budget with a result stay, so that no worker asks for them again.
    """
    added = _shifts(history, budgets)
    records: list[Trial] = []
    first: dict[str, Trial] = {}
    for trial in history.complete():
        first.setdefault(trial.arch.id, trial)
    for final in history.final():
        born = first[final.arch.id]
        for trial in history.replicates(final.arch, final.budget):
            shift = added.get(final.budget, {})
            metrics = {name: value + shift.get(name, 0.0) for name, value in trial.metrics.items()}
            record = replace(trial, budget=0, metrics=metrics)
            if trial.replicate == final.replicate:
                record = replace(record, number=born.number, started=born.started, finished=born.finished)
            records.append(record)
    others: dict[str, Trial] = {}
    finished = {(trial.arch.id, trial.replicate) for trial in records}
    largest = {final.arch.id: final.budget for final in history.final()}
    for trial in history:
        if trial.budget == largest.get(trial.arch.id) and (trial.arch.id, trial.replicate) not in finished:
            records.append(replace(trial, budget=0))
        if trial.arch.id not in first:
            known = others.setdefault(trial.arch.id, trial)
            if STATES.index(trial.state) > STATES.index(known.state):
                others[trial.arch.id] = trial
    records += [replace(trial, budget=0) for trial in others.values()]
    return replace(history, records=tuple(sorted(records, key=lambda trial: trial.number)))


def _shifts(history: History, budgets: Sequence[int]) -> dict[int, dict[str, float]]:
    return shifts({budget: {one.arch.id: one.metrics for one in results_at(history, budget)} for budget in budgets})
