"""One line for the search and one for each training, on the terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from nas.history import History, State
from nas.problem import Problem
from nas.strategies.base import Strategy

QUIET_INTERVAL_S = 10.0  # between lines of an output that is no terminal
FORMAT = "{desc} {n_fmt}/{total_fmt} |{bar:20}| {postfix} [{elapsed}, {remaining} left]"
SEARCH_FORMAT = "{desc} {n_fmt}/{total_fmt} |{bar:20}| [{elapsed}{postfix}]"


class SearchProgress:
    """Progress of a search in two lines: trials, best score, share pruned and time left; epochs of the running trial.

    The time left is known from the first epoch on: epochs count as parts of a trial. It assumes that all trials take
    the same time.

    Args:
        total: Number of trials.
        strategy: Strategy of the search.
        problem: Problem of the search.
        silent: Whether to show nothing.
    """

    def __init__(self, total: int, strategy: Strategy, problem: Problem, silent: bool = False) -> None:
        self._strategy, self._problem, self.silent, self._total = strategy, problem, silent, total
        self._bar: tqdm | None = None
        self._epochs = TrainingProgress("  epoch", keep=False, silent=silent)
        self._words: list[str] = []
        self._before = 0  # trials that had ended when this run began
        self._part = 0.0  # of the running trial
        self._start = time.monotonic()

    def update(self, history: History) -> None:
        """Show the present state.

        Args:
            history: The study's trials.
        """
        self._epochs.close()
        ended = sum(record.state is not State.RUNNING for record in history)
        scores, sign = history.scores(history.complete()), history.sign[history.score]
        words = [f"best {history.score} {sign * scores.max():.3f}"] if len(scores) else []
        failed = sum(record.state is State.FAILED for record in history)
        if failed:
            words.append(f"{failed} failed")
        ruled_out = None if self.silent else self._strategy.ruled_out(self._problem, history)
        if ruled_out is not None:
            words.append(f"pruned {100 * ruled_out.share:.1f} %")
        if self._bar is None:
            self._bar = progress_bar(self._total, "search", 0, silent=self.silent, bar_format=SEARCH_FORMAT)
            self._before, self._start = ended, time.monotonic()
        self._bar.n, self._part, self._words = min(ended, self._bar.total), 0.0, words
        self._show()

    def update_epoch(self, epoch: int, epochs: int) -> None:
        """Show an epoch; those before the first trial, of a supernet, are no part of a trial.

        Args:
            epoch: Number of finished epochs of the trial.
            epochs: Number of its epochs.
        """
        self._epochs.update(epoch, epochs)
        if self._bar is not None and epochs:
            self._part = min(epoch / epochs, 1.0)
            self._show(refresh=sys.stderr.isatty())  # a log gets a line per trial

    def time_left(self) -> str:
        """Estimate the time left from the trials and epochs of this run.

        Returns:
            Minutes and seconds, or "?" before the first epoch ended.
        """
        ended = self._bar.n if self._bar is not None else 0
        done = ended - self._before + self._part
        if done <= 0:
            return "?"
        per_trial = (time.monotonic() - self._start) / done
        return tqdm.format_interval(per_trial * max(self._total - ended - self._part, 0.0))

    def _show(self, refresh: bool = True) -> None:
        assert self._bar is not None
        self._bar.set_postfix_str(", ".join([*self._words, f"{self.time_left()} left"]), refresh=refresh)

    def close(self) -> None:
        """End the lines."""
        self._epochs.close()
        if self._bar is not None:
            self._bar.close()


def scored(score: str, metrics: Mapping[str, float]) -> str:
    """Format the score of an epoch.

    Args:
        score: Name of the score.
        metrics: Metrics of the epoch; empty if it was not validated.

    Returns:
        Name and value; empty if there is none.
    """
    return f"{score} {metrics[score]:.3f}" if metrics else ""


class TrainingProgress:
    """Progress line of a training: finished epochs, a note, time left.

    Args:
        name: Text before the bar.
        keep: Whether the line remains at the end. Otherwise it stands below the line of a search and is erased.
        silent: Whether to show nothing.
    """

    def __init__(self, name: str, keep: bool, silent: bool = False) -> None:
        self._name, self._keep, self._silent = name, keep, silent
        self._bar: tqdm | None = None

    def update(self, epoch: int, epochs: int, note: str = "") -> None:
        """Show the end of an epoch.

        Args:
            epoch: Number of finished epochs.
            epochs: Number of all epochs, after which the line ends.
            note: Text after the bar. If empty, the last note remains.
        """
        if self._bar is None:
            self._bar = progress_bar(
                epochs, self._name, position=0 if self._keep else 1, leave=self._keep, silent=self._silent
            )
        self._bar.n = epoch
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.refresh()
        if epoch >= epochs:
            self.close()

    def close(self) -> None:
        """End the line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def logs_above(progress: SearchProgress) -> AbstractContextManager[None]:
    """Write log lines above the progress line instead of into it.

    Args:
        progress: The progress line.

    Returns:
        A context.
    """
    return nullcontext() if progress.silent else logging_redirect_tqdm()


def progress_bar(
    total: int, name: str, position: int, leave: bool = True, silent: bool = False, bar_format: str = FORMAT
) -> tqdm:
    """Make a progress bar.

    Args:
        total: Number of steps.
        name: Text before the bar.
        position: Line of the bar, from 0.
        leave: Whether the bar remains at the end.
        silent: Whether to show nothing.
        bar_format: Parts of the line, as tqdm names them.

    Returns:
        The bar.
    """
    return tqdm(
        disable=silent,
        total=total,
        desc=name,
        position=position,
        leave=leave,
        dynamic_ncols=True,
        mininterval=0.2 if sys.stderr.isatty() else QUIET_INTERVAL_S,
        bar_format=bar_format,
    )
