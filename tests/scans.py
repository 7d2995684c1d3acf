"""Drawn findings of a detector in scans, with ties of scores and candidates in several nodules."""

from __future__ import annotations

import numpy as np

from nas.metrics.froc import Findings

SCORES = 6  # whole numbers from 0


def drawn_scans(seed: int) -> list[Findings]:
    """One to four scans with at most 13 candidates and one to three nodules, of which some do not count."""
    rng = np.random.default_rng(seed)
    scans = []
    for _ in range(rng.integers(1, 5)):
        n, m = rng.integers(0, 14), rng.integers(1, 4)
        scans.append(
            Findings(
                rng.integers(0, 7, (n, 3)).astype(float),
                rng.integers(0, SCORES, n).astype(float),
                rng.integers(0, 7, (m, 3)).astype(float),
                rng.integers(1, 5, m).astype(float),
                np.array([False, *(rng.random(m - 1) < 0.3)]),
            )
        )
    return scans
