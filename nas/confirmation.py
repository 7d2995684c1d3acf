"""Further evaluations of networks: replicates of a search, and the confirmation of its best networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nas.history import CONFIRMATION, History, Proposal, State, Trial
from nas.metrics.noise import standard_errors, variance_components, without_replicate_effects
from nas.provenance import Replication
from nas.strategies.ranking import best_first

FIRST = 2  # replicates of every confirmed network, before any is left behind
WITHIN = 2.0  # standard errors of a difference by which a better network ends the race of another


def further_replicate(history: History, replicates: int) -> Proposal | None:
    """Return an evaluation that a network of the search still lacks.

    Args:
        history: The trials of the search.
        replicates: Number of evaluations that each network is to have at each of its budgets.

    Returns:
        The proposal, of the network that was proposed first; None if each has enough. A network with a failed trial is
        not repeated.
    """
    if replicates < 2:
        return None
    known: dict[tuple[str, int], set[int]] = {}
    failed: set[tuple[str, int]] = set()
    first: dict[tuple[str, int], Trial] = {}
    for trial in history:
        key = trial.arch.id, trial.budget
        first.setdefault(key, trial)
        known.setdefault(key, set()).add(trial.replicate)
        if trial.state is State.FAILED:
            failed.add(key)
    for key, trial in first.items():
        missing = [] if key in failed else [one for one in range(replicates) if one not in known[key]]
        if missing:
            return Proposal(trial.arch, trial.budget, missing[0])
    return None


def candidates(history: History, count: int) -> list[Trial]:
    """Return the networks that a confirmation compares.

    Args:
        history: The trials of the search.
        count: Number of networks.

    Returns:
        Means of the best networks by constrained Pareto rank, then by score, the best first; of a search with several
        budgets, those with the largest budget.
    """
    done = history.searched.final()
    largest = max((trial.budget for trial in done), default=0)
    done = tuple(trial for trial in done if trial.budget == largest)
    return [done[row] for row in best_first(history, done)[:count]]


def next_confirmation(history: History, settings: Replication) -> Proposal | None:
    """Return the next training of the confirmation, a race in rounds of one replicate for each network.

    Every candidate has two replicates. A network has no later round if another that keeps the constraints as well is
    better by more than two standard errors, more for few degrees of freedom; with several objectives in each of them,
    where objectives without noise, as costs, need only be as good. The deviation is pooled over all candidates, without
    the effects of replicates, which they share. All proposals follow from the history, whatever the number of workers.

    Source: racing after Maron and Moore, Artificial Intelligence Review 11, 1997, with standard errors for bounds.

    Args:
        history: All trials of the study.
        settings: Numbers of networks and replicates.

    Returns:
        The proposal; None if the confirmation has ended, or waits for trials that are running.
    """
    if not settings.confirm:
        return None
    racing = candidates(history, settings.confirm)
    trials = {(trial.arch.id, trial.budget, trial.replicate): trial for trial in history.confirmed}

    def trial_of(network: Trial, number: int) -> Trial | None:
        return trials.get((network.arch.id, network.budget, CONFIRMATION + number))

    for number in range(settings.confirm_replicates):
        if number >= FIRST:
            racing = _in_race(history, racing, number)
            if len(racing) < 2:
                return None
        known = [trial_of(network, number) for network in racing]
        for network, trial in zip(racing, known, strict=True):
            if trial is None:
                return Proposal(network.arch, network.budget, CONFIRMATION + number)
        begun = (trial_of(network, earlier) for network in racing for earlier in range(number + 1))
        if number + 1 >= FIRST and any(trial is not None and trial.state is State.RUNNING for trial in begun):
            return None
        complete = [trial is not None and trial.state is not State.FAILED for trial in known]
        racing = [network for network, keep in zip(racing, complete, strict=True) if keep]
    return None


def warnings_of_replication(history: History, replication: Replication) -> list[str]:
    """Warn if networks are compared that were not evaluated equally often, or a better one was not confirmed.

    Args:
        history: All trials of the study.
        replication: How often the search evaluates its networks.

    Returns:
        One sentence if a network of the front has fewer evaluations than asked for, as when the trials ended before its
        last replicate, and one if the best network of the search was trained after a confirmation that has ended.
    """
    asked, found = replication.replicates, []
    front = [trial for trial in history.front() if trial.replicate < CONFIRMATION]
    counts = {trial.arch.id: len(history.replicates(trial.arch, trial.budget)) for trial in front}
    short = [f"{arch_id} ({count})" for arch_id, count in counts.items() if count < asked]
    if short:
        found.append(
            f"Networks of the Pareto front with fewer than {asked} evaluations: {', '.join(short)}. The best of such "
            f"values is more often too good{_completed_by(history.searched, asked)}."
        )
    best, again = candidates(history, 1), {(trial.arch.id, trial.budget) for trial in history.confirmed}
    if best and again and (best[0].arch.id, best[0].budget) not in again:
        found.append(
            f"The best network of the search, {best[0].arch.id}, was trained after the confirmation and is not part of "
            f"the answer: the same command with study.confirm={max(replication.confirm, len(again))} confirms it."
        )
    return found


def _completed_by(searched: History, replicates: int) -> str:
    """Say which number of trials completes the replicates of a search."""
    states: dict[tuple[str, int], list[State]] = {}
    for trial in searched:
        states.setdefault((trial.arch.id, trial.budget), []).append(trial.state)
    missing = sum(max(replicates - len(own), 0) for own in states.values() if State.FAILED not in own)
    return f"; study.trials={len(searched) + missing} completes them" if missing else ""


def _in_race(history: History, racing: Sequence[Trial], rounds: int) -> list[Trial]:
    """Return the networks that may still be on the front, after the given number of rounds."""
    known = tuple(trial for trial in history.confirmed if trial.replicate < CONFIRMATION + rounds)
    so_far = replace(history, records=known)
    means = {
        (mean.arch.id, mean.budget): mean
        for mean in so_far.means()
        if len(so_far.replicates(mean.arch, mean.budget)) == rounds
    }
    kept = [network for network in racing if (network.arch.id, network.budget) in means]
    found = [means[network.arch.id, network.budget] for network in kept]
    value_NM, excess_N = history.values(found), history.violations(found)
    margin_M = [_margin(so_far, name, rounds) for name in history.objectives]
    ahead_NNM = value_NM[:, None] - value_NM[None] - margin_M
    ahead_NN = np.all(ahead_NNM >= 0, axis=2) & np.any(ahead_NNM > 0, axis=2)
    beaten_N = np.any(ahead_NN & (excess_N[:, None] <= excess_N), axis=0) | (excess_N > excess_N.min(initial=math.inf))
    return [network for network, beaten in zip(kept, beaten_N, strict=True) if not beaten]


def _margin(history: History, objective: str, rounds: int) -> float:
    """Return the difference of two means of an objective that noise may make: 0 for one without noise, as of costs."""
    rows = [
        {trial.replicate: trial.metrics[objective] for trial in history.replicates(mean.arch, mean.budget)}
        for mean in history.means()
    ]
    if all(len(set(row.values())) == 1 for row in rows):
        return 0.0
    apart, lost = without_replicate_effects(rows)
    found = variance_components([list(row.values()) for row in apart], lost=lost)
    if found is None:
        return math.inf
    degrees = found.evaluations - found.networks - lost
    return standard_errors(WITHIN, degrees) * math.sqrt(2 * found.within / rounds)
