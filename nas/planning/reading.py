"""Reading of a data set for its fingerprint, one case at a time, without a prepared store."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nas.data.io.channels import joined, read_volumes, voxel_digest
from nas.data.io.grid import on_grid, onto_image
from nas.data.io.label_values import object_mm3, read_label_map, require_classes
from nas.data.io.segmentation_folder import DESCRIPTION, LabelledCase, read_folder
from nas.data.sources.manifest import Item, Manifest
from nas.errors import NASError
from nas.planning.cropping import reaches_of
from nas.planning.fingerprint import CaseFacts, Fingerprint
from nas.utils.optional import medical

PER_CASE = 10_000  # sampled intensities, as in nnU-Net
Progress = Callable[[int, int], None]


def silent(done: int, total: int) -> None:
    """Report nothing.

    Args:
        done: Cases that were read.
        total: Number of cases.
    """


def read_fingerprint(path: str | Path, task: str | None = None, progress: Progress = silent) -> Fingerprint:
    """Read a data set: a folder with masks (Decathlon, nnU-Net, KiTS) or a csv of labelled volumes.

    Args:
        path: The folder or csv.
        task: "segmentation" or "classification"; None for that of the form of the data.
        progress: Called after each case with the numbers of cases done and in all.

    Returns:
        The facts.

    Raises:
        NASError: If the path holds neither, the task does not fit, or a file cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise NASError(f"no folder {path}", "a folder with dataset.json, or a csv", "correct the path")
    kind = "segmentation" if path.is_dir() else "classification"
    if task is not None and task != kind:
        form = "a folder with masks" if path.is_dir() else "a csv of labelled volumes"
        raise NASError(f"task {task} for {path}, {form}", f"task {kind}", "leave out the task, or give other data")
    return _of_folder(path, progress) if path.is_dir() else _of_table(path, progress)


def _of_folder(path: Path, progress: Progress) -> Fingerprint:
    folder = read_folder(path)
    facts = []
    for number, case in enumerate(folder.cases, start=1):
        facts.append(_labelled(case, len(folder.classes), len(folder.modalities)))
        progress(number, len(folder.cases))
    return Fingerprint(
        "segmentation", "msd", str(path.resolve()), tuple(folder.modalities), folder.classes, tuple(facts)
    )


def _labelled(case: LabelledCase, classes: int, channels: int) -> CaseFacts:
    volumes = read_volumes(case.images)
    if len(volumes) != channels:
        raise NASError(
            f"{len(volumes)} channels in {case.images[0]}", f"{channels}, as {DESCRIPTION} names", "correct it"
        )
    label = onto_image(read_label_map(case.label), volumes[0][0], case.label)
    mask_DHW, spacing_mm = on_grid(label, None, labels=True)
    fix = f"correct the file or {DESCRIPTION}"
    mask_DHW = require_classes(mask_DHW, classes, case.label, "the classes of the data set", fix)
    names = ("the first channel", "another")
    images = [volumes[0][0], *(onto_image(image, volumes[0][0], path, names, False) for image, path in volumes[1:])]
    volume_CDHW = np.stack([on_grid(image, None)[0] for image in images])
    inside_DHW = mask_DHW > 0
    values_CV = volume_CDHW[:, inside_DHW if inside_DHW.any() else np.ones_like(inside_DHW)]
    return CaseFacts(
        **_shape(case.name, case.patient, volume_CDHW, spacing_mm),
        values_CV=_sampled(values_CV),
        **_objects(mask_DHW, classes),
        digest=voxel_digest(volumes),
        reaches_A=reaches_of(mask_DHW),
    )


