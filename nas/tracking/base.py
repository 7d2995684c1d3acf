"""The contract of a tracker, and several trackers as one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from nas.errors import first_line

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrackedRun:
    """A search or a training, as trackers know it.

    Args:
        name: Name of the study or the training.
        folder: Its output folder.
        settings: Its configuration, nested.
        worker: Number of the worker of a search.
    """

    name: str
    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    worker: int = 0

    def flat_settings(self) -> dict[str, str]:
        """Return the settings as texts.

        Returns:
            Dotted key -> value; settings without a value are left out.
        """
        return dict(_flat(self.settings, ""))


def _flat(values: Mapping[str, Any], prefix: str) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            pairs += _flat(value, f"{prefix}{key}.")
        elif value is not None and value != []:
            pairs.append((f"{prefix}{key}", str(value)))
    return pairs


def html_table(rows: Sequence[Sequence[str]]) -> str:
    """Format a table for `Tracker.text`.

    Args:
        rows: Texts of the cells, not escaped.

    Returns:
        HTML.
    """
    lines = ("".join(f'<td style="padding: 1px 8px">{escape(cell)}</td>' for cell in row) for row in rows)
    return f'<table style="font-size: 12px">{"".join(f"<tr>{line}</tr>" for line in lines)}</table>'


@dataclass(frozen=True)
class Front:
    """The finished networks of a search over two of its objectives.

    Args:
        x: Name of the horizontal objective.
        y: Name of the vertical objective, the score.
        values_N2: Values (N, 2) of both.
        best_N: (N,) bool, whether a network is on the Pareto front.
        names: N names of the networks.
    """

    x: str
    y: str
    values_N2: np.ndarray
    best_N: np.ndarray
    names: tuple[str, ...]


class Tracker:
    """Base of trackers: receivers of curves, texts, fronts and pictures.

    Every method does nothing by default, so that a tracker implements those that it can show. `start` is called once
    before the others. A run that is resumed sends its points again; a tracker shows each point once. An error ends the
    tracker, not the run (see `Trackers`).
    """

    def start(self, run: TrackedRun) -> None:
        """Begin the record of a run, or continue that of a resumed one.

        Args:
            run: The run.
        """

    def scalar(self, plot: str, series: str, step: float, value: float) -> None:
        """Add a point to a curve, unless the curve has one at this step.

        Args:
            plot: Name of the plot.
            series: Name of the curve in it.
            step: Horizontal coordinate.
            value: Vertical coordinate. NaN and infinity leave a gap.
        """

    def text(self, name: str, html: str) -> None:
        """Show a text, replacing the earlier one of this name.

        Args:
            name: Name of the text.
            html: HTML, escaped by the caller.
        """

    def front(self, front: Front) -> None:
        """Show the finished networks and the Pareto front, replacing the earlier picture.

        Args:
            front: The networks.
        """

    def picture(self, name: str, picture_HW3: np.ndarray, caption: str = "") -> None:
        """Show a picture, replacing the earlier one of this name.

        Args:
            name: Name of the picture.
            picture_HW3: (H, W, 3) uint8, the first row at the top.
            caption: Text below it.
        """

    def close(self) -> None:
        """End the connection; the record remains."""


class NoTracking(Tracker):
    """Tracker that ignores everything."""


class Trackers(Tracker):
    """Several trackers as one. A tracker that fails is left out from then on, with one warning.

    Args:
        trackers: The trackers by the names of their settings.
    """

    def __init__(self, trackers: Mapping[str, Tracker]) -> None:
        self.trackers = dict(trackers)

    def start(self, run: TrackedRun) -> None:
        """Begin the record of a run, see `Tracker.start`."""
        self._each(lambda tracker: tracker.start(run))

    def scalar(self, plot: str, series: str, step: float, value: float) -> None:
        """Add a point to a curve, see `Tracker.scalar`."""
        self._each(lambda tracker: tracker.scalar(plot, series, step, value))

    def text(self, name: str, html: str) -> None:
        """Show a text, see `Tracker.text`."""
        self._each(lambda tracker: tracker.text(name, html))

    def front(self, front: Front) -> None:
        """Show the Pareto front, see `Tracker.front`."""
        self._each(lambda tracker: tracker.front(front))

    def picture(self, name: str, picture_HW3: np.ndarray, caption: str = "") -> None:
        """Show a picture, see `Tracker.picture`."""
        self._each(lambda tracker: tracker.picture(name, picture_HW3, caption))

    def close(self) -> None:
        """End all connections."""
        self._each(lambda tracker: tracker.close())
        self.trackers.clear()

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self.trackers.items()):
            try:
                call(tracker)
            except Exception as error:  # whatever a client raises: a run is worth more than its picture
                reason = f"{type(error).__name__}: {first_line(error)}"
                log.warning("tracking=%s failed (%s); the run continues without it", name, reason)
                del self.trackers[name]


NO_TRACKING = NoTracking()
