"""A table of networks that were never trained: scores made of genes, for tests of everything that reads tables."""

from __future__ import annotations

from functools import cache

import numpy as np

from nas.artifact import SpaceFacts
from nas.cost.model import CostModel
from nas.history import State, Trial
from nas.space import SearchSpace
from nas.task_spec import TaskSpec
from nas.trials_table import TrialsTable
from search_spaces.naslung import NASLungSpace

SPACE = NASLungSpace(widths=(4, 8), max_depth=4)
SPACE_WORDS = ["space.widths=[4,8]", "space.max_depth=4"]
DATA_WORDS = ["data.size=16", "data.spacing_mm=2.0", "device=cpu"]
OBJECTIVES = {"auc": "maximize", "macs": "minimize"}
SHAPE = (1, 16, 16, 16)


def records_of(space: SearchSpace = SPACE, seed: int = 0) -> list[Trial]:
    """Every network of the space, finished: a larger one is better and takes longer, with noise."""
    return list(_records_of(space, seed))


@cache
def _records_of(space: SearchSpace, seed: int) -> tuple[Trial, ...]:
    every = space.enumerate()
    assert every is not None
    macs_N = CostModel(space, TaskSpec(), SHAPE)(every)
    rng = np.random.default_rng(seed)
    return tuple(
        Trial(
            number,
            space.architecture(genes),
            0,
            State.COMPLETE,
            {"auc": 0.5 + 0.04 * np.log10(macs) + rng.normal(0, 0.02), "macs": macs, "seconds": 10 + macs / 1e5},
            finished=1.0,
        )
        for number, (genes, macs) in enumerate(zip(every.tolist(), macs_N.tolist(), strict=True))
    )


def table_of(records: list[Trial], space: SearchSpace = SPACE) -> TrialsTable:
    spec = {"cost": {"metric": "macs", "table": None, "input_shape": list(SHAPE)}}
    return TrialsTable.of(records, SpaceFacts.of(space), OBJECTIVES, spec)


def curve_of(record: Trial, budgets: tuple[int, ...]) -> list[Trial]:
    """A network's trials at several budgets: a power law that ends at its score, with noise that shrinks."""
    rng, last = np.random.default_rng([5, record.number]), budgets[-1]
    found = []
    for budget in budgets:
        share = (1 / budget - 1 / last) / (1 - 1 / last)
        auc = record.metrics["auc"] - share * (0.1 + rng.normal(0, 0.005))
        metrics = {**record.metrics, "auc": auc, "seconds": record.metrics["seconds"] * budget / last}
        found.append(Trial(record.number, record.arch, budget, State.COMPLETE, metrics, finished=1.0))
    return found
