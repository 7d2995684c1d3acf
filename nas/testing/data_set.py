"""The check of a data set and its split."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable, Sequence

import numpy as np

from nas.data.loading import VolumeSet
from nas.data.sample import Sample, checked_boxes, checked_mask, content_digest
from nas.data.source import Source
from nas.data.splits import Split
from nas.data.store import VolumeStore
from nas.errors import NASError
from nas.testing.findings import CheckFailed, joined, no_error, require

TYPES = ("uint8", "int16", "float32")
FIXED = "the same samples in the same order"


def check_data(source: Source, split: Callable[[VolumeStore], Split] = Split) -> VolumeStore:
    """Check the properties of a data set that searches, trainings and reports need.

    Arguments are kept; samples are the same each time; volumes have one shape (C, D, H, W) and type, with D = 1 for
    slices; labels, masks or boxes have classes of the data set, and every class occurs; names are unique and every
    sample has a patient. The store is prepared in a temporary folder. The split has no patient in two parts, does not
    leave samples out, and is the same each time.

    Args:
        source: Data set to check; its samples are read twice.
        split: Makes the split of the store: `nas.data.Split` or `functools.partial` of it, or a split of your own.

    Returns:
        The store; its file is deleted.

    Raises:
        CheckFailed: For the first property that does not hold.
    """
    _check_declarations(source)
    first = _check_samples(source)
    second = _summaries(source)
    for number, (one, two) in enumerate(zip(first, second, strict=False)):
        differ = [key for key in one if one[key] != two[key]]
        found = f"sample {number} ({one['name']}) with another {joined(differ)} the second time"
        require(not differ, found, FIXED, "sort files, and draw from a generator with a fixed seed")
    found = f"{len(first)} samples, and {len(second)} the second time"
    require(len(first) == len(second), found, FIXED, "open files in samples(), not in __init__")
    with tempfile.TemporaryDirectory() as folder:
        own = copy.copy(source)
        own.__dict__.pop("digests", None)
        own.cache_dir = folder
        with no_error("prepare()", "a prepared store", "see the error"):
            store = own.prepare()
        _check_batches(store)
        _check_split(store, split)
    return store


def _check_declarations(source: Source) -> None:
    name, classes = getattr(source, "name", None), getattr(source, "classes", None)
    plain = isinstance(name, str) and name and "/" not in name and name == name.strip()
    require(plain, f"name={name!r}", "a short name, the first part of the store's file name", 'name = "my_data"')
    listed = isinstance(classes, Sequence) and not isinstance(classes, str) and len(classes) > 0
    require(listed, f"classes={classes!r}", "names of classes in the order of their numbers", 'classes = ("a", "b")')
    keep = "keep every argument of __init__ under its name"
    require(hasattr(source, "cache_dir"), "no cache_dir", "an argument cache_dir, the folder of the store", keep)
    with no_error("arguments()", "arguments that identify the content", keep):
        json.dumps(source.arguments(), default=str)


def _check_samples(source: Source) -> list[dict[str, object]]:
    found, classes = [], len(source.classes)
    names: set[str] = set()
    first: Sample | None = None
    with no_error("samples()", "samples", "see the error"):
        for sample in source.samples():
            kind = f"a {type(sample).__name__} from samples()"
            require(isinstance(sample, Sample), kind, "a nas.data.Sample", "yield Sample(name, volume_CDHW, ...)")
            first = first or sample
            _check_volume(sample, first)
            _check_target(sample, first, classes)
            require(sample.name not in names, f"two samples named {sample.name}", "unique names", "number them")
            names.add(sample.name)
            who = f"group={sample.group!r} of {sample.name}"
            named = isinstance(sample.group, str) and sample.group.strip()
            require(
                named, who, "the patient as a text", "set group to the patient, or to the name if there is no other"
            )
            found.append(_summary(sample))
    require(found, "no samples", "at least one", "yield samples")
    given = {bool(one["fold"]) for one in found}
    require(len(given) == 1, "a fold of some samples only", "a fold of all samples or of none", "set fold of each")
    return found


def _check_volume(sample: Sample, first: Sample) -> None:
    volume = sample.volume_CDHW
    found = f"a volume of shape {np.shape(volume)} of {sample.name}"
    axes = "four axes (C, D, H, W); of a slice D = 1"
    require(
        isinstance(volume, np.ndarray) and volume.ndim == 4, found, axes, "volume[None], of a slice image[None, None]"
    )
    kind = f"a volume of type {volume.dtype} of {sample.name}"
    require(volume.dtype.name in TYPES, kind, f"one of {', '.join(TYPES)}", "volume.astype(np.float32)")
    same = volume.shape == first.volume_CDHW.shape and volume.dtype == first.volume_CDHW.dtype
    other = f"{first.volume_CDHW.shape} and {first.volume_CDHW.dtype} as {first.name}"
    require(same, f"{found} and type {volume.dtype}", other, "crop or pad all volumes to one shape")
    require(np.isfinite(volume).all(), f"NaN or infinity in {sample.name}", "finite voxels", "replace them")
    spacing = [size for size in sample.spacing_mm if not np.isnan(size)]
    wrong = f"spacing_mm={tuple(sample.spacing_mm)} of {sample.name}"
    require(
        len(sample.spacing_mm) == 3 and all(size > 0 for size in spacing), wrong, "(D, H, W) in mm or NaN", "see Sample"
    )


def _check_target(sample: Sample, first: Sample, classes: int) -> None:
    kinds = [_kind(one) for one in (sample, first)]
    found = f"{sample.name} for {kinds[0]} and {first.name} for {kinds[1]}"
    require(kinds[0] == kinds[1], found, "one kind of target", "give all samples a mask, boxes, a value, or none")
    label = f"label={sample.label!r} of {sample.name}"
    whole = isinstance(sample.label, int | np.integer) and 0 <= sample.label < classes
    require(whole, label, f"0 to {classes - 1}, a class of classes", "number the classes from 0, or name more of them")
    if sample.value is not None:
        require(np.isfinite(sample.value), f"value={sample.value} of {sample.name}", "a finite number", "leave it out")
    try:
        if sample.mask_DHW is not None:
            checked_mask(sample, classes)
        if sample.boxes_M7 is not None:
            checked_boxes(sample, classes)
    except NASError as error:
        raise CheckFailed(error.got, error.expected, error.fix) from error


def _kind(sample: Sample) -> str:
    if sample.mask_DHW is not None:
        return "segmentation"
    if sample.boxes_M7 is not None:
        return "detection"
    return "classification" if sample.value is None else "regression"


def _summary(sample: Sample) -> dict[str, object]:
    return {
        "name": sample.name,
        "volume": content_digest(sample),
        "label": int(sample.label),
        "patient": sample.group,
        "fold": sample.fold,
        "value": sample.value,
        "mask": None if sample.mask_DHW is None else np.asarray(sample.mask_DHW).tobytes(),
        "boxes": None if sample.boxes_M7 is None else np.asarray(sample.boxes_M7).tobytes(),
    }


def _summaries(source: Source) -> list[dict[str, object]]:
    with no_error("samples() the second time", FIXED, "open files in samples(), not in __init__"):
        return [_summary(sample) for sample in source.samples()]


def _check_batches(store: VolumeStore) -> None:
    part = VolumeSet(store, range(len(store)), "cpu")
    with no_error("a batch of the store", "images and targets", "see the error"):
        x, _ = next(part.normalised_like(part).batches(min(4, len(store))))
    largest = float(x.abs().max())
    found = f"network inputs of up to {largest:g}, from stored {store.dtype} times scale={store.scale:g}"
    reached = f"values of about -10 to 10; stored: {store.read([0]).min()} to {store.read([0]).max()}"
    require(largest <= 100, found, reached, "set scale and offset of the source, for example scale = 1 / 255")


def _check_split(store: VolumeStore, make: Callable[[VolumeStore], Split]) -> None:
    with no_error("the split", "folds of patients", "give more samples, or other folds"):
        split, again = make(store), make(store)
        rounds = split.holdout_rounds()
        if not (split.official or split.overfit):
            rounds = rounds + split.cross_validation_rounds()
        searched = split.search
    same = split.sha256 == again.sha256 and np.array_equal(split.fold, again.fold)
    require(same, "another split the second time", "the same split", "draw from a generator with a fixed seed")
    if split.overfit:
        return
    for part in rounds:
        rows = {"train": part.train, "valid": part.valid, "test": part.test}
        for name, own in rows.items():
            require(len(own), f"no sample in the {name} part of {part.name}", "samples in every part", "other folds")
        for one, two in (("train", "valid"), ("train", "test"), ("valid", "test")):
            shared = set(store.groups[rows[one]]) & set(store.groups[rows[two]])
            found = f"{store.unit} {joined(shared)} in the parts {one} and {two} of {part.name}"
            require(not shared, found, f"each {store.unit} in one part", "assign folds to patients, not to samples")
        missing = sorted(set(range(len(store))) - set(np.concatenate(list(rows.values())).tolist()))
        found = f"the sample {store.names[missing[0]] if missing else ''} in no part of {part.name}"
        require(not missing, found, "every sample in one part", "give every sample a fold")
    seen = set(store.groups[np.concatenate(searched)]) & set(store.groups[split.test])
    found = f"{store.unit} {joined(seen)} of the test fold in the parts of the search"
    require(not seen, found, "a test fold that a search never reads", "leave test out of split.search")
