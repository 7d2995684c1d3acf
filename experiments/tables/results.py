"""table.json: the computed rows of a table, each with the identity of what it was computed from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from nas.errors import NASError
from nas.utils.files import locked, read_json, write_text
from nas.utils.process import usable_cores

FILE, LOCK = "table.json", ".table.json.lock"


@dataclass(frozen=True)
class Computed:
    """A computed row.

    Attributes:
        identity: Hash of its commands, seeds and words.
        data: Digest of the data that it read, see `experiments.tables.data`; empty without data.
        cells: Column or metric -> {"value": number or text, "ci95": [low, high], "per_seed": [...]}, unscaled.
        seeds: The seeds.
        cases: Test cases of a seed; 0 for a row without a test.
        groups: Groups of test cases, usually patients.
        seconds: Wall-clock time.
        date: UTC date of the end.
        machine: Processor, cores, GPU and version of torch.
        against: Row from which the difference is taken.
        reference: Identity and data of that row.
        score: Metric of the difference.
        difference: {"value": ..., "ci95": [low, high]} in that metric.
        note: Remark of the computation.
    """

    identity: str
    cells: Mapping[str, Mapping[str, Any]]
    data: str = ""
    seeds: tuple[int, ...] = ()
    cases: int = 0
    groups: int = 0
    seconds: float = 0.0
    date: str = ""
    machine: str = ""
    against: str = ""
    reference: str = ""
    score: str = ""
    difference: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


class Results:
    """The computed rows of a folder, of both sizes; written after each row.

    Args:
        folder: Folder of table.json.

    Raises:
        NASError: If the file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._rows = self._read()

    def _read(self) -> dict[str, Computed]:
        if not self.path.is_file():
            return {}
        try:
            return {key: _computed(row) for key, row in read_json(self.path)["rows"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise NASError(
                f"{self.path} ({error})", "a table.json of voxnas tables", "delete it: its rows are computed again"
            ) from error

    def get(self, key: str, identity: str, data: str = "") -> Computed | None:
        """Return a computed row.

        Args:
            key: Its key, with the size.
            identity: Identity of the row as it is planned.
            data: Digest of its data; empty if it has none, or if they are not on this machine, so that a table with
                its results is shown without them.

        Returns:
            The row; None if it is not there, or was computed from something else.
        """
        found = self._rows.get(key)
        if found is None or found.identity != identity or data not in ("", found.data):
            return None
        return found

    def put(self, key: str, row: Computed) -> None:
        """Keep a row, and write the file; rows that another process has written since stay.

        Args:
            key: Its key, with the size.
            row: The row.

        Raises:
            NASError: If the file has been damaged.
        """
        with locked(self.path.with_name(LOCK), remove=True):
            self._rows = {**self._read(), key: row}
            rows = {name: asdict(one) for name, one in sorted(self._rows.items())}
            write_text(self.path, json.dumps({"rows": rows}, indent=1) + "\n")


def _computed(content: Mapping[str, Any]) -> Computed:
    return Computed(**{**content, "seeds": tuple(content.get("seeds", ()))})


def today() -> str:
    """Return the date of a result.

    Returns:
        UTC, year-month-day.
    """
    return datetime.now(timezone.utc).strftime("%Y-%m-%d")


def machine() -> str:
    """Describe this machine.

    Returns:
        Processor, number of cores, GPU, and the version of torch.
    """
    import torch

    from nas.cost.latency import device_name

    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{device_name(torch.device('cpu'))}, {usable_cores()} cores{gpu}, torch {torch.__version__}"
