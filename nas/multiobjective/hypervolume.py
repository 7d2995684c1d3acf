"""Hypervolume of two objectives: the area that points dominate above a reference point."""

from __future__ import annotations

import numpy as np

from nas.multiobjective.pareto import front_mask


def hypervolume(values_N2: np.ndarray, reference_2: np.ndarray) -> float:
    """Compute the area between a reference point and the Pareto front; larger values are better.

    Source: Zitzler and Thiele, PPSN V, 1998 ("size of the space covered"); two objectives in O(N log N) by slices.

    Args:
        values_N2: (N, 2) values without NaN; points that do not exceed the reference in both columns add nothing.
        reference_2: (2,) reference point.

    Returns:
        The area, at least 0.
    """
    above_N2 = values_N2[(values_N2 > reference_2).all(axis=1)] - reference_2
    front_F2 = np.unique(above_N2[front_mask(above_N2)], axis=0)  # ascending in the first, descending in the second
    widths_F = np.diff(front_F2[:, 0], prepend=0.0)
    return float((widths_F * front_F2[:, 1]).sum())


def hypervolumes_so_far(values_N2: np.ndarray, reference_2: np.ndarray) -> np.ndarray:
    """Compute the hypervolume after each of a sequence of points.

    Args:
        values_N2: (N, 2) values in the order in which they became known; a row with NaN adds nothing.
        reference_2: (2,) reference point.

    Returns:
        (N,) areas, which never decrease.
    """
    area, area_N = 0.0, np.zeros(len(values_N2))
    front_F2 = np.empty((0, 2))
    for number, value_2 in enumerate(values_N2):
        known = not np.isnan(value_2).any()
        if known and not (front_F2 >= value_2).all(axis=1).any():  # else it is dominated, or equal
            front_F2 = np.vstack([front_F2, value_2])
            front_F2 = front_F2[front_mask(front_F2)]
            area = hypervolume(front_F2, reference_2)
        area_N[number] = area
    return area_N
