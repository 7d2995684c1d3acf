"""The classification task: metrics by hand, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from nas.errors import NASError, TrialFailed
from nas.tasks.classification import Classification


def test_metrics_counted_by_hand() -> None:
    label = np.array([0, 0, 0, 1, 1])
    prob = np.array([0.1, 0.2, 0.7, 0.6, 0.4])
    found = Classification().score(np.column_stack([1 - prob, prob]), label).over()
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["sensitivity"] == pytest.approx(1 / 2)
    assert found["specificity"] == pytest.approx(2 / 3)
    assert found["balanced_accuracy"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found["f1"] == pytest.approx(2 * 1 / (2 * 1 + 1 + 1))
    assert found["auc"] == pytest.approx(4 / 6)  # of 6 pairs, 0.6 beats two benign ones and 0.4 two
    assert found["log_loss"] == pytest.approx(-np.log([0.9, 0.8, 0.3, 0.6, 0.4]).mean())


def test_three_classes() -> None:
    label = np.array([0, 1, 2, 2])
    prob = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8], [0.6, 0.1, 0.3]])
    found = Classification(outputs=3).score(prob, label).over()
    assert found["accuracy"] == 0.75
    assert found["sensitivity"] == pytest.approx((1 + 1 + 0.5) / 3)
    assert found["specificity"] == pytest.approx((2 / 3 + 1 + 1) / 3)
    assert found["auc"] == pytest.approx(1.0)


def test_prediction_is_probability_in_full_precision_and_keeps_the_mode() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, 2)).train()
    x = torch.rand(4, 1, 2, 2, 2)
    task = Classification()
    first, second = task.predict(network, x), task.predict(network, x)
    torch.testing.assert_close(first, second)  # no dropout
    torch.testing.assert_close(first.sum(dim=1), torch.ones(4))
    assert first.dtype == torch.float32
    assert network.training


def test_what_cannot_be_scored() -> None:
    with pytest.raises(NASError, match="classes"):
        Classification().score(np.array([[0.5, 0.5]] * 3), np.zeros(3, dtype=int)).over()
    with pytest.raises(TrialFailed, match="finite"):
        Classification().score(np.array([[np.nan, 0.5], [0.5, 0.5]]), np.array([0, 1])).over()
    with pytest.raises(NASError, match="two classes"):
        Classification(outputs=1)
    with pytest.raises(NASError, match="one of auc"):
        Classification(score="dice")


def test_scores_are_restored_from_the_columns_of_predictions() -> None:
    rng = np.random.default_rng(0)
    label, prob = rng.permutation(np.arange(30) % 3), rng.dirichlet(np.ones(3), 30)
    task, classes = Classification(outputs=3), ("solid", "part solid", "ground glass")
    scores = task.score(prob, label)
    columns = {**scores.truth(classes), **scores.columns(classes)}
    restored = task.from_columns({name: values.astype(str) for name, values in columns.items()}, classes)
    assert dict(restored.over()) == pytest.approx(dict(scores.over()))
    assert scores.over(np.flatnonzero(label < 2)) == {}  # the third class is missing
    with pytest.raises(KeyError):
        task.from_columns({"label": np.array(["solid"])}, classes)


def test_the_score_is_the_first_metric() -> None:
    task = Classification(score="f1")
    assert task.score_name == "f1"
    assert {metric.name for metric in task.metrics} == {metric.name for metric in Classification().metrics}
    assert task.identity["score"] == "f1"
