"""Division of the running time between the steps of `voxnas auto`; the steps' costs are measured, not assumed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nas.planning.rules import (
    ENOUGH_ALONE,
    FEWEST_EPOCHS,
    FEWEST_TRIALS,
    REFERENCE_SHARE,
    SEARCH_SHARE,
    TRIALS,
    epochs_for,
)

LONGEST_REFERENCE = 1 / 3  # of the time, if the planned epochs take longer than expected
SLACK = 1.15  # factor on measured times, as machines get slower under load
RESERVE_SHARE, LEAST_RESERVE_S = 0.03, 3.0  # for test and report, before their time is known
TYPICAL = 2 / 3  # cost of a network of the space, in those of the reference network
RANKING_EPOCHS = 8  # of a trial, before which classes have not emerged and trials rank no networks
MOST_NETWORKS = 3  # that are retrained: the best and its next two


@dataclass(frozen=True)
class SearchPart:
    """The search, or none.

    Args:
        seconds: Running time until its end; 0 for no search.
        trials: Largest number of trials.
        epochs: Epochs of a trial.
        trial_s: Expected time of a trial.
    """

    seconds: float = 0.0
    trials: int = 0
    epochs: int = 0
    trial_s: float = 0.0

    def time_of_trials(self, workers: int) -> float:
        """Return after how much time of ended trials no further one begins, so that the running ones end in time.

        Args:
            workers: Number of workers; one begins a trial while those of the others are half done.

        Returns:
            Seconds of all ended trials together, at least 1.
        """
        return max(workers * (self.seconds - self.trial_s) - (workers - 1) * self.trial_s / 2, 1.0)


@dataclass(frozen=True)
class Retraining:
    """The trainings after the search.

    Args:
        epochs: Epochs of each training.
        rounds: For each network, best first, on how many folds it is trained; 0 for none.
        seconds: Expected running time of all of them.
    """

    epochs: int
    rounds: tuple[int, ...]
    seconds: float

    def __bool__(self) -> bool:
        return any(self.rounds)


def first_reserve(limit: float) -> float:
    """Return the time that is kept for test and report as long as theirs is unknown.

    Args:
        limit: Running time of everything in seconds.

    Returns:
        Seconds.
    """
    return max(RESERVE_SHARE * limit, LEAST_RESERVE_S)


def reference_epochs(limit: float, left: float, epoch_s: float, wanted: int) -> int:
    """Return the epochs of the reference network, which is always trained.

    Args:
        limit: Running time of everything in seconds.
        left: What is left of it.
        epoch_s: Measured time of an epoch.
        wanted: Epochs of the plan.

    Returns:
        At least 1, at most `wanted`: as many as fit into an eighth of the time, and four if these fit into a third.
    """
    room = left - first_reserve(limit)
    own = min(limit * REFERENCE_SHARE, room)
    longest = min(limit * LONGEST_REFERENCE, room)
    fits = max(int(own / epoch_s), min(FEWEST_EPOCHS, int(longest / epoch_s)))
    return max(min(fits, wanted), 1)


def search_part(
    limit: float, left: float, reserve: float, wanted: int, epoch_s: float, epochs: int, workers: int
) -> SearchPart:
    """Divide the time of the search into trials.

    There is none if its trials would be too few and short to rank networks, or if too little time were left to train
    one of them.

    Args:
        limit: Running time of everything in seconds.
        left: What is left of it after the reference network.
        reserve: What is kept for test and report.
        wanted: Epochs of one training of a network after the search, of which at least 24 are left.
        epoch_s: Time of an epoch of the reference network, by one worker while the others work.
        epochs: Epochs of a trial at most.
        workers: Number of workers.

    Returns:
        The search, or none.
    """
    seconds = min(limit * SEARCH_SHARE, left - reserve - SLACK * min(wanted, ENOUGH_ALONE) * epoch_s)
    worked, typical_s = max(seconds, 0.0) * workers, TYPICAL * epoch_s
    if worked < FEWEST_TRIALS * min(RANKING_EPOCHS, epochs) * typical_s:
        return SearchPart()
    trials = TRIALS
    while trials > FEWEST_TRIALS and worked / trials < 2 * FEWEST_EPOCHS * typical_s:
        trials -= 1
    epochs = min(epochs_for(worked / trials, typical_s, 1), epochs)
    return SearchPart(seconds, trials, epochs, epochs * typical_s)


def retraining(
    seconds: float, epoch_s: Sequence[float], test_s: float, epochs: int, folds: int, processes: int
) -> Retraining:
    """Choose how many networks are trained on how many folds.

    As many of the best three networks as fit are trained on equally many folds, each process one fold at a time; then
    the best one on further folds, then the next. With at least twice as many processes as folds, several networks are
    trained at a time, on all folds. If no training of the best network fits, it gets fewer epochs, at least four.

    Args:
        seconds: Running time for all of them, the reserve excluded.
        epoch_s: Time of an epoch of each network, best first, while all processes work.
        test_s: Time to predict the test part, and of the start, for each wave of trainings.
        epochs: Epochs of each training.
        folds: Number of folds.
        processes: Trainings at a time.

    Returns:
        The trainings; none if not even four epochs fit.
    """
    per_wave, most = min(processes, folds), math.ceil(folds / min(processes, folds))
    costs = [SLACK * one * epochs + test_s for one in epoch_s[:MOST_NETWORKS]]
    if costs and costs[0] > seconds:
        epochs = min(int((seconds - test_s) / (SLACK * epoch_s[0])), epochs) if seconds > test_s else 0
        costs = [SLACK * one * epochs + test_s for one in epoch_s[:MOST_NETWORKS]]
        if epochs < FEWEST_EPOCHS or costs[0] > seconds:
            return Retraining(0, (0,) * len(costs), 0.0)
    if (together := networks_at_a_time(processes, folds)) > 1:
        return _side_by_side(seconds, costs, epochs, folds, together)
    count = max((number for number in range(1, len(costs) + 1) if sum(costs[:number]) <= seconds), default=0)
    waves = [min(int(seconds / sum(costs[:count])), most) if number < count else 0 for number in range(len(costs))]
    left = seconds - sum(wave * cost for wave, cost in zip(waves, costs, strict=True))
    for number, cost in enumerate(costs):
        while waves[number] < most and cost <= left:
            waves[number] += 1
            left -= cost
    rounds = tuple(min(wave * per_wave, folds) for wave in waves)
    return Retraining(epochs, rounds, seconds - left)


def networks_at_a_time(processes: int, folds: int) -> int:
    """Return how many networks are trained at a time, each on all folds.

    Args:
        processes: Trainings at a time.
        folds: Number of folds.

    Returns:
        At least 1.
    """
    return max(processes // folds, 1)


def _side_by_side(seconds: float, costs: Sequence[float], epochs: int, folds: int, together: int) -> Retraining:
    rounds, left = [0] * len(costs), seconds
    for first in range(0, len(costs), together):
        fits = [number for number in range(first, min(first + together, len(costs))) if costs[number] <= left]
        for number in fits:
            rounds[number] = folds
        left -= max((costs[number] for number in fits), default=0.0)
    return Retraining(epochs, tuple(rounds), seconds - left)