def _of_table(path: Path, progress: Progress) -> Fingerprint:
    source = Manifest(path)
    numbers = {name: number for number, name in enumerate(source.classes)}
    items, facts = source.items, []
    for count, item in enumerate(items, start=1):
        facts.append(_of_item(item, numbers[item.label]))
        progress(count, len(items))
    channels = len(facts[0].least_C)
    if wrong := next((one for one in facts if len(one.least_C) != channels), None):
        raise NASError(
            f"{len(wrong.least_C)} channels of {wrong.name}", f"{channels}, as {facts[0].name}", "correct it"
        )
    names = source.channels or tuple(f"channel {number}" for number in range(channels))
    return Fingerprint(
        kind="classification",
        source="manifest",
        path=str(path.resolve()),
        channels=tuple(names),
        classes=tuple(source.classes),
        cases=tuple(facts),
        given_folds=len({item.split for item in items} - {""}),
        points=all(item.point_mm is not None for item in items),
    )


def _of_item(item: Item, label: int) -> CaseFacts:
    volumes = read_volumes(item.paths)
    image, sitk = joined(volumes), medical("SimpleITK")  # channels on the grid of the first, as the source has them
    count = image.GetNumberOfComponentsPerPixel()
    channels = [image] if count == 1 else [sitk.VectorIndexSelectionCast(image, number) for number in range(count)]
    volume_CDHW = np.stack([on_grid(channel, None)[0] for channel in channels])
    spacing_mm = on_grid(channels[0], None)[1]
    mm3 = item.size_mm3 if item.mask is None else object_mm3(item.mask, item.point_mm)
    return CaseFacts(
        **_shape(item.name, item.patient, volume_CDHW, spacing_mm),
        values_CV=_sampled(volume_CDHW.reshape(len(volume_CDHW), -1)),
        **_no_objects(),
        label=label,
        object_mm3=mm3,
        digest=voxel_digest(volumes) if item.point_mm is None else "",
    )


def _shape(name: str, patient: str, volume_CDHW: np.ndarray, spacing_mm: tuple[float, ...]) -> dict[str, Any]:
    _, *shape = volume_CDHW.shape
    inside_DHW = (volume_CDHW != 0).any(axis=0)
    box = (
        [int(np.ptp(np.flatnonzero(inside_DHW.any(axis=others)))) + 1 for others in ((1, 2), (0, 2), (0, 1))]
        if (inside_DHW.any())
        else shape
    )
    ends = {"least_C": volume_CDHW.min(axis=(1, 2, 3)), "most_C": volume_CDHW.max(axis=(1, 2, 3))}
    named = {"shape_DHW": tuple(shape), "spacing_mm": tuple(spacing_mm), "box_DHW": tuple(box)}
    return {"name": name, "patient": patient, **named, **ends}


def _sampled(values_CV: np.ndarray) -> np.ndarray:
    step = max(math.ceil(values_CV.shape[1] / PER_CASE), 1)  # rounded up, so that the last voxels are among them
    return values_CV[:, ::step].astype(np.float32)


def _objects(mask_DHW: np.ndarray, classes: int) -> dict[str, Any]:
    """Count and measure the objects of each class, connected by faces, edges or corners."""
    from scipy import ndimage

    sides = np.array(mask_DHW.shape, dtype=float)
    objects_K, centres_K3 = np.zeros(classes, dtype=int), np.full((classes, 3), np.nan)
    extents_K3 = np.zeros((classes, 3))
    for number, box in enumerate(ndimage.find_objects(mask_DHW, classes - 1), start=1):
        if box is None:
            continue
        own_DHW = mask_DHW[box] == number
        objects_K[number] = ndimage.label(own_DHW, np.ones((3, 3, 3)))[1]
        start = np.array([axis.start for axis in box])
        centres_K3[number] = (start + np.argwhere(own_DHW).mean(axis=0)) / sides
        extents_K3[number] = np.array(own_DHW.shape) / sides
    voxels_K = np.bincount(mask_DHW.reshape(-1), minlength=classes)
    return {"voxels_K": voxels_K, "objects_K": objects_K, "centres_K3": centres_K3, "extents_K3": extents_K3}


def _no_objects() -> dict[str, Any]:
    nothing = np.zeros(0, dtype=int)
    return {"voxels_K": nothing, "objects_K": nothing, "centres_K3": np.zeros((0, 3)), "extents_K3": np.zeros((0, 3))}
