"""Safe reading of third-party npz files."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nas.errors import NASError
from nas.utils.foreign import require_archive


def read_npz(path: Path, names: Sequence[str]) -> list[np.ndarray]:
    """Read arrays of an npz file.

    Args:
        path: The file.
        names: Names of the arrays.

    Returns:
        The arrays, in the order of the names.

    Raises:
        NASError: If the file is missing or damaged, is no npz file, or lacks one of the arrays.
    """
    try:
        require_archive(path)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return [arrays[name] for name in names]
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise NASError(
            f"{path}, which cannot be read ({error})", f"an npz file with {', '.join(names)}", "fetch it again"
        ) from error
