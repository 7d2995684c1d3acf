"""Fingerprints of data sets that do not exist, and a machine whose steps take a computed time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nas.planning.fingerprint import CaseFacts, Fingerprint
from nas.planning.rules import Limits, Network, StepCost

MACHINE = Limits(7200.0, 16 * 10**9)


def case(
    name: str,
    shape: Sequence[int] = (36, 50, 35),
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    centres: Sequence[Sequence[float]] = ((0.5, 0.3, 0.5), (0.5, 0.7, 0.5)),
    voxels: Sequence[int] = (60000, 1700, 1600),
    label: int = -1,
    least: float = 0.0,
) -> CaseFacts:
    """A case with a class at each of `centres`, given as shares of the sides."""
    depth, height, width = shape
    near, middle, far = spacing
    classes = len(centres) + 1
    values = np.random.default_rng(len(name)).normal(100, 10, (1, 100)).astype(np.float32)
    return CaseFacts(
        name=name,
        patient=name,
        shape_DHW=(depth, height, width),
        spacing_mm=(near, middle, far),
        box_DHW=(depth, height, width),
        values_CV=values,
        least_C=np.array([least]),
        most_C=np.array([least + 1000.0 + len(name)]),
        voxels_K=np.array(voxels) if label < 0 else np.zeros(0, dtype=int),
        objects_K=np.ones(classes, dtype=int),
        centres_K3=np.array([[np.nan] * 3, *centres]),
        extents_K3=np.full((classes, 3), 0.3),
        label=label,
    )


def segmentation(cases: Sequence[CaseFacts], channels: Sequence[str] = ("MRI",)) -> Fingerprint:
    names = ("background", "one", "two", "three")[: len(cases[0].voxels_K)]
    return Fingerprint("segmentation", "msd", "/data/Task", tuple(channels), names, tuple(cases))


def classification(cases: Sequence[CaseFacts], folds: int = 0) -> Fingerprint:
    return Fingerprint("classification", "manifest", "/data/a.csv", ("one",), ("a", "b"), tuple(cases), folds)


class Computed:
    """A machine whose steps take 1 s for 10^11 multiply-accumulates, and four bytes for each value of a map."""

    def __init__(self) -> None:
        self.timed: list[Network] = []

    def __call__(self, network: Network, *, timed: bool = True) -> StepCost:
        voxels, macs, values, before = math.prod(network.shape), 0.0, 0.0, network.channels
        widths = [value for name, value in network.genes.items() if name.startswith(("width", "stage")) and value]
        for level, width in enumerate(widths):
            maps = voxels / 8**level
            macs += maps * 27 * width * (before + 4 * width)
            values += 8 * maps * width
            before = width
        if timed:
            self.timed.append(network)
        seconds = network.batch * macs / 1e11 if timed else math.nan
        return StepCost(seconds, int(4 * network.batch * values), 1000 * sum(widths), int(macs))
