"""Pareto dominance on a matrix of values."""

from __future__ import annotations

import numpy as np


def front_mask(values_NM: np.ndarray) -> np.ndarray:
    """(N,) bool: rows that no other row dominates (at least as large everywhere, larger somewhere).

    Equal rows do not dominate each other: all of them are kept. Shape (0, M) gives an empty mask.
    """
    at_least = (values_NM[:, None, :] >= values_NM[None, :, :]).all(axis=2)
    larger = (values_NM[:, None, :] > values_NM[None, :, :]).any(axis=2)
    return np.asarray(~(at_least & larger).any(axis=0))
