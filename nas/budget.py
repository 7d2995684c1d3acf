"""The budget of a search in trials and time, and why a search ended."""

from __future__ import annotations

import re

from nas.errors import NASError
from nas.history import History, State
from nas.space import SearchSpace
from nas.utils.annotations import UNITS_S, is_duration


def seconds_of(duration: float | str | None) -> float | None:
    """Return a duration in seconds.

    Args:
        duration: Seconds, or a text such as 90s, 30min, 2h or 1d; None for no limit.

    Returns:
        The seconds, or None.

    Raises:
        NASError: If the text is no duration.
    """
    if duration is None or isinstance(duration, int | float):
        return duration
    if not is_duration(duration):
        raise NASError(f"the duration {duration!r}", "seconds, or a text such as 90s, 30min, 2h or 1d", "write 2h")
    number, unit = re.fullmatch(r"([0-9.]+)\s*([a-z]*)", duration.strip()).groups()  # type: ignore[union-attr]
    return float(number) * UNITS_S[unit]


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
