"""The rows of a training's table: the model to use first, the mean of its parts after it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nas.context import TaskSetup
from nas.data.sample import Sample
from nas.data.splits import Split
from nas.data.store_writer import write_store
from nas.retraining.folds import FoldPrediction
from nas.retraining.scoring import Scorer, System
from nas.retraining.summary import summarise, table_rows
from nas.tasks.default import default_task


@pytest.fixture
def setting(tmp_path) -> TaskSetup:
    import torch

    rng = np.random.default_rng(0)
    samples = [
        Sample(f"s{n}", rng.uniform(size=(1, 4, 4, 4)).astype(np.float32), n % 2, f"p{n}", spacing_mm=(1.0, 1.0, 1.0))
        for n in range(60)
    ]
    store = write_store(tmp_path / "s.h5", samples, name="toy", classes=("a", "b"), provenance={})
    split = Split(store, folds=3)
    return TaskSetup(split, default_task(store), torch.device("cpu"))


def network(setting: TaskSetup, name: str, skills: list[float], protocol: str) -> System:
    """Networks of different quality: class probabilities that agree with the labels more or less."""
    rng = np.random.default_rng(1)
    split = setting.split
    rounds = split.holdout_rounds() if protocol == "holdout" else split.cross_validation_rounds()
    tested = []
    for part, skill in zip(rounds, skills, strict=False):
        label_N = setting.store.labels[part.test]
        score_N = 1 / (1 + np.exp(-(skill * (2 * label_N - 1) + rng.normal(size=len(label_N)))))
        tested.append(FoldPrediction(part.name, part.test, np.column_stack([1 - score_N, score_N])))
    rows, prob = setting.task.pool([(one.indices, one.prob) for one in tested])
    return System(name, rows, prob, tested)


def facts(protocol: str) -> dict[str, object]:
    return {"arch_id": "abc", "protocol": protocol, "seed": 0, "search_patients_known": True}


@pytest.mark.parametrize("protocol", ["holdout", "cross_validation"])
def test_the_headline_is_first_and_the_mean_has_the_wider_interval(setting: TaskSetup, protocol: str) -> None:
    main = network(setting, "net", [3.0, -0.5, 1.0], protocol)
    scorer = Scorer(setting.store, setting.task, main.indices, 300, 0)
    result = summarise(scorer, main, [main], [], setting, **facts(protocol))
    folds = 2 if protocol == "holdout" else 3
    assert result.headline == {"system": "net", "networks": folds}
    rows = table_rows(result, main, [main])
    assert [row.system for row in rows] == [
        "net, ensemble of 2" if protocol == "holdout" else "net",
        f"net, mean of {folds}",
    ]
    low, high = result.ci95["auc"]
    assert low <= result.mean["auc"] <= high
    values = [fold["auc"] for fold in result.folds]
    assert high - low > 0.5 * (max(values) - min(values))  # the spread of the folds, which patients alone do not show
    assert result.ensembles["net"]["auc"] == pytest.approx(scorer.over_all(main)["auc"])


def test_of_several_networks_their_ensemble_is_the_headline_and_is_compared(setting: TaskSetup) -> None:
    first, second = (network(setting, name, [1.0, 1.5], "holdout") for name in ("one", "two"))
    pooled = setting.task.pool([(one.indices, one.prediction) for one in (first, second)])
    together, baseline = System("ensemble of 2 networks", *pooled), System("volume", *pooled)
    scorer = Scorer(setting.store, setting.task, first.indices, 100, 0)
    result = summarise(scorer, first, [together, first, second], [baseline], setting, **facts("holdout"))
    assert result.headline == {"system": "ensemble of 2 networks", "networks": 2}
    assert result.differences["volume"]["auc"]["value"] == 0
    rows = table_rows(result, first, [together, first, second, baseline])
    assert rows[0].system.startswith("ensemble of 2 networks")
    assert [row.system for row in rows][1:3] == ["one, ensemble of 2", "one, mean of 2"]


def test_a_single_training_has_no_mean(setting: TaskSetup) -> None:
    main = network(setting, "net", [2.0], "holdout")
    scorer = Scorer(setting.store, setting.task, main.indices, 100, 0)
    result = summarise(scorer, main, [main], [], setting, **facts("holdout"))
    assert [row.system for row in table_rows(result, main, [main])] == ["net"]
    assert result.ci95["auc"] == pytest.approx(result.ensembles["net"]["ci95"]["auc"])


def test_two_trainings_of_one_network_are_two_systems(setting: TaskSetup) -> None:
    good, poor = (network(setting, "net", [skill], "holdout") for skill in (3.0, 0.5))
    scorer = Scorer(setting.store, setting.task, good.indices, 100, 0)
    found = scorer.difference(good, poor)["auc"]
    low, high = found["ci95"]
    assert low < found["value"] < high
    renamed = Scorer(setting.store, setting.task, good.indices, 100, 0).difference(good, replace(poor, name="other"))
    assert found == renamed["auc"]
