"""Prediction on files: class probabilities, or a label map on the grid of the image. Needs no torch."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from nas.data.transforms.preparation import Prepared, back_on_image, prepared
from nas.errors import NASError
from nas.inference.runtime import InferenceNetwork
from nas.utils.files import write_bytes, write_text
from nas.utils.optional import medical

IMAGES = (".nii.gz", ".nii", ".nrrd", ".mha")  # endings of label maps


def require_alike(networks: Sequence[InferenceNetwork]) -> None:
    """Check that networks can be an ensemble; statistics of their training parts may differ.

    Args:
        networks: At least one network.

    Raises:
        NASError: If their tasks, classes or preparations differ.
    """
    first = _asked_of(networks[0])
    for network in networks[1:]:
        if _asked_of(network) != first:
            raise NASError(
                f"{network.path} for another task, classes or preparation than {networks[0].path}",
                "networks of one training",
                "give each its own command",
            )


def predict_file(
    networks: Sequence[InferenceNetwork], path: Path, point_mm: Sequence[float] | None = None
) -> tuple[np.ndarray, Prepared]:
    """Predict one file by the mean of several networks.

    A segmentation network of slices gets every slice of a volume.

    Args:
        networks: Networks that `require_alike` accepts.
        path: The file, or DICOM folder.
        point_mm: Middle of the crop in world mm, LPS. If None, the middle of the volume.

    Returns:
        Probabilities (K,), of a segmentation (K, D, H, W), and the prepared input, on whose grid they are.

    Raises:
        NASError: If the file cannot be read, or is not an input of these networks.
    """
    dims = int(networks[0].card.task["dims"])
    found = []
    for network in networks:
        ready = prepared(path, network.card.preparation, point_mm, dims)
        x_CDHW = ready.x_CDHW
        if dims == 2 and x_CDHW.ndim == 4:
            if network.card.task["kind"] != "segmentation":
                raise NASError(f"the volume {path}", "a slice", "give one slice as .npy")
            found.append(np.moveaxis(network.probabilities(np.moveaxis(x_CDHW, 1, 0)), 0, 1))
        else:
            found.append(network.probabilities(x_CDHW[None])[0])
    return reduce(np.add, found) / len(found), ready


def classes_of(network: InferenceNetwork) -> tuple[str, ...]:
    """Return the names of the classes of a network.

    Args:
        network: An exported network.

    Returns:
        The names; "class 0", "class 1", ... if the card has none.
    """
    port = network.card.outputs[0]
    return port.channels or tuple(f"class {number}" for number in range(int(port.shape[1])))


def write_labels(path: Path, prob_KDHW: np.ndarray, ready: Prepared) -> dict[str, float]:
    """Write the most probable classes, uint8, on the grid of the input; as .npy if the input was an array.

    Args:
        path: The file.
        prob_KDHW: (K, D, H, W) probabilities.
        ready: The prepared input.

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
        sitk = medical("SimpleITK")
        label = sitk.GetArrayFromImage(image)
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder) / path.name
            sitk.WriteImage(image, str(whole), True)
            write_bytes(path, whole.read_bytes())
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


def write_probabilities(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write probabilities as csv or JSON.

    Args:
        path: The file, whose ending decides.
        rows: {"input", "class", "probabilities": {class: p}}, one per input.

    Raises:
        NASError: If the file has another ending.
    """
    require_name(path, (".json", ".csv"))
    if path.suffix == ".json":
        write_text(path, json.dumps(list(rows), indent=1) + "\n")
        return
    text = io.StringIO()
    names = list(rows[0]["probabilities"])
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["input", "class", *names])
    table.writerows([row["input"], row["class"], *(row["probabilities"][name] for name in names)] for row in rows)
    write_text(path, text.getvalue())


def _asked_of(network: InferenceNetwork) -> tuple[Any, ...]:
    card = network.card
    preparation = {name: value for name, value in card.preparation.items() if name != "intensity"}
    return card.task, preparation, card.outputs[0].channels
