"""Checkpoints, written atomically and bound to the identity of their training."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nas.errors import NASError, first_line
from nas.training.tensor_file import UNREADABLE, load_verified
from nas.utils.config_diff import first_difference
from nas.utils.files import write_bytes

FORMAT = 2
AVERAGE = "average"  # the part of last.pt with averaged weights, if the training has them
log = logging.getLogger(__name__)


def save_checkpoint(path: Path, identity: Mapping[str, str], state: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically.

    Args:
        path: File to write.
        identity: Everything that decides the weights, by part; see `nas.training.loop.training_identity`.
        state: Tensors and plain values.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "identity": dict(identity), **state}, buffer)
    write_bytes(path, buffer.getvalue())


def load_checkpoint(path: Path, identity: Mapping[str, str]) -> dict[str, Any] | None:
    """Read a checkpoint of a training.

    Args:
        path: File that `save_checkpoint` wrote.
        identity: Identity of the training to continue.

    Returns:
        The state on the CPU, or None if the file is missing or damaged, which is logged.

    Raises:
        NASError: If the checkpoint belongs to a training of another identity, or has another format.
    """
    try:
        state = load_verified(path)
        stored = state["identity"]
    except FileNotFoundError:
        return None
    except UNREADABLE as error:
        log.warning("%s cannot be read (%s): the training starts over", path, first_line(error))
        return None
    if state["format"] != FORMAT:
        raise NASError(
            f"format={state['format']} in the checkpoint {path}", f"format={FORMAT}", f"delete {path.parent}"
        )
    if stored != identity:
        name, stored_value, value = first_difference(stored, identity)
        raise NASError(
            f"the checkpoint {path} of a training with {name}={stored_value}",
            f"{name}={value}",
            f"train in another folder, or delete {path.parent}",
        )
    return state


def evaluated_weights(state: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return the weights that a training validates.

    Args:
        state: Content of best.pt or last.pt.

    Returns:
        The averaged weights of a last.pt with an average, else those of the network.
    """
    weights: dict[str, torch.Tensor] = state[AVERAGE]["model"] if AVERAGE in state else state["model"]
    return weights


def load_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """Read the weights of a trained network.

    Args:
        path: best.pt or last.pt of a training.

    Returns:
        The state of the network on the CPU, and the validation metrics of its epoch.

    Raises:
        NASError: If the file is missing, damaged, or not a checkpoint of a training.
    """
    try:
        state = load_verified(path)
        row = state["metrics"] if "metrics" in state else state["history"][-1]
        return evaluated_weights(state), {str(name): float(value) for name, value in row.items()}
    except UNREADABLE as error:
        raise NASError(
            f"{path}, which cannot be read as a checkpoint ({first_line(error)})",
            "best.pt or last.pt of a training",
            "set the path to a checkpoint of a training",
        ) from error
