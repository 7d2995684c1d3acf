"""Budgets of a search in trials and time, and why it ended."""

from __future__ import annotations

import pytest

from experiments.config import StudyConfig
from nas.budget import is_spent, seconds_used, why_ended
from nas.errors import NASError
from nas.history import History, State, Trial
from nas.utils.annotations import seconds_of
from nas.utils.checked import check_arguments
from tests.strategies.tables import OBJECTIVES, Grid, total

SPACE = Grid((2, 2))


def history(*seconds: float, running: int = 0) -> History:
    every = [SPACE.architecture(genes) for genes in ((0, 0), (0, 1), (1, 0), (1, 1))]
    ended = [
        Trial(
            n, every[n], 0, State.COMPLETE, {"score": 1.0, "cost": 1.0}, started=100.0 * n, finished=100.0 * n + taken
        )
        for n, taken in enumerate(seconds)
    ]
    more = [Trial(len(ended) + n, every[len(ended) + n], 0, State.RUNNING, started=1.0) for n in range(running)]
    return History((*ended, *more), OBJECTIVES, total, "cost")


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [(90, 90), (0.5, 0.5), ("90", 90), ("90s", 90), ("30min", 1800), ("1.5h", 5400), ("2 d", 172_800)],
)
def test_durations(duration: float | str, seconds: float) -> None:
    assert seconds_of(duration) == seconds


@pytest.mark.parametrize("text", ["", "h", "2 weeks", "-1h", "1h30", "0s", "1e3"])
def test_texts_that_are_no_durations(text: str) -> None:
    with pytest.raises(NASError, match="90s, 30min, 2h or 1d"):
        check_arguments(StudyConfig, {"name": "a", "trials": 1, "time": text})


def test_the_time_is_that_of_ended_trials() -> None:
    """Not the time between trials, nor that of a running trial."""
    trials = history(3.0, 4.0, running=1)
    assert seconds_used(trials) == 7.0
    assert is_spent(trials, 9, 7.0)
    assert not is_spent(trials, 9, 7.1)
    assert not is_spent(trials, 3, None)
    assert is_spent(trials, 2, None)


@pytest.mark.parametrize(
    ("seconds", "trials", "time_s", "reason"),
    [
        ((1.0, 1.0), 2, None, "the study holds 2 of 2 trials"),
        ((1.0, 1.0), 9, 2.0, "the trials took 2 of 2 s"),
        ((1.0,) * 4, 9, None, "all 4 networks of the space were tried"),
        ((1.0,), 9, 60.0, "after 1 of 9 trials the strategy has nothing left to propose"),
    ],
)
def test_the_reason_of_the_end(seconds: tuple[float, ...], trials: int, time_s: float | None, reason: str) -> None:
    assert why_ended(history(*seconds), SPACE, trials, time_s) == reason
