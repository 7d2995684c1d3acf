"""Checkpoints that are written whole or not at all, and that refuse to continue another training."""

from __future__ import annotations

import io
import logging
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nas.errors import NASError
from nas.utils.config_diff import first_difference
from nas.utils.files import write_bytes

FORMAT = 1
log = logging.getLogger(__name__)


def save_checkpoint(path: Path, identity: Mapping[str, str], state: Mapping[str, Any]) -> None:
    """identity: what the training is made of, part by part; state: tensors and plain values."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "identity": dict(identity), **state}, buffer)
    write_bytes(path, buffer.getvalue())


def load_checkpoint(path: Path, identity: Mapping[str, str]) -> dict[str, Any] | None:
    """The state, on the CPU; None where there is no file, or one that is cut short (which is logged).

    Raises NASError where the checkpoint belongs to a training of another identity.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        found = state["identity"]
    except FileNotFoundError:
        return None
    except (RuntimeError, EOFError, OSError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
        log.warning("%s cannot be read (%s): the training starts over", path, str(error).split("\n")[0][:120])
        return None
    if state["format"] != FORMAT:
        raise NASError(f"checkpoint format {state['format']} in {path}", f"format {FORMAT}", f"delete {path.parent}")
    if found != identity:
        part, its, asked = first_difference(found, identity)
        raise NASError(
            f"the checkpoint {path} of a training with {part} = {its}",
            f"{part} = {asked}",
            "train in another folder, or delete this one",
        )
    return state


def load_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """The network's state on the CPU, and the metrics of its epoch. Raises NASError for a file that is missing, cut
    short, or no checkpoint of a training."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        row = state["metrics"] if "metrics" in state else state["history"][-1]
        return state["model"], {str(name): float(value) for name, value in row.items()}
    except (RuntimeError, EOFError, OSError, LookupError, TypeError, ValueError, pickle.UnpicklingError) as error:
        raise NASError(
            f"{path}, which cannot be read as a checkpoint ({str(error).splitlines()[0][:120]})",
            "best.pt or last.pt of a training",
            "mend the path",
        ) from error
