"""The networks of the answer of `voxnas auto`: by their validation parts, ensembles only if they are better."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from experiments.auto import choice
from experiments.auto.choice import candidates
from nas.data.splits import Fold
from nas.tasks.classification import Classification

LABELS = np.tile([0, 1], 10)
ROWS = np.arange(20)
ROUNDS = [Fold("valid1", ROWS[10:], ROWS[:10], ROWS[:0]), Fold("valid2", ROWS[:10], ROWS[10:], ROWS[:0])]


def probabilities(wrong: list[int], rows: np.ndarray) -> np.ndarray:
    """Predictions that are sure of the right class, except of a weak error in some cases."""
    prob_NK = np.full((20, 2), 0.1)
    prob_NK[np.arange(20), LABELS] = 0.9
    for row in wrong:
        prob_NK[row] = (0.4, 0.6) if LABELS[row] == 0 else (0.6, 0.4)
    return prob_NK[rows]


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(
        choice, "VolumeSet", lambda store, rows, device: SimpleNamespace(targets=LABELS[rows], indices=rows)
    )
    return SimpleNamespace(task=Classification(), store=None, device=None)


def chosen(monkeypatch: pytest.MonkeyPatch, setting: Any, wrong: dict[str, list[int]], rounds: list[Fold] = ROUNDS):
    read: list[tuple[str, str]] = []

    def predicted(home: Path, part: Fold, *_: object) -> np.ndarray:
        read.append((home.parent.name, home.name))
        return probabilities(wrong[home.parent.name], part.valid)

    monkeypatch.setattr(choice, "_predicted", predicted)
    found = candidates(Path("training"), list(wrong), rounds, setting)
    assert sorted(read) == sorted((name, part.name) for name in wrong for part in rounds)  # no test part
    return found


def test_networks_that_err_elsewhere_are_better_together(monkeypatch: pytest.MonkeyPatch, setting: Any):
    found = chosen(monkeypatch, setting, {"a": [0, 1, 12, 13], "b": [2, 3, 14, 15], "c": [2, 3, 4, 5, 6, 7, 8, 9]})
    assert found[0].networks in (("a", "b"), ("b", "a"))
    assert found[0].score > max(one.score for one in found if len(one.networks) == 1)
    assert sorted(len(one.networks) for one in found) == [1, 1, 1, 2, 2, 2, 3]


def test_of_equal_candidates_the_smaller_is_chosen(monkeypatch: pytest.MonkeyPatch, setting: Any):
    found = chosen(monkeypatch, setting, {"a": [], "b": []})
    assert found[0].networks == ("a",)
    assert [one.score for one in found] == [1.0, 1.0, 1.0]


def test_a_network_alone_is_its_own_answer(monkeypatch: pytest.MonkeyPatch, setting: Any):
    found = chosen(monkeypatch, setting, {"a": [0]}, ROUNDS[:1])
    assert [one.networks for one in found] == [("a",)]
