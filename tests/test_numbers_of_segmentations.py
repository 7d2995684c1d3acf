"""F4 of the faults: HD95 of an empty region, against values worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist

from nas.data.sample import Sample
from nas.data.store import VolumeStore
from nas.data.store_writer import write_store
from nas.data.transforms.patches import bounds
from nas.metrics.regions import region_metrics
from nas.metrics.surface import surfaces
from nas.retraining.scoring import Scorer, System
from nas.tasks.segmentation import Segmentation

SHAPE = (12, 20, 20)
EXTENTS = [(4, 10, 12), (12, 20, 20), (6, 20, 8)]
MM = (3.0, 1.0, 2.0)


def padded_store(path: Path) -> VolumeStore:
    """Three volumes of their own extents, padded on both sides to one shape; class 1 in one corner of each."""
    samples = []
    for number, extent in enumerate(EXTENTS):
        mask = np.zeros(SHAPE, dtype=np.uint8)
        low, _ = bounds(SHAPE, np.array([extent]))
        d, h, w = np.asarray(low).reshape(-1, 3)[0]
        mask[d : d + 2, h : h + 3, w : w + 3] = 1
        volume = np.zeros((1, *SHAPE), dtype=np.uint8)
        more = {"spacing_mm": MM, "mask_DHW": mask, "extent_DHW": extent}
        samples.append(Sample(f"s{number}", volume, 0, f"p{number}", **more))
    return write_store(path, samples, name="padded", classes=("nothing", "organ"), provenance={})


def test_F4_hd95_of_an_empty_region(tmp_path: Path) -> None:
    """A network that finds nothing: the diagonals are those of the volumes without padding, in mm.

    By hand: sqrt(12^2 + 10^2 + 24^2) = 28.636, sqrt(36^2 + 20^2 + 40^2) = 57.411, sqrt(18^2 + 20^2 + 16^2) = 31.305.
    """
    store = padded_store(tmp_path / "padded.h5")
    nothing = np.zeros((3, 2, *SHAPE), dtype=np.float32)
    nothing[:, 0] = 1
    scorer = Scorer(store, Segmentation(), np.arange(3), resamples=10, seed=0)
    system = System("nothing", np.arange(3), nothing)
    found = scorer.scores(system).columns(store.classes)["hd95, organ"]
    np.testing.assert_allclose(found, [28.636, 57.411, 31.305], atol=5e-4)
    assert scorer.over_all(system)["hd95"] == pytest.approx(39.117, abs=5e-4)
    # one fold of it, as in a cross validation, with the rows of that fold
    last = Scorer(store, Segmentation(), np.array([0, 2]), resamples=10, seed=0)
    found = last.scores(System("nothing", np.array([0, 2]), nothing[:2])).columns(store.classes)["hd95, organ"]
    np.testing.assert_allclose(found, [28.636, 31.305], atol=5e-4)


def test_F4_hd95_of_an_empty_region_of_single_cases() -> None:
    """Cases on grids of their own, as in `voxnas evaluate`, and regions of classes, as in `evaluate` of the tumours."""
    truth = np.zeros((4, 10, 12), dtype=np.uint8)
    truth[:2, :3, :3] = 1
    scores = Segmentation().score_cases([(np.zeros_like(truth), truth, np.array(MM))])
    assert scores.over()["hd95"] == pytest.approx(28.636, abs=5e-4)
    found = region_metrics(np.zeros_like(truth), truth, {"organ": (1,)}, MM)
    assert found["organ"]["hd95"] == pytest.approx(28.636, abs=5e-4)
    found = region_metrics(truth, np.zeros_like(truth), {"organ": (1,), "other": (2,)}, MM, empty="zero")
    assert [one["hd95"] for one in found.values()] == pytest.approx([28.636] * 2, abs=5e-4)


def test_F4_metrics_of_a_subclass_are_its_own() -> None:
    class Own(Segmentation):
        def score(self, *args: object, **more: object):  # type: ignore[no-untyped-def]
            return "own"

    assert Own().score_padded(np.zeros(1), np.zeros(1), None, np.zeros((1, 3))) == "own"


@pytest.mark.parametrize("seed", range(4))
def test_F4_hd95_by_brute_force(seed: int) -> None:
    """The distances of all pairs of surface voxels, with scipy; also where regions touch the border of the image."""
    rng = np.random.default_rng(seed)
    guess, truth = (np.zeros((1, 8, 9, 7), dtype=np.uint8) for _ in range(2))
    for volume in (guess, truth):
        low = rng.integers(0, 5, 3)
        d, h, w = (slice(a, a + rng.integers(1, 5)) for a in low)
        volume[0, d, h, w] = 1
    edges = [
        np.argwhere(volume[0].astype(bool) & ~binary_erosion(volume[0].astype(bool))) * MM for volume in (guess, truth)
    ]
    apart = cdist(*edges)
    wanted = max(np.percentile(apart.min(axis=1), 95), np.percentile(apart.min(axis=0), 95))
    assert surfaces(guess, truth, 2, np.array([MM]), 1.0)[0].item() == pytest.approx(wanted, rel=1e-5)
