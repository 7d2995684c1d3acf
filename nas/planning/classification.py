"""The plan of a classification of whole volumes or of crops around points."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nas.planning.facts import facts_of
from nas.planning.fingerprint import ANISOTROPY, Fingerprint
from nas.planning.lengths import cost_limit, lengths
from nas.planning.plan import Decision, Plan
from nas.planning.rules import (
    ENOUGH_EPOCHS,
    TRAINING_SHARE,
    Limits,
    Measure,
    Network,
    StepCost,
    epochs_for,
    flips_for,
    folds_for,
    require_folds,
    schedule_for,
    sides_text,
)
from nas.utils.duration import in_words

WIDTHS = (32, 24, 16, 8)  # of the first stage of the reference network
STAGES, NASLUNG_DEPTH = 3, 7
MULTIPLE, OF_CROPS = 4, 8  # sides of whole volumes and of crops are multiples
LEAST_SIDE, MOST_SIDE = 16, 64  # voxels of an image
AROUND, UNKNOWN_MM = 2.0, 32.0  # side of a crop in diameters of the object, and for objects of unknown size
BATCHES, ENOUGH_STEPS = (32, 16, 8), 1000
UNBALANCED = 3.0  # ratio of the classes from which on rare ones are drawn more often
LR = 0.004


def plan_classification(fingerprint: Fingerprint, limits: Limits, measure: Measure) -> Plan:
    """Plan search and training of a classification.

    Args:
        fingerprint: Facts of the data.
        limits: Time and memory.
        measure: Measures networks of the spaces `resnet3d` and `naslung`.

    Returns:
        The plan.

    Raises:
        NASError: If a class has too few patients for a split.
    """
    require_folds(fingerprint)
    spacing, size, why = grid(fingerprint)
    cases = len(fingerprint.cases)
    batch = next((one for one in BATCHES if cases * TRAINING_SHARE >= 8 * one), BATCHES[-1])
    steps = max(math.ceil(TRAINING_SHARE * cases / batch), 1)
    network, cost = _widest(fingerprint, limits, measure, size, batch, steps)
    schedule = schedule_for(limits, cost, steps)
    decisions = [
        *_of_data(fingerprint, spacing, size, why),
        *_of_network(network, cost, limits),
        Decision("task", "classification", "a csv of labels"),
        *_of_balance(fingerprint),
        Decision("training.batch_size", batch, f"at least eight steps an epoch with {cases} cases"),
        Decision("training.lr", LR, "AdamW with one cycle, small networks"),
        *_of_augmentation(fingerprint, size),
        *lengths(schedule, limits, fingerprint.path),
    ]
    return Plan("classification", facts_of(fingerprint), tuple(decisions), network.genes)


def grid(fingerprint: Fingerprint) -> tuple[tuple[float, ...], tuple[int, ...], str]:
    """Choose spacing and sides of the images.

    Args:
        fingerprint: Facts of the data.

    Returns:
        Spacing (D, H, W) in mm, sides in voxels, and the reason of the sides.
    """
    spacing_3 = np.median(fingerprint.spacings_N3, axis=0)
    if fingerprint.points:
        spacing_3 = np.full(3, spacing_3.min())
        known = [case.object_mm3 for case in fingerprint.cases if math.isfinite(case.object_mm3)]
        diameter = (
            float(np.percentile([2 * (3 * mm3 / (4 * math.pi)) ** (1 / 3) for mm3 in known], 95)) if known else 0.0
        )
        field_3 = np.full(3, AROUND * diameter if known else UNKNOWN_MM)
        why = (
            f"{AROUND:g} diameters of the larger objects ({diameter:.3g} mm)"
            if known
            else f"{UNKNOWN_MM:g} mm around the point"
        )
    else:
        field_3 = np.percentile(fingerprint.shapes_N3 * fingerprint.spacings_N3, 95, axis=0)
        why = f"nearly all volumes whole, {sides_text([round(mm, 1) for mm in field_3])} mm"
    spacing_3 = np.maximum(spacing_3, field_3 / MOST_SIDE)
    step = OF_CROPS if fingerprint.points else MULTIPLE
    sides = np.ceil(field_3 / spacing_3 / step - 1e-6).astype(int) * step
    sides = np.clip(sides, LEAST_SIDE, MOST_SIDE)
    return tuple(float(f"{mm:.4g}") for mm in spacing_3), tuple(map(int, sides)), why


def _resnet(width: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ranges of residual networks around a reference network, and its genes."""
    widths = sorted({max(width // 2, 4), width, width * 2})
    settings = {"widths": widths, "depths": [[1, 2]] * STAGES, "stems": [3], "strides": [2, 1], "kernels": [3]}
    genes = {"width": width, **{f"depth{stage}": 1 for stage in range(1, STAGES + 1)}}
    return settings, {**genes, "stem": 3, "stride": 2, "kernel": 3, "se": False, "block": "basic"}


def _naslung(width: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ranges of NAS-Lung networks around a reference network of two blocks a stage, and its genes."""
    settings = {"widths": sorted({max(width // 2, 4), width, width * 2, width * 4}), "max_depth": NASLUNG_DEPTH}
    slots, genes = NASLUNG_DEPTH - STAGES + 1, dict[str, Any]()
    for stage, widths in enumerate(((width, width), (width, 2 * width), (2 * width, 2 * width)), start=1):
        values = [*[0] * (slots - len(widths)), *widths]
        genes |= {f"stage{stage}.{slot}": value for slot, value in enumerate(values, start=1)}
    return settings, genes


def _widest(
    fingerprint: Fingerprint, limits: Limits, measure: Measure, size: Sequence[int], batch: int, steps: int
) -> tuple[Network, StepCost]:
    """Return the widest reference network with enough epochs in one training."""
    nodules = fingerprint.points and fingerprint.is_ct
    for width in WIDTHS:
        settings, genes = (_naslung if nodules else _resnet)(width)
        sizes = len(fingerprint.channels), len(fingerprint.classes)
        space = "naslung" if nodules else "resnet3d"
        network = Network(space, settings, genes, tuple(size), batch, *sizes, kind="classification")
        cost = measure(network)
        enough = cost.bytes <= limits.memory and cost.params <= limits.params and math.isfinite(cost.seconds)
        if enough and epochs_for(limits.training_seconds, cost.seconds, steps) >= ENOUGH_EPOCHS:
            break
    return network, cost


def _of_data(fingerprint: Fingerprint, spacing: Sequence[float], size: Sequence[int], why: str) -> Iterator[Decision]:
    yield Decision("data", fingerprint.source, "a csv of volumes")
    yield Decision("data.path", fingerprint.path, "the csv that was read")
    yield Decision(
        "data.spacing_mm",
        list(spacing),
        f"median of {len(fingerprint.cases)} cases, coarser if the field of view needs more than {MOST_SIDE} voxels",
    )
    yield Decision("data.size", list(size), f"{why}, multiples of {OF_CROPS if fingerprint.points else MULTIPLE}")
    yield Decision(
        "data.centre",
        "point" if fingerprint.points else "image",
        "x, y, z of the csv" if fingerprint.points else "no points in the csv",
    )
    if fingerprint.is_ct:
        yield Decision("data.window", *_window_of(fingerprint.intensity()[0]))
    elif fingerprint.scale is not None:
        yield Decision("data.window", list(fingerprint.scale), "nearly all volumes lie between these values")
    else:
        yield Decision("data.window", None, "each volume between its own percentiles, as its values have no unit")
    if fingerprint.given_folds:
        yield Decision("split", "given", f"the csv states {fingerprint.given_folds} parts")
    else:
        yield Decision("split", "by_patient", f"no split in the csv; {fingerprint.patients} patients")
        yield Decision("split.folds", *folds_for(fingerprint))


def _of_network(network: Network, cost: StepCost, limits: Limits) -> Iterator[Decision]:
    why = "objects in CT: the space that was made for lung nodules"
    if network.space == "resnet3d":
        why = "residual networks of any width, from which a short training gets most"
    yield Decision("space", network.space, why)
    reasons = {
        "widths": f"half, once and twice the widest network with {ENOUGH_EPOCHS} epochs in "
        f"{in_words(limits.training_seconds)} on {limits.device} ({cost.seconds:.2g} s a step)",
        "max_depth": f"up to {NASLUNG_DEPTH} blocks; the reference network has six",
        "depths": "three stages of one or two blocks",
        "stems": "small images",
        "strides": "half of the images' resolution, or all of it",
        "kernels": "small images",
    }
    for name, value in network.settings.items():
        yield Decision(f"space.{name}", value, reasons[name])
    yield cost_limit(cost)


def _of_balance(fingerprint: Fingerprint) -> Iterator[Decision]:
    counts_K = fingerprint.counts_K
    shown = ", ".join(f"{name} {count}" for name, count in zip(fingerprint.classes, counts_K, strict=True))
    unbalanced = counts_K.max() >= UNBALANCED * max(counts_K.min(), 1)
    yield Decision("training.sampler", "balanced" if unbalanced else "shuffled", shown)
    if unbalanced and len(counts_K) == 2:
        yield Decision("task.threshold", "validation", f"{shown}: 0.5 is not the best threshold", "train")


def _of_augmentation(fingerprint: Fingerprint, size: Sequence[int]) -> Iterator[Decision]:
    yield Decision("training.augment.flip", *flips_for(fingerprint, {}))
    yield Decision("training.augment.shift", max(min(size) // 16, 1), "a sixteenth of the shortest side")
    flat = fingerprint.anisotropy >= ANISOTROPY
    yield Decision(
        "training.augment.rotate", 0.0 if flat else 15.0, "anisotropic voxels" if flat else "voxels are cubes"
    )
    yield Decision("training.augment.scale", 0.1, "size may matter: little")
    yield Decision("training.augment.cutout", min(size) // 8, "an eighth of the shortest side")


def _window_of(intensity: Mapping[str, float]) -> tuple[list[int] | None, str]:
    """Return the window of CT volumes in HU and its reason; wider where nearly all voxels have one value."""
    window = [math.floor(intensity["p0.5"]), math.ceil(intensity["p99.5"])]
    if window[0] < window[1]:
        return window, "CT: percentiles 0.5 and 99.5 of all volumes, in HU"
    window = [math.floor(intensity["least"]), math.ceil(intensity["most"])]
    if window[0] < window[1]:
        return window, "CT: the ends of all volumes, in HU, as nearly all voxels have one value"
    return None, "each volume between its own percentiles, as all voxels have one value"
