"""The budget of a search in trials and time, why a search ended, and estimates of time and disk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from nas.errors import NASError
from nas.history import History, State, Trial
from nas.space import SearchSpace
from nas.utils.annotations import duration_text

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


@dataclass(frozen=True, slots=True)
class SearchEnd:
    """Why a search ended, or what it is doing, and how long it took.

    Attributes:
        reason: A sentence.
        trials_s: Time of all ended trials together in seconds.
        wall_s: Time from the start of the first trial to the end of the last in seconds.
        workers: Number of workers that had a trial.
    """

    reason: str
    trials_s: float
    wall_s: float
    workers: int

    @property
    def took(self) -> str:
        """The time in words."""
        trials, wall = duration_text(self.trials_s), duration_text(self.wall_s)
        if self.workers < 2:
            return f"{trials} of trials, {wall} from the first to the last"
        return f"{trials} of trials by {self.workers} workers, {wall} from the first to the last"

    def to_json(self) -> dict[str, str | float | int]:
        """Return the content for a file.

        Returns:
            Field -> value, times rounded to 0.1 s.
        """
        times = {"trials_s": round(self.trials_s, 1), "wall_s": round(self.wall_s, 1)}
        return {"reason": self.reason, **times, "workers": self.workers}


class TimeLeft:
    """The time left of a search, from the trials and epochs of this run; it assumes that all trials take the same time.

    Args:
        trials: Number of trials at the end.
        time_s: Seconds that the trials may take together; None for no limit.
    """

    def __init__(self, trials: int, time_s: float | None = None) -> None:
        self.trials, self.time_s, self.ended = trials, time_s, 0
        self._most: tuple[float, float] | None = None  # most seconds that are left, and when
        self._before: int | None = None  # trials that had ended when this run began
        self._part, self._start = 0.0, time.monotonic()

    @property
    def has_begun(self) -> bool:
        """Whether the first trial of this run can start; epochs before that are those of a supernet."""
        return self._before is not None

    def update(self, history: History) -> None:
        """Count ended trials.

        Args:
            history: The study's trials.
        """
        ended = sum(trial.state is not State.RUNNING for trial in history.searched)
        if self._before is None:
            self._before, self._start = ended, time.monotonic()
        self.ended, self._part = min(ended, self.trials), 0.0
        if self.time_s is not None:
            running = sum(trial.state is State.RUNNING for trial in history.searched)
            most = max(self.time_s - seconds_used(history.searched), 0.0) / max(running, 1)
            self._most = most, time.monotonic()

    def update_epoch(self, epoch: int, epochs: int) -> None:
        """Count epochs as a part of the running trial.

        Args:
            epoch: Number of finished epochs of the trial.
            epochs: Number of its epochs.
        """
        if self.has_begun and epochs:
            self._part = min(epoch / epochs, 1.0)

    def seconds(self) -> float | None:
        """Return the estimate.

        Returns:
            Seconds, at least 0; None before the first epoch ended.
        """
        done = self.ended - (self._before or 0) + self._part
        if done <= 0:
            return None
        left = (time.monotonic() - self._start) / done * max(self.trials - self.ended - self._part, 0.0)
        return left if self._most is None else min(left, max(self._most[0] - (time.monotonic() - self._most[1]), 0.0))


def search_end(
    history: History, space: SearchSpace, trials: int, time_s: float | None, *, interrupted: bool = False
) -> SearchEnd:
    """Say why a search ended and how long it took.

    Args:
        history: The trials of the study.
        space: The space that was searched.
        trials: Number of ended trials that the study is to hold.
        time_s: Seconds that the trials may take together; None for no limit.
        interrupted: Whether this worker was interrupted.

    Returns:
        The end. A search with trials that are running, by other workers, has not ended.
    """
    ended = [trial for trial in history if trial.state is not State.RUNNING]
    searched, confirmed = history.searched, history.confirmed
    count = sum(trial.state is not State.RUNNING for trial in searched)
    if is_spent(searched, trials, time_s) or (not interrupted and count == len(searched)):
        reason = f"The search ended: {why_ended(searched, space, trials, time_s)}."
        if len(confirmed):
            networks = len({trial.arch.id for trial in confirmed})
            again = " and was interrupted; the same command continues" if interrupted else ""
            reason += f" Its confirmation trained {networks} networks {len(confirmed)} times{again}."
    elif interrupted:
        reason = f"Interrupted after {count} of {trials} trials; the same command continues."
    else:
        reason = f"Other workers go on: {count} of {trials} trials have ended."
    wall_s = max((trial.finished for trial in ended), default=0) - min((trial.started for trial in ended), default=0)
    return SearchEnd(reason, seconds_used(history), wall_s, len({trial.worker for trial in ended}))


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
