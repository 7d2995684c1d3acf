"""Paired differences of trainings over several seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.metrics.spread import with_seeds
from nas.retraining.result import TrainResult
from nas.retraining.verdict import PairedDifference


def difference_lines_over_seeds(results: Sequence[TrainResult]) -> list[str]:
    """Write the differences of trainings that differ in their seed, one line for each other system.

    Args:
        results: Results of one network, one per seed.

    Returns:
        Means over seeds, with intervals over patients and seeds; systems that a result lacks are left out.
    """
    every = [dict(result.score_differences) for result in results]
    first = str(results[0].headline.get("system", results[0].name))
    lines = []
    for name in every[0]:
        if all(name in one for one in every):
            members = [one[name] for one in every]
            values = [member.value for member in members]
            bounds = with_seeds(values, [member.ci95 for member in members])
            lines.append(PairedDifference(members[0].metric, float(np.mean(values)), bounds).line(first, name))
    return lines
