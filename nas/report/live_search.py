"""live.html and curves.csv of a search."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nas.history import History, State, Trial
from nas.html.page import Cell, figure, pair, section, table
from nas.html.plot import Axis, Plot
from nas.metrics.metric import Metric
from nas.metrics.names import Names
from nas.report.curves import SearchCurves
from nas.report.live import LivePage
from nas.report.search_plots import best_so_far, front_figure, front_table
from nas.space import SearchSpace

SHOWN = 12  # trials whose curves are drawn
EMPTY = np.empty(0)


class LiveSearch:
    """The page of a running search, and its curves.

    Args:
        folder: Output folder of the search.
        title: Title of the page.
        space: Space of the search.
        metrics: Metrics that the task declares.
        trials: Number of ended trials at the end.
        checkpoints: Folder of its checkpoints.
    """

    def __init__(
        self, folder: Path, title: str, space: SearchSpace, metrics: Sequence[Metric], trials: int, checkpoints: Path
    ) -> None:
        self.page = LivePage(folder, title, "Architecture search")
        self.folder, self.space, self.names, self.trials = folder, space, Names(tuple(metrics)), trials
        self.curves = SearchCurves(checkpoints)
        self._history: History | None = None
        self._epoch = (0, 0)

    def update(self, history: History, left: str) -> None:
        """Show the present state, if a new version of the page is due.

        Args:
            history: The study's trials.
            left: Time left.
        """
        self._history, self._epoch = history, (0, 0)
        self._write_if_due(left)

    def update_epoch(self, epoch: int, epochs: int, left: str) -> None:
        """Show an epoch of the running trial, if a new version of the page is due.

        Args:
            epoch: Number of finished epochs of the trial.
            epochs: Number of its epochs.
            left: Time left.
        """
        self._epoch = (epoch, epochs)
        self._write_if_due(left)

    def finish(self, history: History, reason: str, command: str) -> None:
        """Write the last version and the complete curves.

        Args:
            history: The study's trials.
            reason: Why the search ended, as a sentence.
            command: The command to run next.
        """
        self._end(reason, history, 1.0, command)

    def stop(self) -> None:
        """Write the last version of a search that is stopped before its end, with the trials known so far."""
        if self._history is not None:
            ended = sum(record.state is not State.RUNNING for record in self._history.searched)
            words = f"The search was stopped after {ended} of {self.trials} trials; the same command continues it."
            self._end(words, self._history, min(ended / self.trials, 1.0), "")

    def _end(self, words: str, history: History, share: float, command: str) -> None:
        self.curves.write(self.folder, history)
        answer = f"{words} {self._best(history)}".strip()
        self.page.write(answer, share, self._body(history), command=command, ended=True)

    def _write_if_due(self, left: str) -> None:
        history = self._history
        if history is None or not self.page.is_due():
            return
        started = time.monotonic()
        ended = sum(record.state is not State.RUNNING for record in history.searched)
        epoch, epochs = self._epoch
        share = min((ended + (epoch / epochs if epochs else 0)) / self.trials, 1.0)
        running = f", epoch {epoch} of {epochs} of the running one" if epochs else ""
        again = f" Trainings of the confirmation: {len(history.confirmed)}." if len(history.confirmed) else ""
        left = _in_words(left) if not again else "the search has ended"
        answer = f"{ended} of {self.trials} trials have ended{running}, {left}.{again} {self._best(history)}"
        body = self._body(history)
        self.curves.write(self.folder, history)
        made_s = time.monotonic() - started
        self.page.write(answer.strip(), share, body)
        self.page.took(made_s + time.monotonic() - started)

    def _best(self, history: History) -> str:
        if not history.complete():
            return ""
        best, score, cost = history.best, history.score, history.cost_name
        macs = float(np.asarray(history.cost(np.array([best.arch.genes])))[0])
        return (
            f"The best validation {self.names.unit(score).name} is "
            f"{self.names.show_mean(score, history.statistic(best, score))} "
            f"(network {best.arch.id}, {self.names.show(cost, macs, symbol=True)} {self.names.unit(cost).name})."
        )

    def _body(self, history: History) -> list[str]:
        done = history.complete()
        parts = [self._running(history)]
        if done:
            best = best_so_far(self.names, history, history.searched.means())
            epochs = self._epochs(history, done)
            parts.append(pair(best, epochs) if epochs else best)
            parts.append(front_figure(self.names, self.space, history, history.means(), history.best, EMPTY, EMPTY))
            parts.append(front_table(self.names, history, history.best))
        return [part for part in parts if part]

    def _running(self, history: History) -> str:
        records = [record for record in history if record.state is State.RUNNING]
        if not records:
            return ""
        rows = [
            [
                Cell(record.arch.id, code=True),
                Cell(str(record.number), number=True),
                Cell(record.worker),
                Cell(f"{max(time.time() - record.started, 0):.0f}", number=True),
            ]
            for record in records
        ]
        head = [Cell("architecture"), Cell("trial", number=True), Cell("worker"), Cell("running for (s)", number=True)]
        return section("Running trials", "", table(head, rows))

    def _epochs(self, history: History, done: Sequence[Trial]) -> str:
        """Draw the validation score by epoch of the best and the latest trials."""
        score = history.score
        order = np.argsort(-history.scores(done), kind="stable")
        chosen = list(dict.fromkeys([*(done[at].number for at in order[: SHOWN // 2]), *(t.number for t in done[-6:])]))
        curves = {trial.number: self._curve(trial, score) for trial in done if trial.number in chosen}
        curves = {number: points_E2 for number, points_E2 in curves.items() if len(points_E2) > 1}
        if not curves:
            return ""
        every = np.concatenate(list(curves.values()))
        name = self.names.unit(score).name
        x, y = Axis.counting("epoch", every[:, 0].max()), Axis.over(f"validation {name}", every[:, 1])
        legend = [("curve", "line", "chosen"), ("curve tone5 thin", "line", "others")]
        plot = Plot(x, y, title=f"validation {name} by epoch", width=430, height=290, legend=legend)
        best = history.best.number
        for number in sorted(curves, key=lambda number: number == best):
            plot.line(curves[number][:, 0], curves[number][:, 1], "curve" if number == best else "curve tone5 thin")
        trials = f"trial{'s' * (len(curves) > 1)} {', '.join(map(str, sorted(curves)))}"
        caption = f"Validation {name} of {trials}, the best and the latest; the blue curve is that of trial {best}."
        return section("Epochs", "Of finished trials.", figure(plot.svg(), caption))

    def _curve(self, trial: Trial, score: str) -> np.ndarray:
        points = [(row["epoch"], row[score]) for row in self.curves.epochs(trial) if score in row]
        points_E2 = np.array(points, dtype=np.float64).reshape(-1, 2)
        return points_E2[np.isfinite(points_E2).all(axis=1)]


def _in_words(left: str) -> str:
    return "time left not known yet" if left == "?" else f"about {left} left"
