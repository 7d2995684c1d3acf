"""Prediction on files: class probabilities, or a label map on the grid of the image. Needs no torch."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from nas.data.io.label_files import write_label_image
from nas.data.transforms.preparation import Prepared, back_on_image, prepared
from nas.errors import NASError
from nas.inference.runtime import InferenceNetwork
from nas.utils.files import write_bytes, write_text
from nas.utils.optional import medical
from nas.utils.spreadsheet import cell

IMAGES = (".nii.gz", ".nii", ".nrrd", ".mha")  # endings of label maps
TABLES = (".json", ".csv")
NESTED = ("probabilities", "spread")  # mappings within a row of predictions


def require_alike(networks: Sequence[InferenceNetwork]) -> None:
    """Check that networks can be an ensemble; statistics of their training parts may differ.

    Args:
        networks: At least one network.

    Raises:
        NASError: If their tasks, classes, preparations or decisions differ.
    """
    first = _asked_of(networks[0])
    for network in networks[1:]:
        if _asked_of(network) != first:
            raise NASError(
                f"{network.path} for another task, classes, preparation or decision than {networks[0].path}",
                "networks of one training",
                "give each its own command",
            )


def predict_file(
    networks: Sequence[InferenceNetwork], path: Path | Sequence[Path], point_mm: Sequence[float] | None = None
) -> tuple[np.ndarray, Prepared]:
    """Predict one file by the mean of several networks.

    A segmentation network of slices gets every slice of a volume.

    Args:
        networks: Networks that `require_alike` accepts.
        path: The file, or DICOM folder; or one file for each channel.
        point_mm: Middle of the crop in world mm, LPS. If None, the middle of the volume.

    Returns:
        Probabilities (K,), of a segmentation (K, D, H, W), and the prepared input, on whose grid they are. Around a box
        of the grid, which is all that the networks see, the probability of the background is 1.

    Raises:
        NASError: If the file cannot be read, or is not an input of these networks.
    """
    found, ready = member_predictions(networks, path, point_mm)
    return ready.on_whole_grid(reduce(np.add, found) / len(found)), ready


def member_predictions(
    networks: Sequence[InferenceNetwork], path: Path | Sequence[Path], point_mm: Sequence[float] | None = None
) -> tuple[list[np.ndarray], Prepared]:
    """Predict one file by several networks.

    Args:
        networks: Networks that `require_alike` accepts.
        path: The file, or DICOM folder; or one file for each channel.
        point_mm: Middle of the crop in world mm, LPS. If None, the middle of the volume.

    Returns:
        Probabilities of each network, (K,), of a segmentation (K, D, H, W), not yet on the whole grid
        (`Prepared.on_whole_grid`), and the prepared input.

    Raises:
        NASError: If the file cannot be read, or is not an input of these networks.
    """
    dims = int(networks[0].spec.task["dims"])
    found: list[np.ndarray] = []
    ready: Prepared | None = None
    preparation: Mapping[str, Any] = {}
    for network in networks:
        if ready is None or network.spec.preparation != preparation:  # statistics of the training parts may differ
            preparation = network.spec.preparation
            ready = prepared(path, preparation, point_mm, dims)
        x_CDHW = ready.x_CDHW
        if dims == 2 and x_CDHW.ndim == 4:
            if network.spec.task.get("kind") != "segmentation":
                raise NASError(f"the volume {path}", "a slice", "give one slice as .npy")
            found.append(np.moveaxis(network.probabilities(np.moveaxis(x_CDHW, 1, 0)), 0, 1))
        else:
            found.append(network.probabilities(x_CDHW[None])[0])
    assert ready is not None
    return found, ready


def classes_of(network: InferenceNetwork) -> tuple[str, ...]:
    """Return the names of the classes of a network.

    Args:
        network: An exported network.

    Returns:
        The names; "class 0", "class 1", ... if the specification has none.
    """
    port = network.spec.outputs[0]
    return port.channels or tuple(f"class {number}" for number in range(int(port.shape[1])))


def decision_of(networks: Sequence[InferenceNetwork]) -> tuple[float | None, int]:
    """Return how networks of a classification decide together.

    Args:
        networks: Networks that `require_alike` accepts.

    Returns:
        Mean of their decision thresholds, None without one, and number of the positive class.
    """
    classes, specs = classes_of(networks[0]), [network.spec.inference for network in networks]
    thresholds = [float(spec["threshold"]) for spec in specs if "threshold" in spec]
    positive = specs[0].get("positive")
    number = classes.index(positive) if positive in classes else 1
    return (sum(thresholds) / len(thresholds) if thresholds else None), number


def answer(prob_K: np.ndarray, threshold: float | None, positive: int) -> int:
    """Return the class that is answered.

    Args:
        prob_K: Probabilities.
        threshold: Probability of the positive class from which on it is answered; None for the most probable class.
        positive: Number of the positive class, of two.

    Returns:
        Its number.
    """
    if threshold is None:
        return int(prob_K.argmax())
    return positive if prob_K[positive] >= threshold else 1 - positive


def write_labels(path: Path, prob_KDHW: np.ndarray, ready: Prepared, like: Path | None = None) -> dict[str, float]:
    """Write the most probable classes, uint8, on the grid of the input; as .npy if the input was an array.

    Args:
        path: The file.
        prob_KDHW: (K, D, H, W) probabilities.
        ready: The prepared input.
        like: File of the input. A NIfTI label map of a NIfTI image has its affine, bit for bit.

    Returns:
        Number of the class -> its share of the voxels.

    Raises:
        NASError: If the ending of the file does not fit.
    """
    if ready.image is None:
        label = prob_KDHW.argmax(axis=0).astype(np.uint8)
        content = io.BytesIO()
        np.save(content, label, allow_pickle=False)
        require_name(path, (".npy",))
        write_bytes(path, content.getvalue())
    else:
        require_name(path, IMAGES)
        image = back_on_image(prob_KDHW, ready)
        label = medical("SimpleITK").GetArrayFromImage(image)
        write_label_image(path, image, like)
    return {str(number): float((label == number).mean()) for number in range(len(prob_KDHW))}


def require_name(path: Path, endings: Sequence[str]) -> None:
    """Check the ending of a file name.

    Args:
        path: The file.
        endings: The endings that are allowed.

    Raises:
        NASError: If it has none of them.
    """
    if not path.name.endswith(tuple(endings)):
        raise NASError(f"--out {path}", f"a name that ends with {', '.join(endings)}", "check --out")


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write predictions as csv or JSON.

    Args:
        path: The file, whose ending decides.
        rows: One per input or box: values by name; `probabilities` and `spread` may be mappings of their own.

    Raises:
        NASError: If the file has another ending.
    """
    require_name(path, TABLES)
    if path.suffix == ".json":
        write_text(path, json.dumps(list(rows), indent=1) + "\n")
        return
    flat = [{**row, **row.get("probabilities", {}), **row.get("spread", {})} for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row if name not in NESTED)) or ["input"]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(map(cell, names))
    table.writerows([cell(str(row.get(name, ""))) for name in names] for row in flat)
    write_text(path, text.getvalue())


def _asked_of(network: InferenceNetwork) -> tuple[Any, ...]:
    spec = network.spec
    preparation = {name: value for name, value in spec.preparation.items() if name != "intensity"}
    decision = spec.inference.get("positive"), spec.inference.get("threshold") is not None  # thresholds are averaged
    return spec.task, preparation, spec.outputs[0].channels, decision
