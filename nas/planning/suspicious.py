"""Classes that lie opposite to each other, and cases that differ from all others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from nas.planning.fingerprint import AXES, NEARLY_ALL, CaseFacts, Fingerprint

APART = 0.5  # of the mean of both extents: least distance of the centres of classes that lie opposite to each other
ALIKE = 4.0  # ratio of the volumes of two classes that may be each other's mirror image
Note = Callable[[CaseFacts, str], None]
LEAST_PAIRS = 3  # cases with both classes
EXPECTED = 0.95  # share of the cases with a class from which on its absence is noted
FACTOR, TIMES = 3.0, 10.0  # of spacings, and of the volume of a class, against the median
DEVIATIONS = 6.0  # robust standard deviations of the mean intensity of a case


@dataclass(frozen=True)
class Pair:
    """Two classes that lie opposite to each other along an axis, such as left and right.

    Args:
        axis: 0, 1 or 2 for D, H, W.
        first: Class nearer to the beginning of the axis.
        second: Class nearer to its end.
        share: Share of the cases with both in which they lie in this order.
        reversed: Names of the cases in which they lie in the other order.
    """

    axis: int
    first: str
    second: str
    share: float
    reversed: tuple[str, ...] = ()


def pairs_of(fingerprint: Fingerprint) -> list[Pair]:
    """Find classes of a segmentation that a mirrored volume would exchange.

    They are of similar volume, and in nearly all cases one lies before the other along an axis, at least half of their
    mean extent apart, such as the left and the right of two organs.

    Args:
        fingerprint: Facts of the data.

    Returns:
        The pairs with their axes.
    """
    if fingerprint.kind != "segmentation":
        return []
    found = []
    for first, second in combinations(range(1, len(fingerprint.classes)), 2):
        both = [case for case in fingerprint.cases if case.voxels_K[first] and case.voxels_K[second]]
        if len(both) < LEAST_PAIRS:
            continue
        ratio = np.median([case.voxels_K[first] / case.voxels_K[second] for case in both])
        if not 1 / ALIKE <= ratio <= ALIKE:
            continue
        for axis in range(3):
            steps_N = np.array([case.centres_K3[second, axis] - case.centres_K3[first, axis] for case in both])
            extents_N = np.array([case.extents_K3[[first, second], axis].mean() for case in both])
            forward = float((steps_N > 0).mean())
            share = max(forward, float((steps_N < 0).mean()))
            if share < NEARLY_ALL or np.median(np.abs(steps_N) / extents_N) < APART:
                continue
            sign = 1 if forward >= 0.5 else -1
            before, after = (fingerprint.classes[number] for number in (first, second)[::sign])
            contrary = tuple(case.name for case, step in zip(both, steps_N, strict=True) if step * sign < 0)
            found.append(Pair(axis, before, after, share, contrary))
    return found


def suspicious(fingerprint: Fingerprint) -> dict[str, str]:
    """Find cases that differ so much from the others that they should be looked at.

    Args:
        fingerprint: Facts of the data.

    Returns:
        Name of the case -> what is unusual.
    """
    found: dict[str, list[str]] = {}
    cases = fingerprint.cases

    def note(case: CaseFacts, text: str) -> None:
        found.setdefault(case.name, []).append(text)

    spacing_3 = np.median(fingerprint.spacings_N3, axis=0)
    means_NC = np.array([case.values_CV.mean(axis=1) for case in cases])
    middle_C = np.median(means_NC, axis=0)
    spread_C = 1.4826 * np.median(np.abs(means_NC - middle_C), axis=0)
    for case, mean_C in zip(cases, means_NC, strict=True):
        ratio_3 = np.array(case.spacing_mm) / spacing_3
        if ratio_3.max() > FACTOR or ratio_3.min() < 1 / FACTOR:
            shown = " x ".join(f"{mm:g}" for mm in case.spacing_mm)
            note(case, f"voxels of {shown} mm, against {' x '.join(f'{mm:g}' for mm in spacing_3)}")
        apart_C = np.abs(mean_C - middle_C) / np.maximum(spread_C, 1e-12)
        if spread_C.any() and apart_C.max() > DEVIATIONS:
            channel = int(apart_C.argmax())
            of = f" of {fingerprint.channels[channel]}" if len(apart_C) > 1 else ""
            note(case, f"mean intensity{of} {mean_C[channel]:.4g}, against {middle_C[channel]:.4g}")
    _of_copies(cases, note)
    if fingerprint.kind == "segmentation":
        _of_masks(fingerprint, note)
    return {name: "; ".join(texts) for name, texts in found.items()}


def _of_copies(cases: Sequence[CaseFacts], note: Note) -> None:
    counts = Counter(case.digest for case in cases if case.digest)
    first: dict[str, str] = {}
    for case in cases:
        if counts[case.digest] > 1:
            if case.digest in first:
                note(case, f"the same voxels as {first[case.digest]}")
            first.setdefault(case.digest, case.name)


def _of_masks(fingerprint: Fingerprint, note: Note) -> None:
    cases, sizes = fingerprint.cases, fingerprint.object_sizes_mm3()
    for number, name in list(enumerate(fingerprint.classes))[1:]:
        with_it = sum(bool(case.voxels_K[number]) for case in cases)
        for case in cases:
            mm3 = float(case.voxels_K[number] * np.prod(case.spacing_mm))
            if not mm3:
                if with_it >= EXPECTED * len(cases):
                    note(case, f"no {name}, which {with_it} of {len(cases)} cases have")
            elif not 1 / TIMES <= mm3 / sizes[name][1] <= TIMES and with_it >= EXPECTED * len(cases):
                note(case, f"{name} of {mm3:.3g} mm3, against {sizes[name][1]:.3g}")
    by_name = {case.name: case for case in cases}
    for pair in pairs_of(fingerprint):
        for name in pair.reversed:
            note(by_name[name], f"{pair.second} lies before {pair.first} ({AXES[pair.axis]}), against all others")
