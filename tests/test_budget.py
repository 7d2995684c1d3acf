"""Budgets of a search in trials and time, and why it ended."""

from __future__ import annotations

import pytest

from experiments.config import StudyConfig
from nas.budget import Estimate, is_spent, search_end, seconds_used, why_ended
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


@pytest.mark.parametrize(
    ("trials", "total", "interrupted", "reason"),
    [
        (history(1.0, 1.0), 2, False, "The search ended: the study holds 2 of 2 trials."),
        (history(1.0, 1.0), 2, True, "The search ended: the study holds 2 of 2 trials."),
        (history(1.0), 3, True, "Interrupted after 1 of 3 trials; the same command continues."),
        (history(1.0, running=1), 3, True, "Interrupted after 1 of 3 trials; the same command continues."),
        (history(1.0, running=1), 3, False, "Other workers go on: 1 of 3 trials have ended."),
    ],
)
def test_the_end_of_a_search_in_a_sentence(trials: History, total: int, interrupted: bool, reason: str) -> None:
    assert search_end(trials, SPACE, total, None, interrupted=interrupted).reason == reason


def test_how_long_a_search_took() -> None:
    end = search_end(history(3.0, 4.0), SPACE, 2, None)
    assert (end.trials_s, end.wall_s) == (7.0, 104.0)
    assert end.took == "7 s of trials, 104 s from the first to the last"
    assert end.to_json()["wall_s"] == 104.0


def test_estimates_add_up() -> None:
    one = Estimate(2.0, 10.0)
    assert one.times(3) + Estimate(bytes=1.0) == Estimate(6.0, 31.0)
