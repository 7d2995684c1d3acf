"""Reading of files that torch.save wrote, with a check of their integrity."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from nas.utils.foreign import require_regular

UNREADABLE = (OSError, ValueError, LookupError, TypeError, RuntimeError, EOFError, pickle.UnpicklingError)


def load_verified(path: str | Path) -> Any:
    """Read tensors and plain values, on the CPU; no code is run.

    torch.load verifies nothing, so that flipped bits become weights. The file is a zip archive whose entries have
    CRC-32 checksums, which are verified here. torch stores entries uncompressed; a compressed one, which a few bytes
    could inflate to gigabytes, is refused.

    Args:
        path: The file.

    Returns:
        The content.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no such archive, or damaged.
        Exception: Any other exception of torch.load; UNREADABLE lists all of them.
    """
    require_regular(path)
    content = Path(path).read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError(f"{Path(path).name} is compressed")
            if (damaged := archive.testzip()) is not None:
                raise ValueError(f"{Path(path).name} is damaged in {damaged}")
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise ValueError(f"{Path(path).name} is damaged: {error}") from error
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
