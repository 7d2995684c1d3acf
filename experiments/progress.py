"""One progress line that fits the terminal; in a log, one line per event."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from nas.budget import TimeLeft
from nas.history import History, State
from nas.problem import Problem
from nas.strategies.base import Strategy
from nas.utils.text_table import terminal_width

QUIET_INTERVAL_S = 10.0  # between lines of an output that is no terminal
REDRAW_S = 0.1  # between versions of the line of a terminal
BAR, LEAST_BAR = 20, 6  # columns


def progress_text(name: str, done: int, total: int, words: Sequence[str], clock: str, width: int, bar: bool) -> str:
    """Compose a progress line.

    Args:
        name: What progresses; shortened if it takes half of the line.
        done: Finished steps.
        total: Steps at the end.
        words: Further facts, the most important first; those that do not fit are left out.
        clock: Times, at the end of the line.
        width: Columns of the line.
        bar: Whether a bar is drawn if there is room.

    Returns:
        One line of at most `width` columns, if name, steps and times alone are not longer.
    """
    steps = f"{done}/{total}"
    most = max(min(width // 2, width - len(steps) - len(clock) - 4), 1)
    name = name if len(name) <= most else f"{name[: most - 1]}…"
    text = f"{name} {steps}"
    room = width - len(text) - len(clock) - 3
    shown: list[str] = []
    for word in words:
        if len(", ".join([*shown, word])) + 2 <= room:
            shown.append(word)
    facts = ", ".join(shown)
    room -= len(facts) + 4
    if bar and room >= LEAST_BAR:
        size = min(BAR, room)
        filled = round(size * min(done / total, 1.0)) if total else 0
        text += f" |{'█' * filled}{' ' * (size - filled)}|"
    return " ".join(part for part in (text, facts, f"[{clock}]") if part)


class ProgressLine:
    """A progress line on stderr: redrawn on a terminal, else written anew at most every ten seconds.

    Args:
        name: What progresses.
        total: Steps at the end.
        silent: Whether to show nothing.
        keep: Whether the line of a terminal remains at the end.
        before: Steps that had been finished before this run.
        since: Start of this run, in seconds of `time.monotonic`; None for now.
    """

    def __init__(
        self,
        name: str,
        total: int,
        *,
        silent: bool = False,
        keep: bool = True,
        before: int = 0,
        since: float | None = None,
    ) -> None:
        self.name, self.total, self.silent, self.done, self._before = name, total, silent, before, before
        self._start = time.monotonic() if since is None else since
        self._shown_at, self._pending = float("-inf"), ""
        self._terminal = sys.stderr.isatty()
        self._bar = None
        if self._terminal and not silent:
            self._bar = tqdm(
                total=total, bar_format="{desc}", ncols=terminal_width(), nrows=20, leave=keep, file=sys.stderr
            )

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def update(self, steps: int = 1) -> None:
        """Count finished steps.

        Args:
            steps: Their number.
        """
        self.show(self.done + steps)

    def show(self, done: int, words: Sequence[str] = (), left: str | None = None, event: bool = True) -> None:
        """Show the present state, unless the last one is too fresh.

        Args:
            done: Finished steps.
            words: Further facts, the most important first.
            left: Time left. If None, it is estimated from the steps.
            event: Whether a log gets a line for it.
        """
        self.done = done
        if self.silent or not (self._terminal or event):
            return
        now = time.monotonic()
        elapsed = now - self._start
        if left is None:
            steps = done - self._before
            left = tqdm.format_interval(elapsed / steps * max(self.total - done, 0)) if steps > 0 else "?"
        clock = f"{tqdm.format_interval(elapsed)}, {left} left"
        width = terminal_width() - 1  # a full line would wrap on some terminals
        self._pending = progress_text(self.name, done, self.total, words, clock, width, self._terminal)
        if now - self._shown_at >= (REDRAW_S if self._terminal else QUIET_INTERVAL_S):
            self._flush()
            self._shown_at = now

    def close(self) -> None:
        """Show the last state and end the line."""
        self._flush()
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _flush(self) -> None:
        if not self._pending:
            return
        if self._bar is not None:
            self._bar.set_description_str(self._pending)
        elif not self._terminal:
            print(self._pending, file=sys.stderr, flush=True)
        self._pending = ""


class SearchProgress:
    """Progress of a search: trials, epoch of the running one, best score, share pruned and time left.

    The time left is known from the first epoch on: epochs count as parts of a trial. It assumes that all trials take
    the same time.

    Args:
        total: Number of trials.
        strategy: Strategy of the search.
        problem: Problem of the search.
        silent: Whether to show nothing.
        name: Name of the search in the line.
        time_s: Seconds that the trials may take together; None for no limit.
    """

    def __init__(
        self,
        total: int,
        strategy: Strategy,
        problem: Problem,
        silent: bool = False,
        name: str = "search",
        time_s: float | None = None,
    ) -> None:
        self._strategy, self._problem, self.silent, self.name = strategy, problem, silent, name
        self._left = TimeLeft(total, time_s)
        self._line: ProgressLine | None = None
        self._supernet = TrainingProgress("supernet, epoch", keep=False, silent=silent)
        self._words: list[str] = []
        self._confirming = False

    def update(self, history: History) -> None:
        """Show the present state.

        Args:
            history: The study's trials.
        """
        self._supernet.close()
        words = [f"best {history.score} {history.best.metrics[history.score]:.3f}"] if history.complete() else []
        self._confirming = len(history.confirmed) > 0
        if self._confirming:
            words.append(f"confirmation: training {len(history.confirmed)}")
        failed = sum(record.state is State.FAILED for record in history)
        if failed:
            words.append(f"{failed} failed")
        ruled_out = None if self.silent else self._strategy.ruled_out(self._problem, history.searched)
        if ruled_out is not None:
            words.append(f"pruned {100 * ruled_out.share:.1f} %")
        if self._line is None:
            self._line = ProgressLine(self.name, self._left.trials, silent=self.silent)
        self._left.update(history)
        self._words = words
        self._line.show(self._left.ended, words, self.time_left())

    def update_epoch(self, epoch: int, epochs: int) -> None:
        """Show an epoch; those before the first trial, of a supernet, are no part of a trial.

        Args:
            epoch: Number of finished epochs of the trial.
            epochs: Number of its epochs.
        """
        if self._line is None:
            self._supernet.update(epoch, epochs)
        elif epochs:
            self._left.update_epoch(epoch, epochs)
            words = [*self._words[:1], f"epoch {epoch}/{epochs}", *self._words[1:]]
            self._line.show(self._left.ended, words, self.time_left(), event=False)

    def time_left(self) -> str:
        """Estimate the time left from the trials and epochs of this run.

        Returns:
            Minutes and seconds, or "?" before the first epoch ended and in a confirmation, whose length is unknown.
        """
        seconds = self._left.seconds()
        return "?" if seconds is None or self._confirming else tqdm.format_interval(seconds)

    def close(self) -> None:
        """End the line."""
        self._supernet.close()
        if self._line is not None:
            self._line.close()


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
        keep: Whether the line remains at the end.
        silent: Whether to show nothing.
        since: Start of the training, in seconds of `time.monotonic`; None for the first epoch shown.
    """

    def __init__(self, name: str, keep: bool, silent: bool = False, since: float | None = None) -> None:
        self._name, self._keep, self._silent, self._since = name, keep, silent, since
        self._line: ProgressLine | None = None
        self._note = ""

    def update(self, epoch: int, epochs: int, note: str = "") -> None:
        """Show the end of an epoch.

        Args:
            epoch: Number of finished epochs.
            epochs: Number of all epochs, after which the line ends.
            note: Text after the bar. If empty, the last note remains.
        """
        if self._line is None:
            settings = {"silent": self._silent, "keep": self._keep}
            self._line = ProgressLine(self._name, epochs, before=epoch - 1, since=self._since, **settings)
        self._note = note or self._note
        self._line.show(epoch, [self._note] if self._note else [])
        if epoch >= epochs:
            self.close()

    def close(self) -> None:
        """End the line."""
        if self._line is not None:
            self._line.close()
            self._line = None


def logs_above(progress: SearchProgress) -> AbstractContextManager[None]:
    """Write log lines above the progress line instead of into it.

    Args:
        progress: The progress line.

    Returns:
        A context.
    """
    return nullcontext() if progress.silent else logging_redirect_tqdm()
