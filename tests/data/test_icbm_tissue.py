"""The ICBM template of nilearn as blocks: voxels against the files, the mirror image, regions, slices, bad input."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from nas.data.sources import icbm_tissue
from nas.data.sources.icbm_tissue import FILE, IcbmTissue
from nas.data.splits import Split
from nas.data.store import VolumeStore
from nas.errors import NASError


def template(kind: str) -> np.ndarray:
    """(X, Y, Z), as the file has it."""
    found = importlib.util.find_spec("nilearn")
    assert found is not None
    assert found.origin is not None
    return np.asarray(nibabel.load(Path(found.origin).parent / "datasets/data" / FILE.format(kind)).dataobj)


@pytest.fixture(scope="module")
def store(data_cache: Path) -> VolumeStore:
    return IcbmTissue(str(data_cache)).prepare()


def test_what_is_in_it(store: VolumeStore) -> None:
    assert (store.kind, store.dims, store.unit, store.shape) == ("segmentation", 3, "region", (1, 24, 24, 24))
    assert store.classes == ("background", "grey matter", "white matter")
    assert (len(store), len(set(store.groups))) == (97, 24)
    assert store.voxels_NK is not None
    shares = store.voxels_NK.sum(axis=0) / store.voxels_NK.sum()
    np.testing.assert_allclose(shares, (0.360, 0.403, 0.237), atol=0.001)
    assert (store.spacing_mm == 1.0).all()


@pytest.mark.parametrize("kind", ["t1", "gm", "wm"])
def test_the_template_is_its_own_mirror_image(kind: str) -> None:
    """Why only one half is used: the other would put each test block, mirrored, into the training part."""
    volume_XYZ = template(kind)
    np.testing.assert_array_equal(volume_XYZ, volume_XYZ[::-1])


@pytest.mark.slow
def test_every_brain_voxel_of_the_half_is_in_at_most_one_block(store: VolumeStore) -> None:
    """Volumes and masks against the files: each block is found where its number says, and nowhere else."""
    t1, grey, white = (template(kind)[:99].transpose(2, 1, 0).astype(int) for kind in ("t1", "gm", "wm"))
    tissue = np.argmax([255 - grey - white, grey, white], axis=0)
    first = [int(np.flatnonzero(tissue.any(axis=other))[0]) for other in ((1, 2), (0, 2), (0, 1))]
    padded_t1, padded_tissue = (np.pad(whole, (0, 24)) for whole in (t1, tissue))
    covered = np.zeros_like(padded_t1)
    for row in range(len(store)):
        number = [int(text) for text in store.names[row].split("-")[1:]]
        where = tuple(slice(start + 24 * n, start + 24 * (n + 1)) for start, n in zip(first, number, strict=True))
        np.testing.assert_array_equal(store.read([row])[0, 0], padded_t1[where])
        np.testing.assert_array_equal(store.targets([row])[0], padded_tissue[where])
        covered[where] += 1
        assert store.groups[row] == "region-" + "-".join(str(n // 2) for n in number)
    assert covered.max() == 1
    brain = padded_tissue > 0
    assert covered[brain].mean() > 0.98  # the rest lies in blocks with hardly any brain


def test_no_region_is_on_two_sides_of_a_split(store: VolumeStore) -> None:
    split = Split(store)
    train, valid = split.search
    sides = [set(store.groups[rows]) for rows in (train, valid, split.test)]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 24
    assert (split.unit, split.folds) == ("region", 5)


def test_coarser_voxels_are_means_and_the_most_probable_class(data_cache: Path) -> None:
    """At 2 mm; the innermost plane of voxels is kept, the outermost one of the head goes."""
    store = IcbmTissue(str(data_cache), size=16, spacing_mm=2).prepare()
    assert (len(store), store.shape) == (61, (1, 16, 16, 16))
    whole = template("t1")[1:99, :232, :188].transpose(2, 1, 0).astype(float)
    means = whole.reshape(94, 2, 116, 2, 49, 2).mean(axis=(1, 3, 5))
    block = store.read([30])[0, 0]
    places = np.argwhere(np.rint(means) == block[8, 8, 8]) - 8
    fits = [
        place
        for place in places
        if (place >= 0).all()
        and (place + 16 <= means.shape).all()
        and np.array_equal(np.rint(means[tuple(slice(p, p + 16) for p in place)]), block)
    ]
    assert len(fits) == 1
    assert (store.spacing_mm == 2.0).all()
    store.verify()


def test_slices_are_the_middles_of_the_blocks(store: VolumeStore, data_cache: Path) -> None:
    slices = IcbmTissue(str(data_cache), dims=2).prepare()
    assert (slices.dims, slices.input_shape) == (2, (1, 24, 24))
    rows = {name: row for row, name in enumerate(store.names)}
    both = [(row, rows[name]) for row, name in enumerate(slices.names) if name in rows]
    assert len(both) > 80
    for row, whole in both:
        np.testing.assert_array_equal(slices.read([row])[0, 0, 0], store.read([whole])[0, 0, 12])
        np.testing.assert_array_equal(slices.targets([row])[0], store.targets([whole])[0, 12])


@pytest.mark.parametrize(("name", "value"), [("size", 0), ("size", 65), ("spacing_mm", 1.5), ("dims", 4)])
def test_arguments_out_of_range(name: str, value: float) -> None:
    with pytest.raises(NASError, match=f"data.{name}"):
        IcbmTissue("cache", **{name: value})  # type: ignore[arg-type]


def damaged(path: Path) -> None:
    path.write_bytes(b"no image")


def another_grid(path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), dtype=np.uint8), np.eye(4)), path)


@pytest.mark.parametrize(("write", "message"), [(None, "No such file"), (damaged, "nilearn"), (another_grid, "shape")])
def test_a_nilearn_without_the_files(
    write: Callable[[Path], None] | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "nilearn/datasets/data"
    folder.mkdir(parents=True)
    if write is not None:
        write(folder / FILE.format("t1"))
    spec = importlib.util.spec_from_loader("nilearn", None, is_package=True)
    assert spec is not None
    spec.submodule_search_locations = [str(tmp_path / "nilearn")]
    monkeypatch.setattr(icbm_tissue, "find_spec", lambda name: spec)
    with pytest.raises(NASError, match=message):
        IcbmTissue(str(tmp_path)).prepare()


def test_without_nilearn_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(icbm_tissue, "find_spec", lambda name: None)
    with pytest.raises(NASError, match="medical"):
        IcbmTissue(str(tmp_path)).prepare()
