"""Bundles run by torch through the interface of exported networks (`nas.inference.runtime`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.utils._pytree import tree_leaves

from nas.bundle import Bundle, bundles_of
from nas.export.sides import free_sides
from nas.inference.runtime import InferenceNetwork, Runner


def bundle_networks(
    folder: str | Path, threads: int | None = None, *, trusted: Sequence[str] = ()
) -> list[InferenceNetwork]:
    """Read the networks of a training for prediction on files.

    Args:
        folder: Folder of run_train.py, whose folds make an ensemble, or of one bundle.
        threads: Threads of torch. If None, its own number.
        trusted: Further packages whose search spaces and tasks may be imported.

    Returns:
        One network per bundle, best validation score first.

    Raises:
        NASError: If there is no bundle, or one is damaged.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    return [_network(bundle, Path(folder)) for bundle in bundles_of(folder, trusted=trusted)]


def _network(bundle: Bundle, folder: Path) -> InferenceNetwork:
    model = bundle.network()
    sides = free_sides(model, [int(length) for length in bundle.card.inputs[0].shape[1:]])

    def run(x_BCDHW: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            return [leaf.numpy() for leaf in tree_leaves(model(torch.from_numpy(x_BCDHW)))]

    runner: Runner = run
    return InferenceNetwork(replace(bundle.card, sides=sides), runner, folder)
