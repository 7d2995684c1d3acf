"""table.json: the computed rows of a table, each with the identity of what it was computed from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from nas.errors import NASError
from nas.utils.files import read_json, write_text
from nas.utils.process import usable_cores

FILE = "table.json"


@dataclass(frozen=True)
class Computed:
    """A computed row.

    Attributes:
        identity: Hash of its commands, seeds and words.
        cells: Column or metric -> {"value": number or text, "ci95": [low, high], "per_seed": [...]}, unscaled.
        seeds: The seeds.
        cases: Test cases of a seed; 0 for a row without a test.
        groups: Groups of test cases, usually patients.
        seconds: Wall-clock time.
        date: UTC date of the end.
        machine: Processor, cores, GPU and version of torch.
        against: Row from which the difference is taken.
        difference: {"value": ..., "ci95": [low, high]} in the metric of the table's score.
        note: Remark of the computation.
    """

    identity: str
    cells: Mapping[str, Mapping[str, Any]]
    seeds: tuple[int, ...] = ()
    cases: int = 0
    groups: int = 0
    seconds: float = 0.0
    date: str = ""
    machine: str = ""
    against: str = ""
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
        self._rows: dict[str, Computed] = {}
        if self.path.is_file():
            try:
                content = read_json(self.path)
                self._rows = {key: _computed(row) for key, row in content["rows"].items()}
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise NASError(
                    f"{self.path} ({error})", "a table.json of voxnas tables", "delete it: its rows are computed again"
                ) from error

    def get(self, key: str, identity: str) -> Computed | None:
        """Return a computed row.

        Args:
            key: Its key, with the size.
            identity: Identity of the row as it is planned.

        Returns:
            The row; None if it is not there, or was computed from something else.
        """
        found = self._rows.get(key)
        return found if found is not None and found.identity == identity else None

    def put(self, key: str, row: Computed) -> None:
        """Keep a row, and write the file.

        Args:
            key: Its key, with the size.
            row: The row.
        """
        self._rows[key] = row
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
