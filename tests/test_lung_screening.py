"""The lung screening's parts: lungs without a network, suppression, patches, phantoms, training data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.lung_screening.blobs import blob_candidates
from experiments.lung_screening.candidates import suppress
from experiments.lung_screening.lungs import lung_mask, volume_ml
from experiments.lung_screening.phantoms import chest, with_nodules, write_luna16
from experiments.lung_screening.scan import Scan
from experiments.lung_screening.slices import moved, patch, to_pixel, to_side
from experiments.lung_screening.training_data import LungSlices, NodulePatches
from nas.data.io.grid import on_grid
from nas.data.io.images import read_image
from nas.errors import NASError
from nas.metrics.froc import Findings, froc
from nas.metrics.surface import dice


def of(scan: Scan) -> np.ndarray:
    return lung_mask(scan.hu_DHW, scan.spacing_mm, scan.name)


@pytest.mark.parametrize("seed", range(3))
def test_lungs_of_synthetic_chests(seed: int) -> None:
    scan, truth_DHW = chest(np.random.default_rng(seed))
    assert dice(of(scan)[None], truth_DHW[None], 2)[0, 0] >= 0.99


def test_the_lungs_of_a_real_ct_hold_its_tumour_and_no_windpipe(shared_data: Path) -> None:
    scan = Scan.read(shared_data / "lung1_ct" / "lung1_image.nrrd")
    mask_DHW = of(scan)
    label_DHW, _ = on_grid(read_image(shared_data / "lung1_ct" / "lung1_label.nrrd"), None, labels=True)
    assert 2500 < volume_ml(mask_DHW, scan.spacing_mm) < 3500
    assert mask_DHW[label_DHW > 0].all()
    assert not mask_DHW[40, 350:365, 250:265].any()  # the windpipe, above the lungs' tips in this column
    halves = mask_DHW[:, :, :256].sum(), mask_DHW[:, :, 256:].sum()
    assert 0.6 < halves[0] / halves[1] < 1.7


def test_the_lungs_of_a_real_dicom_series(shared_data: Path) -> None:
    scan = Scan.read(shared_data / "lung_pet_ct_dx" / "A0002_CT_B40f")
    mask_DHW = of(scan)
    assert 2200 < volume_ml(mask_DHW, scan.spacing_mm) < 3300
    assert mask_DHW[13, 280:330, 145:205].mean() > 0.95  # a tumour of 5 cm at the pleura
    assert not mask_DHW[29].any()  # the neck
    assert not mask_DHW[0, 50:250].any()  # gas of the bowel


def test_a_nodule_at_the_pleura_stays_inside() -> None:
    """Half of it lies in the chest wall. Without closing none of it would be in the mask."""
    scan, lungs_DHW = chest(np.random.default_rng(1), (20, 192, 192), (12.0, 1.87, 1.87))
    level = len(lungs_DHW) // 2 + 1
    rows, columns = np.nonzero(lungs_DHW[level])
    edge = columns.min()
    row = int(np.median(rows[columns == edge]))
    h, w = np.indices(lungs_DHW.shape[1:])
    ball_HW = np.hypot(h - row, w - edge) * scan.spacing_mm[1] < 5.5
    hu_DHW = scan.hu_DHW.copy()
    hu_DHW[level][ball_HW] = 40
    mask_DHW = of(scan.with_hu(hu_DHW, "pleura"))
    inside_HW = ball_HW & lungs_DHW[level] & (w > edge)  # the outermost pixel is half wall
    assert inside_HW.sum() >= 9
    assert mask_DHW[level][inside_HW].mean() > 0.85


def test_scans_without_lungs() -> None:
    scan, _ = chest(np.random.default_rng(0))
    filled = np.where(scan.hu_DHW < -400, -1000, scan.hu_DHW)  # gas where the lungs were
    for hu_DHW in (np.full_like(scan.hu_DHW, 40), np.full_like(scan.hu_DHW, -1000), filled.astype(np.int16)):
        with pytest.raises(NASError, match=r"ml look like lung.*a CT of the chest"):
            lung_mask(hu_DHW, scan.spacing_mm, "abdomen")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.5, 6))
def test_suppression(seed: int, radius: float) -> None:
    """Kept points are apart; each silenced one lies near a kept one that is no weaker; order is by score."""
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 8, (rng.integers(1, 40), 3)).astype(float)
    scores = rng.integers(0, 6, len(points)).astype(float)
    kept = suppress(points, scores, radius)
    assert [scores[i] for i in kept] == sorted((scores[i] for i in kept), reverse=True)
    for a in kept:
        assert all(np.linalg.norm(points[a] - points[b]) >= radius for b in kept if a != b)
    for i in set(range(len(points))) - set(kept):
        assert any(np.linalg.norm(points[i] - points[k]) < radius and scores[k] >= scores[i] for k in kept)


def test_patches_keep_their_middle() -> None:
    slice_HW = np.full((60, 80), -1000.0)
    slice_HW[20, 55] = 1000.0
    fine_HW = to_pixel(slice_HW, (1.4, 1.4), 0.7)
    assert fine_HW.shape == (120, 160)
    centre = moved(np.array([20.0, 55.0]), slice_HW.shape, fine_HW.shape)
    cut_HW = patch(fine_HW, centre, 16)
    weight = cut_HW + 1000
    found = [(weight.sum(axis=1 - axis) * np.arange(16)).sum() / weight.sum() for axis in (0, 1)]
    assert np.abs(np.array(found) - 7.5).max() <= 0.5
    assert (patch(fine_HW, np.array([-100.0, 0.0]), 16) == -1000).all()
    np.testing.assert_allclose(to_side(slice_HW[None], 20)[0].mean(), slice_HW.mean(), rtol=1e-5)


def test_world_and_voxels_there_and_back() -> None:
    scan, _ = chest(np.random.default_rng(0), (6, 16, 16))
    index = np.random.default_rng(0).uniform(0, 15, (5, 3))
    np.testing.assert_allclose(scan.index(scan.world(index)), index, atol=1e-9)
    x, y, z = scan.image.TransformIndexToPhysicalPoint((3, 2, 1))
    np.testing.assert_allclose(scan.world(np.array([[1.0, 2, 3]])), [[x, y, z]])


def test_phantom_nodules_are_where_they_are_said_to_be() -> None:
    rng = np.random.default_rng(3)
    scan, lungs_DHW = chest(rng)
    changed, nodules = with_nodules(scan, lungs_DHW, rng, 6, diameter_mm=(14.0, 22.0))
    gained_DHW = changed.hu_DHW.astype(float) - scan.hu_DHW
    at = np.nonzero(gained_DHW)
    gained, points = gained_DHW[at], scan.world(np.argwhere(gained_DHW))
    distance_PN = np.stack([np.linalg.norm(points - one.centre_mm, axis=1) for one in nodules], axis=1)
    assert distance_PN.min(axis=1).max() < 22 / 2 * 1.3 + 3 + 6  # nothing else has changed
    for nodule, near in zip(nodules, (distance_PN.argmin(axis=1) == n for n in range(6)), strict=True):
        weight = gained[near].clip(0)
        middle = (points[near] * weight[:, None]).sum(axis=0) / weight.sum()
        assert np.linalg.norm(middle - nodule.centre_mm) < 2.5
        volume = weight.sum() / 880 * np.prod(scan.spacing_mm)  # HU gained over that of a voxel of nodule in lung
        assert volume == pytest.approx(np.pi / 6 * nodule.diameter_mm**3, rel=0.3)
    with pytest.raises(NASError, match="room for"):
        with_nodules(scan, lungs_DHW, rng, 1, keep_off_mm=[((0.0, 0.0, 0.0), 1000.0)])


def test_blobs_find_phantom_nodules_in_a_synthetic_chest() -> None:
    scans = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        scan, nodules = with_nodules(*chest(rng), rng, 8, diameter_mm=(10.0, 20.0))
        found = blob_candidates(scan, of(scan), 40)
        scans.append(
            Findings(
                np.array([one.point_mm for one in found]),
                np.array([one.score for one in found]),
                np.array([nodule.centre_mm for nodule in nodules]),
                np.array([nodule.diameter_mm / 2 for nodule in nodules]),
            )
        )
        assert all(0 <= one.score < 1 for one in found)
    assert froc(scans).at(8.0) >= 0.9


@pytest.fixture(scope="module")
def luna(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list]:
    folder, scans = tmp_path_factory.mktemp("luna16"), []
    for number in range(3):
        rng = np.random.default_rng(number)
        scan, lungs_DHW = chest(rng)
        scans.append((f"phantom.{number}", *with_nodules(scan, lungs_DHW, rng, 4, diameter_mm=(12.0, 20.0))))
    write_luna16(folder, scans)
    return folder, scans


def test_slices_with_lungs_out_of_a_luna16_folder(luna: tuple[Path, list], tmp_path: Path) -> None:
    store = LungSlices(str(luna[0]), str(tmp_path), size=64, per_scan=5).prepare()
    assert (store.kind, store.dims, store.sample_shape, len(store)) == ("segmentation", 2, (1, 64, 64), 15)
    assert set(store.folds) == {"0", "1", "2"}
    masks = store.targets(range(15))
    values = store.read(range(15))[:, 0, 0]
    assert np.median(values[masks == 1]) < -700
    assert store.scale * -1000 + store.offset == pytest.approx(0)


def test_patches_with_and_without_nodules_out_of_a_luna16_folder(luna: tuple[Path, list], tmp_path: Path) -> None:
    folder, scans = luna
    source = NodulePatches(str(folder), str(tmp_path), size=32, per_nodule=3, per_scan=9)
    store = source.prepare()
    assert store.sample_shape == (1, 32, 32)
    assert np.bincount(store.labels).tolist() == [27, 36]
    values = store.read(range(len(store)))[:, 0, 0]
    middles = values[:, 12:20, 12:20].mean(axis=(1, 2))
    assert (middles[store.labels == 1] > -500).mean() > 0.9
    assert (middles[store.labels == 0] > -500).mean() < 0.5
    nodules = {uid: made for uid, _, made in scans}
    for uid, name, label in zip(store.groups, store.names, store.labels, strict=True):
        scan = next(scan for other, scan, _ in scans if other == uid)
        index = np.array([float(part) for part in name.rpartition("@")[2].split(",")])
        off_mm = [np.linalg.norm(scan.world(index[None])[0] - one.centre_mm) for one in nodules[uid]]
        assert min(off_mm) < 9 if label else min(off_mm) > 10
    again = NodulePatches(str(folder), str(tmp_path / "again"), size=32, per_nodule=3, per_scan=9).prepare()
    assert again.sha256 == store.sha256


@pytest.mark.parametrize("source", [LungSlices, NodulePatches])
def test_a_folder_that_is_none(source: type, tmp_path: Path) -> None:
    with pytest.raises(NASError, match="no subset"):
        source(str(tmp_path), str(tmp_path / "cache")).prepare()
