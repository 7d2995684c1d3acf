"""The running time that counts, over all runs of a command, and what its steps have decided: one small file."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from nas.errors import NASError
from nas.utils.files import read_json, write_text

FILE, FORMAT = "progress.json", 1
EVERY_S = 2.0  # between two versions of the file; a kill loses no more


class Clock:
    """Counts the running time of a command, also over kills, and keeps the facts of its steps.

    Args:
        folder: The output folder.
        limit: Running time of everything in seconds.
        settings: Settings of the command; the folder of another request is refused.
        started: Start of this run in seconds of `time.monotonic`.

    Raises:
        NASError: If the folder holds a run with other settings, or its file is damaged.
    """

    def __init__(self, folder: Path, limit: float, settings: Mapping[str, Any], started: float | None = None) -> None:
        self.folder, self.limit, self.settings = folder, limit, dict(settings)
        self._started = time.monotonic() if started is None else started
        self._lock, self._ended = threading.Lock(), threading.Event()
        self.runs, self._before, self._steps = 1, 0.0, dict[str, dict[str, Any]]()
        found = _read(folder / FILE)
        if found is not None:
            _require_same(found["settings"], self.settings, folder)
            self.runs, self._before, self._steps = found["runs"] + 1, found["used_s"], found["steps"]

    @property
    def used(self) -> float:
        """Seconds of all runs."""
        return self._before + self.this_run

    @property
    def this_run(self) -> float:
        """Seconds of this run."""
        return time.monotonic() - self._started

    @property
    def left(self) -> float:
        """Seconds until the limit; negative behind it."""
        return self.limit - self.used

    def facts(self, step: str) -> dict[str, Any]:
        """Return what is known of a step.

        Args:
            step: Its name.

        Returns:
            The facts; empty if there are none.
        """
        return dict(self._steps.get(step, {}))

    @property
    def steps(self) -> dict[str, dict[str, Any]]:
        """All steps that have begun, in order, with their facts."""
        return {name: dict(facts) for name, facts in self._steps.items()}

    def begin(self, step: str) -> None:
        """Note that a step begins, unless an earlier run did.

        Args:
            step: Its name.
        """
        if step not in self._steps:
            self.note(step, begun_s=round(self.used, 1))

    def note(self, step: str, **facts: Any) -> None:
        """Keep facts of a step in the file.

        Args:
            step: Its name.
            **facts: JSON values.
        """
        with self._lock:
            self._steps.setdefault(step, {}).update(facts)
            self._write()

    def done(self, step: str, **facts: Any) -> None:
        """Note that a step has ended.

        Args:
            step: Its name.
            **facts: JSON values.
        """
        self.note(step, **facts, ended_s=round(self.used, 1))

    def is_done(self, step: str) -> bool:
        """Check whether a step has ended, in this run or an earlier one.

        Args:
            step: Its name.

        Returns:
            True if it has.
        """
        return "ended_s" in self._steps.get(step, {})

    def __enter__(self) -> Clock:
        """Begin to write the file often."""
        self._thread = threading.Thread(target=self._write_often, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        with self._lock:
            if kind is not None and issubclass(kind, NASError) and not any(map(self.is_done, self._steps)):
                (self.folder / FILE).unlink(missing_ok=True)  # a refused command leaves nothing
            else:
                self._write()

    def _write_often(self) -> None:
        while not self._ended.wait(EVERY_S):
            with self._lock:
                if self._steps:
                    self._write()

    def _write(self) -> None:
        content = {
            "format": FORMAT,
            "settings": self.settings,
            "limit_s": self.limit,
            "used_s": round(self.used, 1),
            "runs": self.runs,
            "steps": self._steps,
        }
        write_text(self.folder / FILE, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        content = read_json(path)
        if content["format"] != FORMAT:
            raise ValueError("of another version")
        used, runs = float(content["used_s"]), int(content["runs"])
        return {**content, "used_s": used, "runs": runs, "settings": dict(content["settings"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NASError(
            f"{path}, which is damaged ({error})", "the file as it was written", "use another --out"
        ) from error


def _require_same(found: Mapping[str, Any], wanted: Mapping[str, Any], folder: Path) -> None:
    for name in {**found, **wanted}:
        if found.get(name) != wanted.get(name):
            raise NASError(
                f"{name} {wanted.get(name)} in {folder}, which was begun with {found.get(name)}",
                "the same command, which continues",
                "use another --out for another run, or the former value",
            )
