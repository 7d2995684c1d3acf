"""The file of a prediction: an npy file that ends with its SHA-256."""

from __future__ import annotations

import hashlib
import io
import logging
from pathlib import Path

import numpy as np

from nas.utils.files import write_bytes

DIGEST = hashlib.sha256().digest_size  # bytes that a prediction file ends with
log = logging.getLogger(__name__)


def write_array(path: Path, values: np.ndarray) -> None:
    """Write an npy file with its SHA-256 at the end, which readers of npy files ignore.

    Args:
        path: The file.
        values: The prediction.
    """
    content = io.BytesIO()
    np.save(content, values, allow_pickle=False)
    write_bytes(path, content.getvalue() + hashlib.sha256(content.getvalue()).digest())


def read_array(path: Path) -> np.ndarray | None:
    """Read a file of `write_array`.

    Args:
        path: The file.

    Returns:
        The prediction; None if the file is missing or damaged.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if hashlib.sha256(content[:-DIGEST]).digest() != content[-DIGEST:]:
        log.warning("%s is damaged: it is predicted again", path)
        return None
    return np.load(io.BytesIO(content), allow_pickle=False)
