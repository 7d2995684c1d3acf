"""Every strategy on every space: two trials each on real data, through the search loop and the store.

The pairs are found in conf/; there is no list of exceptions: a strategy that shares weights as slices refuses spaces
that have none. Volumes and trainings are tiny: what is tested is that the pair works, not what it finds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.build import build
from nas.data.loading import VolumeSet
from nas.data.source import Source
from nas.data.sources.lidc_shapes import LidcShapes
from nas.data.sources.nodule_phantoms import NodulePhantoms
from nas.data.store import VolumeStore
from nas.errors import NASError
from nas.evaluators.train import Train
from nas.history import State
from nas.search import SearchJob, search
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.strategies.elastic import Elastic
from nas.study.study import Study
from nas.supernets.elastic import HasElasticWeights
from nas.tasks.base import Task
from nas.training.settings import TrainingSettings
from tests.problems import context_in, problem_of
from tests.test_conformance import composed, names

TRIALS = 2  # the second knows the result of the first
QUICKEST = "nodule_patch"  # a fifth of the time of the others
OBJECTIVES = {
    "classification": {"auc": "maximize", "macs": "minimize"},
    "segmentation": {"dice": "maximize"},
    "detection": {"map50": "maximize"},
}
# Where a strategy trains by itself: elastic weights take a step with the largest network, the smallest and one more.
TINY = ("training.epochs=2", "training.batch_size=8", "training.precision=fp32")
OWN = {
    "elastic": ["strategy.settings.epochs=1", "strategy.settings.batch_size=16", "strategy.sampled=1"],
    "priorband": ["strategy.min_budget=1"],
}
COARSE = ("data.size=16", "data.spacing_mm=2")
SETTINGS = TrainingSettings(epochs=1, batch_size=8, lr=0.01, precision="fp32")


@pytest.fixture(scope="module")
def stores(data_cache: Path) -> dict[str, VolumeStore]:
    """Kind of task -> real volumes with a label each, or with a mask each, or synthetic slices with boxes."""
    tissue = build(composed("data=icbm_tissue", *COARSE, f"data_cache={data_cache}").data, "data", Source)
    return {
        "classification": LidcShapes(str(data_cache), size=16, spacing_mm=2.0).prepare(),
        "segmentation": tissue.prepare(),
        "detection": NodulePhantoms(str(data_cache), patients=8, slices=3, size=48, radius_mm=(16, 20)).prepare(),
    }


def pairs() -> list[Any]:
    """Every strategy with every space: each strategy on the quickest space and random search on each, others slow."""
    assert len(names("strategy")) >= 9
    assert len(names("space")) >= 2
    every = [(strategy, space) for strategy in names("strategy") for space in names("space")]
    slow = pytest.mark.slow
    return [
        pytest.param(*pair, marks=() if pair[0] == "random" or pair[1] == QUICKEST else slow, id="-".join(pair))
        for pair in every
    ]


def some_of_each(store: VolumeStore, count: int, seed: int) -> np.ndarray:
    """Samples of every class, where samples have a class."""
    rng = np.random.default_rng(seed)
    if len(np.unique(store.labels)) < 2:
        return np.sort(rng.choice(len(store), size=min(count, len(store)), replace=False))
    rows = [rng.choice(np.flatnonzero(store.labels == label), count // 2, replace=False) for label in (0, 1)]
    return np.sort(np.concatenate(rows))


@pytest.mark.parametrize(("strategy_name", "space_name"), pairs())
def test_pair(strategy_name: str, space_name: str, stores: dict[str, VolumeStore], tmp_path: Path) -> None:
    cfg = composed(f"space={space_name}", f"strategy={strategy_name}", *TINY, *OWN.get(strategy_name, ()))
    space, strategy = build(cfg.space, "space", SearchSpace), build(cfg.strategy, "strategy", Strategy)
    store, objectives = stores[space.kind], OBJECTIVES[space.kind]
    given = {"in_channels": store.shape[0], "outputs": len(store.classes), "dims": store.dims}
    task = build(composed(f"task={space.kind}").task, "task", Task, **given)
    device = torch.device("cpu")
    train, valid = (VolumeSet(store, some_of_each(store, n, seed), device) for n, seed in ((16, 0), (8, 1)))
    problem = problem_of(space, objectives, task=task, shape=store.sample_shape)
    if isinstance(strategy, Elastic) and not isinstance(space, HasElasticWeights):
        with pytest.raises(NASError, match="slices of one set of weights"):
            strategy.check(problem)
        return
    study = Study(f"sqlite:///{tmp_path}/study.db", "matrix", problem, {})
    context = context_in(tmp_path / "checkpoints", train, valid)
    history = search(SearchJob(problem, strategy, Train(SETTINGS), context, TRIALS), study)
    assert [record.state for record in history] == [State.COMPLETE] * TRIALS
    assert len({(record.arch.id, record.budget) for record in history}) == TRIALS
    assert all(np.isfinite(record.metrics[name]) for record in history for name in objectives)
    assert history.front()
    study.close()
