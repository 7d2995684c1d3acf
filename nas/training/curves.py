"""curves.csv: losses, learning rates and scores of a training, one line per epoch."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from nas.utils.files import write_text
from nas.utils.foreign import MOST_CSV_BYTES, require_regular

CURVES = "curves.csv"


def write_curves(folder: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write curves.csv.

    Args:
        folder: Folder of the file.
        rows: One entry per epoch; values that an epoch lacks are left empty.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    if names:
        writer.writeheader()
    writer.writerows(rows)
    write_text(folder / CURVES, text.getvalue())


def read_curves(folder: Path) -> list[dict[str, float]]:
    """Read curves.csv.

    Args:
        folder: Folder of the file.

    Returns:
        One entry per epoch, without the values that are empty.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no csv file, or a value is no number.
    """
    require_regular(folder / CURVES, MOST_CSV_BYTES)
    rows = csv.DictReader(io.StringIO((folder / CURVES).read_text(encoding="utf-8")))
    try:
        return [{name: float(value) for name, value in row.items() if value} for row in rows]
    except csv.Error as error:
        raise ValueError(f"{CURVES}: {error}") from error
