"""The plan of a segmentation.

Patch, pooling, kernels and batch follow nnU-Net (Isensee et al., Nature Methods 18:203, 2021, arXiv 1904.08128), with
the memory and the time of the machine in the place of a constant; docs/explanation/planning.md compares both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from nas.errors import NASError
from nas.planning.cropping import middle_box_of_labels
from nas.planning.facts import facts_of
from nas.planning.fingerprint import ANISOTROPY, AXES, Fingerprint
from nas.planning.lengths import cost_limit, learning_rate, lengths, validations
from nas.planning.plan import Decision, Plan
from nas.planning.rules import (
    ENOUGH_ALONE,
    ENOUGH_EPOCHS,
    FEW_EPOCHS,
    LEAST_BATCH,
    TRAINING_SHARE,
    Limits,
    Measure,
    Network,
    Schedule,
    StepCost,
    epochs_for,
    flips_for,
    folds_for,
    patches_for,
    require_folds,
    schedule_for,
    sides_text,
)
from nas.planning.suspicious import pairs_of
from nas.planning.topology import Topology, first_patch, halved, resampled_shapes, smaller, target_spacing
from nas.utils.duration import in_words

WIDTHS = (32, 24, 16, 12, 8)  # of the reference network at full resolution, the first as in nnU-Net
MOST_CHANNELS = 320
STEP = 16  # voxels: the stored volumes have sides of multiples, see `nas.data.Msd`
SHARE_OF_DATA = 0.05  # of a batch in all voxels, as in nnU-Net
ENOUGH_STEPS = 4000  # of a training before a larger batch is worth its time
SMALL_PATCH = 48**3  # a patch is shortened for the time down to this volume
WORTH_A_CROP = 0.75  # share of the voxels of a patch that a box around the labels may have at most
SHORT_TRAINING = 1000  # steps, below which all classes have to be kept in the loss, see docs/benchmark.md
RARE = 1e-3  # share of a class in a patch around it
BOUND = 2  # of widths and of memory: largest and smallest choice against the reference


def plan_segmentation(fingerprint: Fingerprint, limits: Limits, measure: Measure) -> Plan:
    """Plan search and training of a segmentation.

    Args:
        fingerprint: Facts of the data.
        limits: Time and memory.
        measure: Measures networks of the space `unet_flexible`.

    Returns:
        The plan.

    Raises:
        NASError: If a class has too few patients for a split.
    """
    require_folds(fingerprint)
    spacing, refined = target_spacing(fingerprint.spacings_N3, fingerprint.boxes_N3)
    boxes_N3 = resampled_shapes(fingerprint.boxes_N3, fingerprint.spacings_N3, spacing)
    shapes_N3 = resampled_shapes(fingerprint.shapes_N3, fingerprint.spacings_N3, spacing)
    median = np.median(boxes_N3, axis=0)
    chosen = _Chosen(fingerprint, limits, measure, spacing, median, shapes_N3)
    decisions = [
        *_of_data(fingerprint, spacing, refined, chosen),
        *_of_network(chosen),
        *_of_training(fingerprint, limits, chosen),
    ]
    return Plan("segmentation", facts_of(fingerprint), tuple(decisions), chosen.network.genes)


class _Chosen:
    """Patch, width, batch and times, in this order; each is measured on the reference network."""

    def __init__(
        self,
        fingerprint: Fingerprint,
        limits: Limits,
        measure: Measure,
        spacing: Sequence[float],
        median: np.ndarray,
        shapes_N3: np.ndarray,
    ) -> None:
        self._sizes = len(fingerprint.channels), len(fingerprint.classes)
        self._limits, self._measure = limits, measure
        self.cases = len(fingerprint.cases)
        self.median = tuple(median.tolist())
        room = [int(-(-side // STEP) * STEP) for side in shapes_N3.max(axis=0)]
        start = halved(first_patch(spacing, self.median), spacing, room)
        self.patch_reason = f"median volume of {sides_text(self.median)} voxels at that spacing"
        self.topology = self._into_memory(start, spacing)
        self.topology = self._into_time(self.topology, spacing)
        self.crop_reason = ""
        if self._most_epochs() < ENOUGH_EPOCHS:
            self.topology = self._cropped(fingerprint, spacing)
        alone = self._most_epochs() < FEW_EPOCHS  # too short for a search
        self.seconds = limits.alone_seconds if alone else limits.training_seconds
        self.enough = ENOUGH_ALONE if alone else ENOUGH_EPOCHS
        self.patches = patches_for(self.median, self.topology.patch)
        self.width, self.width_reason = self._width()
        self.batch, self.batch_reason = self._batch(float(np.prod(shapes_N3, axis=1).sum()))
        self.network = self._network(self.topology, self.width, self.batch)
        self.cost: StepCost = measure(self.network)
        self.schedule: Schedule = schedule_for(limits, self.cost, self.steps(self.batch), alone)

    def steps(self, batch: int) -> int:
        """Return the steps of an epoch of a training."""
        return max(math.ceil(TRAINING_SHARE * self.cases * self.patches / batch), 1)

    @property
    def _least_steps(self) -> int:
        """Steps of an epoch with one patch of each case and the smallest batch."""
        return max(math.ceil(TRAINING_SHARE * self.cases / LEAST_BATCH), 1)

    def _most_epochs(self) -> int:
        """Epochs of the narrowest network beside a search."""
        narrow = self._measure(self._network(self.topology, WIDTHS[-1], LEAST_BATCH))
        return epochs_for(self._limits.training_seconds, narrow.seconds, self._least_steps)

    def _cropped(self, fingerprint: Fingerprint, spacing: Sequence[float]) -> Topology:
        """Return the topology for the box around the labels, if volumes are used whole and the box is smaller."""
        topology = self.topology
        found = middle_box_of_labels(fingerprint, spacing, topology.divisors)
        if found is None or any(
            side < math.floor(whole) for side, whole in zip(topology.patch, self.median, strict=True)
        ):
            return topology
        box, beyond = found
        if math.prod(box) > WORTH_A_CROP * math.prod(topology.patch):
            return topology
        self.crop_reason = (
            f"the time is short: the box in the middle of each volume that holds all but {100 * beyond:.2g} % of the "
            "labelled voxels; all beyond it is predicted as background"
        )
        self.patch_reason = "the box in the middle of each volume"
        return halved(box, spacing, box)

    def _network(self, topology: Topology, width: int, batch: int) -> Network:
        depth = topology.depth
        widths = [min(width * 2**level, MOST_CHANNELS) for level in range(depth + 1)]
        return Network(
            "unet_flexible",
            space_settings(topology, widths),
            genes_of(depth, widths),
            topology.patch,
            batch,
            *self._sizes,
            kind="segmentation",
        )

    def _into_memory(self, topology: Topology, spacing: Sequence[float]) -> Topology:
        """Shorten the patch until a step of the widest network with the smallest batch fits into the memory."""
        found: Topology | None = topology
        while found is not None:
            topology = found
            if self._measure(self._network(topology, WIDTHS[0], LEAST_BATCH), timed=False).bytes <= self._limits.memory:
                break
            gb = self._limits.memory / 1e9
            self.patch_reason = f"largest for which {LEAST_BATCH} patches fit into {gb:.3g} GB of {self._limits.device}"
            found = smaller(topology, self.median, spacing)
        return topology

    def _into_time(self, topology: Topology, spacing: Sequence[float]) -> Topology:
        """Shorten the patch until the narrowest network sees every case often enough."""
        seconds, steps = self._limits.training_seconds, self._least_steps
        cost: StepCost | None = None
        while math.prod(topology.patch) > SMALL_PATCH:
            narrow = self._network(topology, WIDTHS[-1], LEAST_BATCH)
            if cost is None or math.prod(topology.patch) <= 2 * SMALL_PATCH:
                cost = self._measure(narrow)
                predicted = cost.seconds
            else:
                predicted = cost.seconds * self._measure(narrow, timed=False).macs / cost.macs
            if predicted * steps * FEW_EPOCHS <= seconds:
                break
            if (found := smaller(topology, self.median, spacing)) is None:
                break
            topology = found
            self.patch_reason = (
                f"largest with which the narrowest network sees each case {FEW_EPOCHS} times in {in_words(seconds)} "
                f"on {self._limits.device}"
            )
        return topology

    def _width(self) -> tuple[int, str]:
        """Return the largest width with enough epochs: predicted from the narrowest network, then measured."""
        seconds, steps = self.seconds, self.steps(LEAST_BATCH)
        narrow = self._measure(self._network(self.topology, WIDTHS[-1], LEAST_BATCH))
        for width in WIDTHS:
            network = self._network(self.topology, width, LEAST_BATCH)
            known = self._measure(network, timed=False)
            if known.params > self._limits.params and width != WIDTHS[-1]:
                continue
            predicted = narrow.seconds * known.macs / narrow.macs
            if width == WIDTHS[-1] or epochs_for(seconds, predicted / 2, steps) >= self.enough:  # wide is efficient
                cost = self._measure(network)
                if (epochs := epochs_for(seconds, cost.seconds, steps)) >= self.enough or width == WIDTHS[-1]:
                    break
        shown = (
            f"{width} channels at full resolution: {cost.seconds:.2g} s a step, {epochs} epochs in {in_words(seconds)}"
        )
        return width, shown

    def _batch(self, voxels: float) -> tuple[int, str]:
        """Return nnU-Net's batch, if it leaves enough steps."""
        one = self._measure(self._network(self.topology, self.width, LEAST_BATCH))
        of_memory = int(LEAST_BATCH * self._limits.memory / max(one.bytes, 1))
        of_data = round(SHARE_OF_DATA * voxels / math.prod(self.topology.patch))
        of_time = int(LEAST_BATCH * self.seconds / (ENOUGH_STEPS * one.seconds))
        batch = max(LEAST_BATCH, min(of_memory, of_data, of_time))
        while not math.isfinite(self._measure(self._network(self.topology, self.width, batch)).seconds):
            if batch == LEAST_BATCH:
                patch, memory = sides_text(self.topology.patch), self._limits.memory / 1e9
                raise NASError(
                    f"{memory:.3g} GB of memory for patches of {patch} voxels",
                    f"memory for {LEAST_BATCH} of them on {self._limits.device}",
                    "end other programs, or choose another device",
                )
            batch = max(LEAST_BATCH, batch * 3 // 4)
        reasons = {
            of_memory: f"as many as fit into {self._limits.memory / 1e9:.3g} GB",
            of_data: f"{100 * SHARE_OF_DATA:g} % of all voxels at most, as in nnU-Net",
            of_time: f"{ENOUGH_STEPS:,} steps in one training are left, or the least batch",
        }
        return batch, reasons[min(of_memory, of_data, of_time)]


def space_settings(topology: Topology, widths: Sequence[int]) -> dict[str, Any]:
    """Return the ranges of the space around a reference network.

    Args:
        topology: Halvings and kernels.
        widths: Channels of the reference network on each level, finest first.

    Returns:
        Arguments of `FlexibleUNetSpace` that differ from conf/space/unet_flexible.yaml.
    """
    depth = len(widths) - 1
    choices = [
        sorted({_multiple(width / BOUND), width, _multiple(min(width * BOUND, MOST_CHANNELS))}) for width in widths
    ]
    settings: dict[str, Any] = {
        "depths": list(range(max(depth - 1, 1), depth + 1)),
        "widths": choices,
        "encoder_blocks": [1, 2, 3],
        "decoder_blocks": [1, 2],
        "encoder_kernels": [3],
        "decoder_kernels": [3],
        "norms": ["instance"],
        "activation": "leaky_relu",
    }
    if not topology.is_isotropic:
        settings |= {"strides": [list(s) for s in topology.strides], "flat_axes": [list(a) for a in topology.flat_axes]}
    return settings


def genes_of(depth: int, widths: Sequence[int]) -> dict[str, Any]:
    """Return the genes of the reference network, nnU-Net's plain U-Net.

    Args:
        depth: Halvings.
        widths: Channels of each level, finest first.

    Returns:
        Name of the gene -> value.
    """
    return {
        "depth": depth,
        **{f"width{level}": width for level, width in enumerate(widths)},
        **{"encoder_blocks": 2, "decoder_blocks": 2, "encoder_kernel": 3, "decoder_kernel": 3, "norm": "instance"},
        **{"residual": False, "up": "transposed", "down": "stride"},
    }


def _multiple(width: float) -> int:
    return max(4 * round(width / 4), 4)


def _of_data(fingerprint: Fingerprint, spacing: Sequence[float], refined: bool, chosen: _Chosen) -> Iterator[Decision]:
    yield Decision("data", fingerprint.source, "a folder of images with masks")
    yield Decision("data.root", fingerprint.path, "the folder that was read")
    median = sides_text(np.median(fingerprint.spacings_N3, axis=0).tolist())
    why = f"median of {len(fingerprint.cases)} cases, {median} mm"
    if refined:
        why += "; the coarsest axis of anisotropic voxels at its tenth percentile, as in nnU-Net"
    yield Decision("data.spacing_mm", list(spacing), why)
    normalise = ("training", "CT: values have a meaning, scaled by the foreground of the training part")
    if not fingerprint.is_ct:
        normalise = ("volume", f"{', '.join(fingerprint.channels)}: each volume has its own scale")
    yield Decision("data.normalise", *normalise)
    if chosen.crop_reason:
        yield Decision("data.crop", list(chosen.topology.patch), chosen.crop_reason)
    yield Decision("data.patch", list(chosen.topology.patch), f"{chosen.patch_reason}, rounded to the pooling")
    share = math.prod(chosen.median) / math.prod(chosen.topology.patch)
    yield Decision(
        "data.patches_per_volume",
        chosen.patches,
        f"a median volume has {share:.2g} times the voxels of a patch;"
        " each lies around a voxel of a class, which take turns",
    )
    yield Decision("split.folds", *folds_for(fingerprint))


def _of_network(chosen: _Chosen) -> Iterator[Decision]:
    topology = chosen.topology
    yield Decision("space", "unet_flexible", "U-Nets around nnU-Net's plain network, with a width of each level")
    halvings = f"{', '.join(map(str, topology.divisors))} voxels become one at the bottom, where a side keeps 4 or more"
    reasons = {
        "depths": f"{topology.depth} halvings, by nnU-Net's rule for this patch and spacing, and one less: {halvings}",
        "widths": f"half, once and twice the reference network; {chosen.width_reason}",
        "encoder_blocks": "nnU-Net has 2",
        "decoder_blocks": "nnU-Net has 2",
        "encoder_kernels": "3 as in nnU-Net; larger receptive fields come from the halvings",
        "decoder_kernels": "3 as in nnU-Net",
        "norms": f"batches of {chosen.batch} are too small for batch normalisation; as in nnU-Net",
        "activation": "as in nnU-Net",
        "strides": "axes of coarser voxels are halved later, so that the voxels of a level become cubes",
        "flat_axes": "kernels of one voxel along axes whose spacing is twice the finest or more",
    }
    for name, value in chosen.network.settings.items():
        yield Decision(f"space.{name}", value, reasons[name])
    yield cost_limit(chosen.cost)


def _of_training(fingerprint: Fingerprint, limits: Limits, chosen: _Chosen) -> Iterator[Decision]:
    schedule, batch = chosen.schedule, chosen.batch
    yield Decision("task", "segmentation", "masks")
    yield Decision(
        "task.window", list(chosen.topology.patch), "the patch: networks see in use what they saw in training"
    )
    yield Decision("task.include_background", False, "the Dice loss is that of the classes, as in nnU-Net")
    yield from _of_rare_classes(fingerprint, chosen)
    yield Decision("training.batch_size", batch, chosen.batch_reason)
    yield learning_rate(batch)
    pairs = {pair.axis: f"{pair.first} and {pair.second} ({AXES[pair.axis]})" for pair in pairs_of(fingerprint)}
    axes, why = flips_for(fingerprint, pairs)
    yield Decision("training.augment.flip", axes, why)
    yield Decision("task.flips", axes, "predictions are averaged over the same mirrorings, as in nnU-Net", "train")
    yield from _of_augmentation(fingerprint)
    yield from validations(schedule)
    yield from lengths(schedule, limits, fingerprint.path)


def _of_rare_classes(fingerprint: Fingerprint, chosen: _Chosen) -> Iterator[Decision]:
    patch = math.prod(chosen.topology.patch)
    voxels_K = [
        np.median([case.voxels_K[k] for case in fingerprint.cases if case.voxels_K[k]] or [0])
        for k in range(len(fingerprint.classes))
    ]
    rarest = min(range(1, len(voxels_K)), key=lambda k: voxels_K[k])
    share = voxels_K[rarest] / patch
    missing = 1 - fingerprint.counts_K[1:].min() / len(fingerprint.cases)
    shown = (
        f"{fingerprint.classes[rarest]} fills {100 * share:.2g} % of a patch, and the rarest class is missing in "
        f"{100 * missing:.2g} % of the cases"
    )
    steps = chosen.schedule.search_epochs * chosen.steps(chosen.batch)
    if steps < SHORT_TRAINING:
        shown = f"a trial has {steps} steps: other losses leave a class out in part of such short trainings"
    guarded = share < RARE or missing > 0.1 or steps < SHORT_TRAINING
    yield Decision("task.batch_dice", bool(guarded), shown)
    if guarded:
        yield Decision("task.class_weights", [0.2, 1.0], shown)


def _of_augmentation(fingerprint: Fingerprint) -> Iterator[Decision]:
    flat = fingerprint.anisotropy >= ANISOTROPY
    turns = "voxels are turned as if they were cubes, and these are anisotropic" if flat else "as in nnU-Net, but less"
    yield Decision("training.augment.rotate", 0.0 if flat else 15.0, turns)
    yield Decision("training.augment.scale", 0.15, "as in nnU-Net, but less: short trainings")
    yield Decision("training.augment.shift", 2, "voxels")
    yield Decision("training.augment.cutout", 0, "masks are not cut out")
    for name, value in (("gamma", 0.3), ("contrast", 0.25), ("brightness", 0.1), ("noise", 0.1)):
        yield Decision(f"training.augment.{name}", value, "as in nnU-Net")
