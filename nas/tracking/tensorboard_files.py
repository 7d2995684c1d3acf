"""Tracker that writes event files for TensorBoard."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from nas.errors import NASError
from nas.tracking.base import Front, TrackedRun, Tracker, html_table
from nas.tracking.front_picture import front_picture
from nas.utils.annotations import PathName
from nas.utils.checked import checked


@checked("tracking")
class TensorBoardFiles(Tracker):
    """Tracker that writes event files, which `tensorboard --logdir outputs` shows.

    Each worker of a search writes a folder of its own, as TensorBoard follows one writer per folder. Steps that are no
    integers are rounded.

    Args:
        folder: Folder of the files. If None, `tensorboard` in the output folder.

    Raises:
        NASError: If TensorBoard is not installed.
    """

    def __init__(self, folder: PathName | None = None) -> None:
        self.folder = folder
        self._writer: Any = None
        self._written: set[tuple[str, int]] = set()  # tag and step
        try:
            import tensorboard  # noqa: F401
        except ImportError as error:
            raise NASError(
                f"tracking=tensorboard ({error})", "TensorBoard", "pip install 'voxnas[tensorboard]'"
            ) from error

    def start(self, run: TrackedRun) -> None:
        """Open the event files and write the settings, see `Tracker.start`."""
        from torch.utils.tensorboard import SummaryWriter  # takes seconds to import

        folder = Path(self.folder) / run.name if self.folder else run.folder / "tensorboard"
        folder = folder / f"worker-{run.worker}" if run.worker else folder
        self._written = _written(folder)
        self._writer = SummaryWriter(str(folder))
        settings = run.flat_settings()
        if settings and self._is_new("settings/text_summary", 0):
            self._writer.add_text("settings", html_table(list(settings.items())), 0)

    def scalar(self, plot: str, series: str, step: float, value: float) -> None:
        """Add a point to a curve, see `Tracker.scalar`."""
        tag, number = f"{plot}/{series}", round(step)
        if math.isfinite(value) and self._is_new(tag, number):
            self._writer.add_scalar(tag, value, number)

    def text(self, name: str, html: str) -> None:
        """Write a text, see `Tracker.text`."""
        if self._writer is not None:
            self._writer.add_text(name, html)

    def front(self, front: Front) -> None:
        """Write a picture of the Pareto front; its step is the number of networks. See `Tracker.front`."""
        if self._is_new("Pareto front", len(front.names)):
            self._writer.add_image("Pareto front", front_picture(front), len(front.names), dataformats="HWC")

    def picture(self, name: str, picture_HW3: np.ndarray, caption: str = "") -> None:
        """Write a picture, see `Tracker.picture`."""
        tag = f"{name}: {caption}" if caption else name
        if self._is_new(tag, 0):
            self._writer.add_image(tag, picture_HW3, 0, dataformats="HWC")

    def close(self) -> None:
        """Close the event files."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _is_new(self, tag: str, step: int) -> bool:
        """Return whether there is a writer, and it has not written this yet; then it counts as written."""
        if self._writer is None or (tag, step) in self._written:
            return False
        self._written.add((tag, step))
        return True


def _written(folder: Path) -> set[tuple[str, int]]:
    """Return tags and steps of the event files of an earlier run; a damaged end of a file is left out."""
    files = sorted(folder.glob("*tfevents*"))
    if not files:
        return set()
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    return {
        (value.tag, event.step)
        for file in files
        for event in EventFileLoader(str(file)).Load()
        for value in event.summary.value
    }
