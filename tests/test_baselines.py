"""Baselines on real nodules; features of bodies with known answers, with and without spacings, and in noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from nas.baselines.features import NAMES, feature_table, features, object_mask, sizes
from nas.baselines.simple import feature_baseline, volume_baseline
from nas.data.sample import Sample
from nas.data.sources.lidc_shapes import LidcShapes
from nas.data.splits import Split
from nas.data.store import VolumeStore
from nas.data.store_writer import write_store
from nas.metrics.bootstrap import binary_metrics


@pytest.fixture(scope="module")
def store(data_cache: Path) -> VolumeStore:
    return LidcShapes(str(data_cache), size=16, spacing_mm=2.0).prepare()


def ball(radius_mm: float, spacing: tuple[float, float, float], side: int = 40) -> np.ndarray:
    axes = [(np.arange(side) - (side - 1) / 2) * mm for mm in spacing]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return (z**2 + y**2 + x**2 <= radius_mm**2).astype(np.float32)


def test_features_of_a_ball() -> None:
    found = dict(zip(NAMES, features(ball(12, (1, 1, 1)), (1, 1, 1)), strict=True))
    assert found["volume"] == pytest.approx(4 / 3 * np.pi * 12**3, rel=0.02)
    assert found["surface"] == pytest.approx(4 * np.pi * 12**2, rel=0.05)
    assert found["sphericity"] == pytest.approx(1.0, abs=0.06)
    assert found["extent_long"] == pytest.approx(24, abs=1)
    assert found["elongation"] == pytest.approx(1.0, abs=0.01)
    assert (found["mean_inside"], found["mean_outside"]) == (1.0, 0.0)


def test_features_know_the_spacing() -> None:
    spacing = (2.0, 1.0, 1.0)
    found = dict(zip(NAMES, features(ball(12, spacing), spacing), strict=True))
    assert found["volume"] == pytest.approx(4 / 3 * np.pi * 12**3, rel=0.03)
    assert found["flatness"] == pytest.approx(1.0, abs=0.03)


def test_the_object_is_the_component_at_the_centre() -> None:
    volume = ball(5, (1, 1, 1))
    volume[:4, :4, :4] = 1.0
    assert object_mask(volume)[20, 20, 20]
    assert not object_mask(volume)[1, 1, 1]


def test_an_empty_volume_has_finite_features() -> None:
    assert np.isfinite(features(np.zeros((8, 8, 8), dtype=np.uint8), (float("nan"),) * 3)).all()


def test_baselines_on_real_nodules(store: VolumeStore) -> None:
    rounds = Split(store).cross_validation_rounds()
    rows, prob = volume_baseline(store, rounds)
    assert rows.tolist() == list(range(len(store)))
    assert binary_metrics(prob, store.labels)["auc"] == pytest.approx(0.891, abs=0.005)
    rows, prob = feature_baseline(store, rounds, seed=0)
    assert binary_metrics(prob, store.labels)["auc"] > 0.86
    np.testing.assert_allclose(prob.sum(axis=1), 1)


def test_baselines_under_holdout_average_their_rounds(store: VolumeStore) -> None:
    split = Split(store)
    rows, prob = volume_baseline(store, split.holdout_rounds())
    assert rows.tolist() == split.test.tolist()
    single = np.mean([volume_baseline(store, [part])[1] for part in split.holdout_rounds()], axis=0)
    np.testing.assert_allclose(prob, single)


def cube(spacing_mm: float, side: int = 4) -> Sample:
    volume = np.zeros((1, 12, 12, 12), dtype=np.uint8)
    volume[0, 4 : 4 + side, 4 : 4 + side, 4 : 4 + side] = 200
    name = f"{spacing_mm}-{side}"
    return Sample(name=name, volume_CDHW=volume, label=side % 2, group=name, spacing_mm=(spacing_mm,) * 3)


def stored(path: Path, *samples: Sample) -> VolumeStore:
    return write_store(path, samples, name="cubes", classes=("even", "odd"), provenance={})


def test_known_spacings_give_millimetres(tmp_path: Path) -> None:
    store = stored(tmp_path / "x.h5", cube(2.0), cube(1.0, side=3))
    assert sizes(store, np.arange(2)).tolist() == [64 * 8, 27]
    assert feature_table(store, np.arange(2))[:, NAMES.index("volume")].tolist() == [64 * 8, 27]


def test_one_missing_spacing_turns_the_whole_column_to_voxels(tmp_path: Path) -> None:
    """A column with millimetres in one row and voxels in the next would say nothing."""
    store = stored(tmp_path / "x.h5", cube(2.0), cube(float("nan"), side=3))
    assert sizes(store, np.arange(2)).tolist() == [64, 27]
    assert feature_table(store, np.arange(2))[:, NAMES.index("extent_long")].tolist() == [4, 3]


@pytest.mark.parametrize("smooth", [0, 1])
def test_the_nearest_of_many_components(smooth: int) -> None:
    volume = np.random.default_rng(0).normal(size=(15, 16, 18))
    volume = ndimage.gaussian_filter(volume, smooth)
    found = object_mask(volume)
    labels, count = ndimage.label(volume > (volume.min() + volume.max()) / 2)
    centre = (np.array(volume.shape) - 1) / 2
    distance = [np.linalg.norm(np.argwhere(labels == k) - centre, axis=1).min() for k in range(1, count + 1)]
    assert count > 5
    assert (found == (labels == 1 + int(np.argmin(distance)))).all()
