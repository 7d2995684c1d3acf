"""Arrays of an npz file that somebody else wrote."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nas.errors import NASError


def read_npz(path: Path, names: Sequence[str]) -> list[np.ndarray]:
    """The named arrays. Raises NASError for a file that is damaged, no npz, or without one of them."""
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            return [arrays[name] for name in names]
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise NASError(
            f"{path}, which cannot be read ({error})", f"an npz file with {', '.join(names)}", "fetch it again"
        ) from error
