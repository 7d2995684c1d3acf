"""Predictions of detectors on files, and of tasks of other kinds, as rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from nas.data.io.axial import axial_slices
from nas.data.io.files import is_npy
from nas.data.transforms.ct_slices import fitted, windowed
from nas.data.transforms.preparation import prepared
from nas.export.torch_network import BundleNetwork
from nas.inference.cases import Case

AXES = "zyx"
_Input = tuple[dict[str, int], np.ndarray, float, tuple[int, ...], tuple[bool, ...]]


def rows_of_case(networks: Sequence[BundleNetwork], case: Case) -> list[dict[str, Any]]:
    """Predict one case by all networks and pool their predictions as the task does.

    Args:
        networks: Networks of one training.
        case: The files.

    Returns:
        Of a detector one row per box: the slice (of networks of slices), its edges in voxels of the file (voxel i
        reaches from i to i + 1), class and probability. Of other tasks one row with the values.

    Raises:
        NASError: If the file cannot be read, or is no input of these networks.
    """
    task, classes, rows = networks[0].task, networks[0].spec.classes, []
    for number, x_CDHW, factor, sides, mirrored in _inputs(networks[0], case):
        predictions = [(np.zeros(1, dtype=int), network.predict(x_CDHW[None])) for network in networks]
        _, pooled = task.pool(predictions)
        if task.spec.kind == "detection":
            rows += [{**number, **row} for row in _boxes(pooled[0], factor, sides, mirrored, classes)]
        else:
            values = np.atleast_1d(pooled[0]).ravel().tolist()
            names = ["prediction"] if len(values) == 1 else [f"prediction_{n}" for n in range(len(values))]
            rows.append({**number, **{name: round(value, 6) for name, value in zip(names, values, strict=True)}})
    return rows


def _inputs(network: BundleNetwork, case: Case) -> Iterator[_Input]:
    """Yield number, input, factor of its sides, sides and mirrored axes, of every slice or of the whole."""
    how = network.spec.preparation
    path, dims = case.paths[0], network.task.spec.dims
    if "windows" in how and not is_npy(path):
        slices = axial_slices(path, bool(how.get("values_in_hu", False)))
        for number, hu_HW in enumerate(slices.values_DHW):
            image_CHW, factor = fitted(windowed(hu_HW, how["windows"]), int(how["size"]))
            x_CHW = image_CHW.astype(np.float32) * np.float32(how.get("scale", 1)) + np.float32(how.get("offset", 0))
            yield {"slice": number}, x_CHW, factor, hu_HW.shape, slices.mirrored
        return
    ready = prepared(case.paths, how, case.point_mm, dims)
    yield {}, ready.x_CDHW, 1.0, ready.x_CDHW.shape[1:], (False,) * dims


def _boxes(
    found_NX: np.ndarray, factor: float, sides: Sequence[int], mirrored: Sequence[bool], classes: Sequence[str]
) -> Iterator[dict[str, Any]]:
    dims = len(sides)
    axes = AXES[-dims:]
    for box in found_NX[found_NX[:, -1] >= 0]:
        low, high = (np.clip(ends / factor, 0, sides) for ends in (box[:dims], box[dims : 2 * dims]))
        low, high = np.where(mirrored, np.subtract(sides, high), low), np.where(mirrored, np.subtract(sides, low), high)
        if (low < high).all():  # a box in the border that was added is none
            edges = {
                f"{axis}{end}": round(float(value), 2)
                for end, ends in enumerate((low, high))
                for axis, value in zip(axes[::-1], ends[::-1], strict=True)
            }
            yield {**edges, "class": classes[int(box[-1])], "probability": round(float(box[-2]), 6)}
