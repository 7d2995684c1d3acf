"""Metrics of regions: unions of classes, as challenges score them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nas.errors import NASError
from nas.metrics.surface import diagonal, dice, surfaces

METRICS = ("dice", "hd95", "surface_dice")
EMPTY = ("one", "zero", "skip")


def region_metrics(
    guess_DHW: np.ndarray,
    truth_DHW: np.ndarray,
    regions: Mapping[str, Sequence[int]],
    spacing_mm: Sequence[float],
    empty: str = "one",
    tolerance: float = 1.0,
) -> dict[str, dict[str, float]]:
    """Measure the regions of one case.

    Args:
        guess_DHW: Predicted classes (D, H, W).
        truth_DHW: True classes (D, H, W).
        regions: Name of a region -> the classes whose union it is.
        spacing_mm: Voxel size (D, H, W) in mm.
        empty: Score of a region that is neither present nor predicted. "one": Dice 1 and a distance of 0, as the
            server of BraTS does. "zero": Dice 0 and the diagonal of the image, as code that divides by the sum or by 1
            does. "skip": NaN, so that the case does not count. In every case a region that is only present or only
            predicted scores Dice 0 and the diagonal (of 240 x 240 x 155 mm: the 373.13 mm of that server).
        tolerance: Tolerance of the surface Dice in mm.

    Returns:
        Region -> {"dice", "hd95" (mm), "surface_dice"}.

    Raises:
        NASError: If `empty` is unknown or the shapes differ.
    """
    require_empty_rule(empty)
    if guess_DHW.shape != truth_DHW.shape:
        raise NASError(
            f"a prediction of {guess_DHW.shape} voxels for a truth of {truth_DHW.shape}", "one shape", "predict anew"
        )
    if_empty = {
        "one": (1.0, 0.0, 1.0),
        "zero": (0.0, diagonal(spacing_mm, truth_DHW.shape), 0.0),
        "skip": (np.nan,) * 3,
    }[empty]
    found = {}
    for name, classes in regions.items():
        a, b = (np.isin(volume, classes).astype(np.uint8)[None] for volume in (guess_DHW, truth_DHW))
        measured = (dice(a, b, 2), *surfaces(a, b, 2, np.array([spacing_mm]), tolerance))
        values = [float(value_NK[0, 0]) for value_NK in measured] if a.any() or b.any() else if_empty
        found[name] = dict(zip(METRICS, values, strict=True))
    return found


def require_empty_rule(empty: str) -> None:
    """Check the rule for empty regions.

    Args:
        empty: Name of the rule.

    Raises:
        NASError: If the rule is unknown.
    """
    if empty not in EMPTY:
        raise NASError(f"empty={empty}", f"one of {', '.join(EMPTY)}", f"set empty to {EMPTY[0]}")
