"""One line for the search and one for each training, on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from nas.history import History, State
from nas.problem import Problem
from nas.strategies.base import Strategy

QUIET_INTERVAL_S = 10.0  # between lines where the output is a file rather than a terminal


class SearchProgress:
    """done/total, best score, share of the space pruned, time left. silent: nothing at all."""

    def __init__(self, total: int, strategy: Strategy, problem: Problem, silent: bool = False) -> None:
        self._strategy, self._problem, self.silent = strategy, problem, silent
        self._bar = progress_bar(total, "search", position=0, silent=silent)

    def update(self, history: History) -> None:
        ended = sum(record.state is not State.RUNNING for record in history)
        scores, sign = history.scores(history.complete()), history.sign[history.score]
        words = [f"best {history.score} {sign * scores.max():.3f}"] if len(scores) else []
        failed = sum(record.state is State.FAILED for record in history)
        if failed:
            words.append(f"{failed} failed")
        ruled_out = None if self.silent else self._strategy.ruled_out(self._problem, history)
        if ruled_out is not None:
            words.append(f"pruned {100 * ruled_out.share:.1f} %")
        if self._bar.n == 0 and ended:
            self._bar.initial = ended  # trials of an earlier run say nothing about the time left
        self._bar.n = min(ended, self._bar.total)
        self._bar.set_postfix_str(", ".join(words), refresh=True)

    def close(self) -> None:
        self._bar.close()


def scored(score: str, metrics: Mapping[str, float]) -> str:
    """The score in words; nothing after an epoch that was not validated."""
    return f"{score} {metrics[score]:.3f}" if metrics else ""


class TrainingProgress:
    """Epochs of one training; the line goes away when it ends where it stands under a search line."""

    def __init__(self, name: str, keep: bool, silent: bool = False) -> None:
        self._name, self._keep, self._silent = name, keep, silent
        self._bar: tqdm | None = None

    def update(self, epoch: int, epochs: int, note: str = "") -> None:
        """note: beside the epoch; empty: what was noted last stays."""
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
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def logs_above(progress: SearchProgress) -> AbstractContextManager[None]:
    """Log lines appear above the progress line instead of in the middle of it."""
    return nullcontext() if progress.silent else logging_redirect_tqdm()


def progress_bar(total: int, name: str, position: int, leave: bool = True, silent: bool = False) -> tqdm:
    return tqdm(
        disable=silent,
        total=total,
        desc=name,
        position=position,
        leave=leave,
        dynamic_ncols=True,
        mininterval=0.2 if sys.stderr.isatty() else QUIET_INTERVAL_S,
        bar_format="{desc} {n_fmt}/{total_fmt} |{bar:20}| {postfix} [{elapsed}, {remaining} left]",
    )
