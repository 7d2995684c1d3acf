"""882 nodules cut out of CT: what is stored is what the file holds, centred."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nas.data.sources.lidc_nodules import FILE, LidcNodules, centred_cube
from nas.data.store import VolumeStore
from nas.errors import NASError


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    path = shared_data / "lidc_nodules_882"
    if not (path / FILE).is_file():
        pytest.skip(f"no {FILE} in {shared_data}")
    return path


@pytest.fixture(scope="module")
def store(folder: Path, data_cache: Path) -> VolumeStore:
    return LidcNodules(str(folder), str(data_cache)).prepare()


def test_counts_groups_and_spacing(store: VolumeStore) -> None:
    assert store.shape == (1, 32, 32, 32)
    assert np.bincount(store.labels).tolist() == [615, 267]
    assert len(set(store.groups)) == 494
    assert len(set(store.names)) == 882
    known = ~np.isnan(store.spacing_mm).any(axis=1)
    assert known.sum() == 688
    np.testing.assert_array_equal(known, ~np.isnan(store.size_mm3))
    assert store.spacing_mm[0] == pytest.approx([2.5, 0.820312, 0.820312], rel=1e-5)


def test_volumes_are_the_files_own_centred(folder: Path, store: VolumeStore) -> None:
    with np.load(folder / FILE) as file:
        originals = file["volumes"]
    whole = 0
    for original, volume in zip(originals, store.read(range(len(store)))[:, 0], strict=True):
        extent = [np.ptp(found) + 1 for found in np.nonzero(original)]
        middle = [(found.min() + found.max() + 1) / 2 for found in np.nonzero(volume)]
        if max(extent) <= 32:  # nothing is lost, and the bounding box is in the middle
            whole += 1
            assert np.abs(np.array(middle) - 16).max() <= 0.5
            np.testing.assert_array_equal(volume[volume > 0], original[original > 0])
        else:
            assert volume.max() > 0
    assert whole >= 882 - 43


def test_size_is_of_the_whole_nodule(folder: Path, store: VolumeStore) -> None:
    with np.load(folder / FILE) as file:
        voxels = np.count_nonzero(file["volumes"], axis=(1, 2, 3))
        z_mm, xy_mm = file["spacing_z_xy_mm"].T.astype(np.float64)
    np.testing.assert_allclose(store.size_mm3, voxels * z_mm * xy_mm**2)
    assert (voxels > np.count_nonzero(store.read(range(882)), axis=(1, 2, 3, 4))).any()


@pytest.mark.parametrize("size", [3, 4, 7, 8, 20])
def test_centred_cube(size: int) -> None:
    volume = np.zeros((5, 9, 12), dtype=np.uint8)
    volume[0:3, 7:9, 1:11] = np.arange(1, 61).reshape(3, 2, 10)
    cube = centred_cube(volume, size)
    assert cube.shape == (size, size, size)
    if size >= 10:
        np.testing.assert_array_equal(cube[cube > 0], volume[volume > 0])
    else:  # the middle of the box: slice 1, row 8, column 6
        assert cube[size // 2, size // 2, size // 2] == volume[1, 8, 6]


def test_missing_and_broken_files(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for root in (None, str(tmp_path)):
        with pytest.raises(NASError, match=r"lidc_nodules_882\.npz.*set data\.root"):
            LidcNodules(root, str(cache)).prepare()
    content = (folder / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content[: len(content) // 2])
    with pytest.raises(NASError, match="cannot be read"):
        LidcNodules(str(tmp_path), str(cache)).prepare()
    damaged = bytearray(content)
    damaged[len(content) // 3] ^= 0xFF
    (tmp_path / FILE).write_bytes(damaged)
    with pytest.raises(NASError, match="cannot be read"):
        LidcNodules(str(tmp_path), str(cache)).prepare()
    np.savez(tmp_path / FILE, volumes=np.zeros((1, 2, 2, 2)))
    with pytest.raises(NASError, match="cannot be read"):
        LidcNodules(str(tmp_path), str(cache)).prepare()
    assert not list(cache.glob("*"))


def test_an_empty_nodule_is_reported(tmp_path: Path) -> None:
    np.savez(
        tmp_path / FILE,
        volumes=np.zeros((1, 4, 8, 8), dtype=np.uint8),
        depth=[4],
        label=[0],
        exam=["e"],
        nodule_id=["n"],
        spacing_z_xy_mm=[[1.0, 1.0]],
    )
    with pytest.raises(NASError, match="nodule n of exam e with empty slices"):
        LidcNodules(str(tmp_path), str(tmp_path / "cache")).prepare()


def test_wrong_size() -> None:
    with pytest.raises(NASError, match="size=0"):
        LidcNodules(None, "cache", size=0)
