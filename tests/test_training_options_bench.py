"""The paired comparison of options of a training: its recipes, its intervals, and that a stopped one continues."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.bench_training_options import compared, over_patients
from benchmarks.training_options_arms import CLASSIFICATION, arms_of, development_rows
from nas.errors import NASError
from nas.tasks.segmentation import Segmentation
from nas.tasks.segmentation_scores import SegmentationScores


def scores(dice_N: np.ndarray) -> SegmentationScores:
    return SegmentationScores({"dice": dice_N[:, None]})


def test_an_arm_is_a_change_of_the_recipe(tmp_path: Path) -> None:
    written = ["training.augment.mixup=0.2+training.ema=0.9", "task.flips=[0,2]"]
    off, both, flipped = arms_of(tmp_path, ["training.epochs=7"], written)
    assert [arm.settings.epochs for arm in (off, both, flipped)] == [7, 7, 7]
    assert (off.settings.mixup, both.settings.mixup, both.settings.ema) == (0.0, 0.2, 0.9)
    assert (flipped.recipe["task"]["flips"], off.recipe["task"].get("flips")) == ([0, 2], None)
    assert len({off.digest, both.digest, flipped.digest}) == 3
    assert "root" not in CLASSIFICATION["data"]
    (tmp_path / "dataset.json").write_text("{}")
    assert arms_of(tmp_path, [], [])[0].recipe["task"]["_target_"] == "nas.tasks.Segmentation"
    with pytest.raises(NASError, match="the option ema"):
        arms_of(tmp_path, [], ["ema=0.9"])


def test_an_official_test_part_is_left_out() -> None:
    store: Any = SimpleNamespace(folds=np.array(["train", "test", "val", "test"]))
    assert development_rows(store).tolist() == [0, 2]


def test_intervals_hold_a_known_difference() -> None:
    """Both arms share the noise of a case, so that the interval is that of the difference, not of the values."""
    rng = np.random.default_rng(0)
    pairs, task = [], Segmentation(outputs=2, precision="fp32")
    for fold in range(5):
        case_N = rng.normal(0.8, 0.1, 40)
        pairs.append((fold, scores(case_N), scores(case_N + rng.normal(0.02, 0.01, 40)), np.arange(40)))
    ((low, high),) = over_patients(pairs, ["dice"]).values()
    assert low < 0.02 < high
    assert high - low < 4 * 1.96 * 0.01 / np.sqrt(200)
    (row,) = compared(arms_of(Path(), [], ["training.ema=0.9"])[1], task, pairs, (1.0, 2.0))
    assert row["difference"] == pytest.approx(0.02, abs=0.003)
    assert (row["folds better"], row["folds"], row["seeds"]) == (5, 5, 1)
    same = [(fold, first, first, group) for fold, first, _, group in pairs]
    assert over_patients(same, ["dice"]) == {"dice": (0.0, 0.0)}
