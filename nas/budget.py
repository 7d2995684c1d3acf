"""The budget of a search in trials and time, why a search ended, and estimates of time and disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nas.errors import NASError
from nas.history import History, State, Trial
from nas.space import SearchSpace

MAX_FAILURES = 5  # failed trials in a row after which the settings, not the candidates, are to blame


@dataclass(frozen=True, slots=True)
class Estimate:
    """Expected time and disk of a part of a search or a training.

    Args:
        seconds: Time in seconds on the device at hand.
        bytes: Size of the files that are kept.
    """

    seconds: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(self.seconds + other.seconds, self.bytes + other.bytes)

    def times(self, count: float) -> Estimate:
        """Return the estimate of several such parts.

        Args:
            count: Number of parts.

        Returns:
            Time and disk of all of them.
        """
        return Estimate(count * self.seconds, count * self.bytes)


def seconds_used(history: History) -> float:
    """Return how long the trials of a study have taken, all workers together.

    Args:
        history: The trials of the study.

    Returns:
        Seconds from start to end of every ended trial; without the time between two trials.
    """
    return sum(trial.finished - trial.started for trial in history if trial.state is not State.RUNNING)


def is_spent(history: History, trials: int, time_s: float | None) -> bool:
    """Check whether a search may begin no further trial.

    Args:
        history: The trials of the study.
        trials: Number of ended trials that the study is to hold.
        time_s: Seconds that the trials may take together; None for no limit.

    Returns:
        True if one of the two is reached.
    """
    ended = sum(trial.state is not State.RUNNING for trial in history)
    return ended >= trials or (time_s is not None and seconds_used(history) >= time_s)


def why_ended(history: History, space: SearchSpace, trials: int, time_s: float | None) -> str:
    """Say why a search ended.

    Args:
        history: The trials of the study.
        space: The space that was searched.
        trials: Number of ended trials that the study is to hold.
        time_s: Seconds that the trials may take together; None for no limit.

    Returns:
        The reason in a few words.
    """
    ended = sum(trial.state is not State.RUNNING for trial in history)
    if ended >= trials:
        return f"the study holds {ended} of {trials} trials"
    if is_spent(history, trials, time_s):
        return f"the trials took {seconds_used(history):.0f} of {time_s:.0f} s"
    every = space.enumerate()
    if every is not None and len({trial.arch.genes for trial in history}) >= len(every):
        return f"all {len(every)} networks of the space were tried"
    return f"after {ended} of {trials} trials the strategy has nothing left to propose"


def stop_after_repeated_failures(ended: Sequence[Trial]) -> None:
    """Stop a search whose latest trials have all failed.

    Args:
        ended: Trials that ended since this worker began, in order of number (clocks of workers may differ).

    Raises:
        NASError: If the last five have failed.
    """
    last = ended[-MAX_FAILURES:]
    if len(last) == MAX_FAILURES and all(record.state is State.FAILED for record in last):
        raise NASError(
            f"{MAX_FAILURES} failed trials in a row, the last with {last[-1].reason!r}",
            "candidates that train",
            "change the training settings or the data, then run the same command again",
        )
