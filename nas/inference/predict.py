"""Files in, predictions out: probabilities of classes, or a label map on the grid of the image."""

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
from nas.inference.runtime import ExportedNetwork
from nas.utils.files import write_bytes, write_text
from nas.utils.optional import medical

IMAGES = (".nii.gz", ".nii", ".nrrd", ".mha")  # what a label map may be written as


def require_alike(networks: Sequence[ExportedNetwork]) -> None:
    """Raises NASError where the networks of an ensemble are for other tasks or images; statistics of their training
    parts may differ."""
    first = _asked_of(networks[0])
    for network in networks[1:]:
        if _asked_of(network) != first:
            raise NASError(
                f"{network.path} for another task, classes or preparation than {networks[0].path}",
                "networks of one training",
                "give each its own command",
            )


def predict_file(
    networks: Sequence[ExportedNetwork], path: Path, point_mm: Sequence[float] | None = None
) -> tuple[np.ndarray, Prepared]:
    """Mean probabilities of the networks for one file, (K,), of a segmentation (K, D, H, W) on the grid of the second
    value. point_mm: as nas.data.transforms.preparation.prepared. A network of slices is given all slices of a volume.

    Raises NASError for a file that cannot be read, or that is not what the networks are for.
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


def classes_of(network: ExportedNetwork) -> tuple[str, ...]:
    port = network.card.outputs[0]
    return port.channels or tuple(f"class {number}" for number in range(int(port.shape[1])))


def write_labels(path: Path, prob_KDHW: np.ndarray, ready: Prepared) -> dict[str, float]:
    """The most probable classes, uint8, as an image on the input's own grid, or as .npy where the input was an array.

    Returns the share of each class's voxels by number. Raises NASError for a file name of another form.
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
    if not path.name.endswith(tuple(endings)):
        raise NASError(f"--out {path}", f"a name that ends with {', '.join(endings)}", "mend --out")


def write_probabilities(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """rows: {"input", "class", "probabilities": {class: p}}, as a csv or JSON by the ending of `path`."""
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


def _asked_of(network: ExportedNetwork) -> tuple[Any, ...]:
    card = network.card
    preparation = {name: value for name, value in card.preparation.items() if name != "intensity"}
    return card.task, preparation, card.outputs[0].channels
