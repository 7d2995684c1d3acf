"""table.json: the computed rows of a table, each with the identity of what it was computed from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from experiments.tables.plan import Planned
from experiments.tables.spec import Size
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
    """The computed rows of a size in a folder that may hold those of other sizes; written after each row.

    Args:
        folder: Folder of table.json.
        size: The size.

    Raises:
        NASError: If the file is damaged.
    """

    def __init__(self, folder: Path, size: Size) -> None:
        self.path, self.size = folder / FILE, size
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

    def get(self, row: Planned) -> Computed | None:
        """Return a computed row.

        A row whose data are not on this machine is returned, too, so that a table with its results is shown without
        them.

        Args:
            row: The row as it is planned.

        Returns:
            The row; None if it is not there, or was computed from something else.
        """
        found = self._rows.get(self._name(row))
        if found is None or found.identity != row.identity or row.data not in ("", found.data):
            return None
        return found

    def has(self, row: Planned) -> bool:
        """Return whether a row was computed before.

        Args:
            row: The row as it is planned.

        Returns:
            Whether `get` returns it.
        """
        return self.get(row) is not None

    def put(self, row: Planned, computed: Computed) -> None:
        """Keep a row, and write the file; rows that another process has written since stay.

        Args:
            row: The row as it is planned.
            computed: The row.

        Raises:
            NASError: If the file has been damaged.
        """
        with locked(self.path.with_name(LOCK), remove=True):
            self._rows = {**self._read(), self._name(row): computed}
            rows = {name: asdict(one) for name, one in sorted(self._rows.items())}
            write_text(self.path, json.dumps({"rows": rows}, indent=1) + "\n")

    def _name(self, row: Planned) -> str:
        return f"{self.size}:{row.key}"


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
