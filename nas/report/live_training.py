"""live.html and curves.csv of a training."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nas.html.page import Cell, figure, pair, section, table
from nas.html.plot import Axis, Plot
from nas.metrics.metric import Metric
from nas.metrics.names import Names
from nas.report.curves import write_training_curves
from nas.report.live import LivePage
from nas.utils.duration import in_words

TONES = ("curve", "curve tone1", "curve tone2", "curve tone3", "curve tone4", "curve tone5")


class LiveTraining:
    """The page of a running training, and its curves.

    Args:
        folder: Output folder of the training.
        title: Title of the page.
        metrics: Metrics that the task declares, the score first.
        folds: Names of the folds on which every network is trained.
        networks: Number of networks that will be trained.
    """

    def __init__(
        self, folder: Path, title: str, metrics: Sequence[Metric], folds: Sequence[str], networks: int
    ) -> None:
        self.page = LivePage(folder, title, "Retraining and test")
        self.folder, self.score, self.names = folder, metrics[0], Names(tuple(metrics))
        self.folds, self.networks = tuple(folds), networks
        self._ids: dict[str, str] = {}
        self._epochs: dict[tuple[str, str], list[dict[str, float]]] = {}
        self._planned = 0
        self._done = 0  # epochs of this run
        self._start = time.monotonic()

    def begin(self, name: str, arch_id: str) -> None:
        """Announce the trainings of a network.

        Args:
            name: Name in tables.
            arch_id: Id of its architecture.
        """
        self._ids[name] = arch_id

    def update(self, name: str, fold: str, epoch: int, epochs: int, metrics: Mapping[str, float]) -> None:
        """Show an epoch, if a new version of the page is due.

        Args:
            name: Name of the network in tables.
            fold: Name of the fold.
            epoch: Number of finished epochs of this training.
            epochs: Number of its epochs.
            metrics: Validation metrics; empty for an epoch without validation.
        """
        self._epochs.setdefault((name, fold), []).append({"epoch": float(epoch), **metrics})
        self._planned, self._done = epochs, self._done + 1
        if not self.page.is_due():
            return
        started = time.monotonic()
        left = self._left(epoch)
        total = self.networks * len(self.folds)
        number = len(self._epochs)
        share = min((number - 1 + epoch / epochs) / total, 1.0)
        answer = (
            f"Training {number} of {total} ({name}, {fold}): epoch {epoch} of {epochs}, about {in_words(left)} left."
        )
        body = self._body()
        self._write_curves()
        made_s = time.monotonic() - started
        self.page.write(answer, share, body)
        self.page.took(made_s + time.monotonic() - started)

    def finish(self, answer: str, command: str) -> None:
        """Write the last version and the complete curves.

        Args:
            answer: The result in one or two sentences, or why the training ended without one.
            command: The command to run next.
        """
        self._write_curves()
        self.page.write(answer, 1.0, self._body(), command=command, ended=True)

    def _left(self, epoch: int) -> float:
        """Seconds left, if every epoch takes as long as those of this run."""
        per_epoch = (time.monotonic() - self._start) / self._done
        trainings = self.networks * len(self.folds) - len(self._epochs)
        return per_epoch * (self._planned - epoch + trainings * self._planned)

    def _write_curves(self) -> None:
        write_training_curves(self.folder, self._ids, self.folds, self._epochs)

    def _body(self) -> list[str]:
        plots = [self._plot(name) for name in self._ids]
        plots = [plot for plot in plots if plot]
        return [part for part in (self._table(), pair(*plots) if plots else "") if part]

    def _table(self) -> str:
        if not self._epochs:
            return ""
        score = self.score
        rows = []
        for (name, fold), epochs in self._epochs.items():
            values = [row[score.name] for row in epochs if score.name in row]
            best = max(values, key=lambda value: score.sign * value) if values else None
            done = Cell(f"{epochs[-1]['epoch']:.0f}", number=True)
            rows.append([Cell(name), Cell(fold), done, Cell(self.names.show(score.name, best), number=True)])
        head = [Cell("network"), Cell("fold"), Cell("epochs", number=True)]
        head.append(Cell(f"best validation {score.heading}", number=True))
        return section("Trainings of this run", "Finished ones of an earlier run are not listed.", table(head, rows))

    def _plot(self, name: str) -> str:
        score, curves = self.score.name, {}
        for (network, fold), epochs in self._epochs.items():
            points = [(row["epoch"], row[score]) for row in epochs if np.isfinite(row.get(score, np.nan))]
            if network == name and len(points) > 1:
                curves[fold] = np.array(points)
        if not curves:
            return ""
        every = np.concatenate(list(curves.values()))
        x, y = Axis.counting("epoch", every[:, 0].max()), Axis.over(f"validation {self.score.heading}", every[:, 1])
        tones = {fold: TONES[number % len(TONES)] for number, fold in enumerate(curves)}
        legend = [(tone, "line", fold) for fold, tone in tones.items()]
        plot = Plot(x, y, title=f"validation {self.score.label} of {name}", width=430, height=270, legend=legend)
        for fold, points_E2 in curves.items():
            plot.line(points_E2[:, 0], points_E2[:, 1], tones[fold])
        last = "; ".join(f"{fold} {self.names.show(score, points_E2[-1, 1])}" for fold, points_E2 in curves.items())
        return section(name, "", figure(plot.svg(), f"Validation {self.score.label} after the last epoch: {last}."))
