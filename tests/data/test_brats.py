"""BraTS folders: order of modalities, the box of the brain, both orders of normalising, labels, broken folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import ndimage

from nas.data.io.brats_folder import find_subjects
from nas.data.io.grid import onto
from nas.data.loading import VolumeSet
from nas.data.sources.brats import CLIP, REGIONS, Brats
from nas.data.splits import Split
from nas.errors import NASError
from tests.data.written_brats import MODALITIES, real_part, source, subject, write_brats, write_subject
from tests.data.written_decathlon import write_nifti


def normalised(channel: np.ndarray) -> np.ndarray:
    """By hand: mean 0, deviation 1, clipped at 5, to 0 .. 1 over what is not 0."""
    values = channel[channel != 0].astype(np.float64)
    out = np.zeros(channel.shape)
    out[channel != 0] = (((values - values.mean()) / values.std()).clip(-CLIP, CLIP) + CLIP) / (2 * CLIP)
    return out


def boxed(array_RAS: np.ndarray, there_RAS: np.ndarray) -> np.ndarray:
    """Cut to the box of what is there, as (D, H, W) in LPS."""
    places = np.argwhere(there_RAS)
    inside = tuple(map(slice, places.min(axis=0), places.max(axis=0) + 1))
    return array_RAS[inside].transpose(2, 1, 0)[:, ::-1, ::-1]


@pytest.mark.parametrize("codes", ["LPS", "RAS", "SPL"])
def test_the_box_of_the_brain_on_its_own_voxels(tmp_path: Path, codes: str) -> None:
    """A size equal to the box leaves every voxel as it is, the last ones included, whatever the axes of the files."""
    write_subject(tmp_path / "a" / "one", seed=3, codes=codes)
    images, label = subject(3)
    there = np.any([image != 0 for image in images.values()], axis=0)
    size = boxed(label, there).shape
    store = source(tmp_path / "a", modalities=["flair", "t1"], size=size).prepare()
    expected = [boxed(normalised(images[modality]), there) for modality in ("flair", "t1")]
    np.testing.assert_allclose(store.read([0])[0], np.stack(expected), atol=1e-5)
    classes = boxed(label, there)
    np.testing.assert_array_equal(store.targets([0])[0], np.where(classes == 4, 3, classes))
    assert store.provenance["modalities"] == ["flair", "t1"]
    np.testing.assert_allclose(store.spacing_mm, [[1, 1, 1]])


def test_both_orders_of_the_steps(tmp_path: Path) -> None:
    write_subject(tmp_path / "a" / "one")
    first, second = (source(tmp_path / "a", order=order).prepare() for order in ("normalise_first", "resample_first"))
    assert first.path != second.path
    values = first.read([0])[0]
    assert values.min() >= 0
    assert values.max() <= 1
    for channel in second.read([0])[0]:
        brain = channel[channel != 0]
        assert (brain.mean(), brain.std()) == (pytest.approx(0, abs=1e-5), pytest.approx(1, abs=1e-5))
    np.testing.assert_array_equal(first.targets([0]), second.targets([0]))


def test_a_resampled_subject_covers_what_the_box_covers(tmp_path: Path) -> None:
    write_subject(tmp_path / "a" / "one", mm=(1, 1, 2))
    brats = source(tmp_path / "a", size=[8, 16, 12])
    store = brats.prepare()
    images, label = subject(0)
    there = np.any([image != 0 for image in images.values()], axis=0)
    box = np.array(boxed(label, there).shape)
    np.testing.assert_allclose(store.spacing_mm[0], box * [2, 1, 1] / [8, 16, 12])
    middle = ndimage.center_of_mass(boxed(label, there) > 0)
    found = ndimage.center_of_mass(store.targets([0])[0] > 0)
    np.testing.assert_allclose((np.array(found) + 0.5) / [8, 16, 12], (np.array(middle) + 0.5) / box, atol=0.05)


@pytest.mark.parametrize("codes", ["LPS", "RAS", "SPL"])
def test_back_to_the_axes_of_the_file(tmp_path: Path, codes: str) -> None:
    """A channel that went to the grid of its own box comes back as it was, 0 beyond the box."""
    write_subject(tmp_path / "a" / "one", codes=codes)
    images, label = subject(0)
    there = np.any([image != 0 for image in images.values()], axis=0)
    brats = source(tmp_path / "a", size=boxed(label, there).shape, modalities=["t1"])
    seen = brats.seen(brats.subjects[0])
    back = onto(seen.volume_CDHW[0], seen.grid, seen.image)
    stored = np.asarray(nib.load(brats.subjects[0].images[0]).dataobj)
    np.testing.assert_allclose(back.transpose(2, 1, 0), normalised(stored), atol=1e-5)


def test_names_of_several_years(tmp_path: Path) -> None:
    names = {
        "BraTS2021_00000": ("_t1", "_t1ce", "_t2", "_flair", "_seg"),
        "BraTS-GLI-00002-000": ("-t1n", "-t1c", "-t2w", "-t2f", "-seg"),
        "TCGA-FG-0001": ("", "", "", "", ""),
    }
    for folder, endings in names.items():
        (tmp_path / folder).mkdir()
        for ending in endings if endings[0] else ("t1", "t1c", "t2", "fla", "seg_fused_auto"):
            (tmp_path / folder / f"{folder if endings[0] else ''}{ending}.nii.gz").touch()
        (tmp_path / folder / "notes.txt").touch()
    found = find_subjects(tmp_path, MODALITIES)
    assert [one.name for one in found] == sorted(names)
    assert [path.name for path in found[1].images] == [
        f"BraTS2021_00000{end}.nii.gz" for end in names["BraTS2021_00000"]
    ][:4]
    assert [path.name for path in found[2].images] == ["t1.nii.gz", "t1c.nii.gz", "t2.nii.gz", "fla.nii.gz"]
    assert all(one.label is not None for one in found)


def test_patients_are_split_and_patches_drawn(tmp_path: Path) -> None:
    store = source(write_brats(tmp_path / "a"), patch=8).prepare()
    assert (store.shape, store.classes[3], store.input_shape) == ((4, 16, 16, 16), "enhancing tumour", (4, 8, 8, 8))
    assert len(set(store.groups)) == len(store) == 6
    assert len(Split(store, folds=3).test) == 2
    assert {number for classes in REGIONS.values() for number in classes} == {1, 2, 3}


def rewrite(folder: Path, kind: str, change: Callable[[np.ndarray], np.ndarray], **how: object) -> None:
    path = folder / f"one_{kind}.nii.gz"
    codes = "".join(nib.aff2axcodes(nib.load(path).affine))
    stored = nib.as_closest_canonical(nib.load(path))
    write_nifti(path, change(np.asarray(stored.dataobj)), codes, **how)  # type: ignore[arg-type]


def shear(folder: Path) -> None:
    path = folder / "one_t1ce.nii.gz"
    image, turn = nib.load(path), np.eye(4)
    turn[:2, :2] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), turn @ image.affine), path)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "another place": (
        lambda f: rewrite(f, "flair", np.array, origin=3.0),
        "different origins of t1 and flair.*one_flair",
    ),
    "another spacing": (lambda f: rewrite(f, "t2", np.array, mm=(1, 1, 2)), "different spacings of t1 and t2"),
    "another direction": (shear, "different directions of t1 and t1ce"),
    "another shape": (
        lambda f: rewrite(f, "t2", lambda v: v[:-1]),
        "different shapes of t1 and t2, 24 x 30 x 20 and 23 x",
    ),
    "labels elsewhere": (
        lambda f: rewrite(f, "seg", np.array, origin=3.0),
        "different origins of an image and its label",
    ),
    "a modality less": (lambda f: (f / "one_flair.nii.gz").unlink(), "one without flair; .*_flair or _fla or _t2f"),
    "no labels": (lambda f: (f / "one_seg.nii.gz").unlink(), "one without segmentation.*_seg"),
    "a modality twice": (
        lambda f: (f / "one_t1c.nii").write_bytes((f / "one_t1ce.nii.gz").read_bytes()),
        "2 files of t1ce in .*one_t1c.nii, one_t1ce.nii.gz",
    ),
    "label 3": (lambda f: rewrite(f, "seg", lambda v: v - (v == 4)), "label 3 in .*one_seg.*BraTS"),
    "half a label": (lambda f: rewrite(f, "seg", lambda v: v * np.float32(0.5)), "label 0.5 in"),
    "an empty modality": (lambda f: rewrite(f, "t2", lambda v: v * 0), "one value only in .*one_t2"),
    "channels": (lambda f: rewrite(f, "t2", lambda v: np.stack([v, v], -1)), "2 channels in .*one_t2"),
    "cut short": (
        lambda f: (f / "one_t1.nii.gz").write_bytes((f / "one_t1.nii.gz").read_bytes()[:900]),
        "one_t1.nii.gz, which cannot be read",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_subjects_in_one_line(tmp_path: Path, name: str) -> None:
    spoil, message = BAD[name]
    spoil(write_subject(tmp_path / "a" / "one"))
    with pytest.raises(NASError, match=message) as error:
        source(tmp_path / "a").prepare()
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("cache/*"))


def test_bad_folders_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(NASError, match="no NIfTI file"):
        find_subjects(tmp_path, MODALITIES)
    with pytest.raises(NASError, match="no folder"):
        find_subjects(tmp_path / "none", MODALITIES)
    write_subject(tmp_path / "HGG" / "one")
    write_subject(tmp_path / "LGG" / "one")
    with pytest.raises(NASError, match="two folders one"):
        find_subjects(tmp_path, MODALITIES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"modalities": ["t1", "pd"]}, "modalities="),
        ({"modalities": ["t1", "t1"]}, "each once"),
        ({"order": "never"}, "order=never"),
        ({"size": [8, 8]}, "three"),
        ({"patch": 0}, "patch="),
    ],
)
def test_bad_settings_in_one_line(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(NASError, match=message):
        Brats("somewhere", "cache", **arguments)  # type: ignore[arg-type]


def test_a_real_subject(shared_data: Path, tmp_path: Path) -> None:
    root = shared_data / "brats_tcga_sample"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    store = Brats(str(real_part(root, tmp_path / "one")), str(tmp_path), size=32).prepare()
    np.testing.assert_allclose(store.spacing_mm[0], np.array([75, 80, 70]) / 32)  # the brain fills this part
    share = store.voxels_NK[0] * store.spacing_mm[0].prod()
    np.testing.assert_allclose(share[1:], [2477, 20862, 6840], rtol=0.1)  # voxels of 1 mm³ in the file


def test_a_subject_is_seen_several_times_an_epoch(tmp_path: Path) -> None:
    """Without a patch, whole volumes are drawn `patches_per_volume` times, shuffled, each with its own target."""
    root = write_brats(tmp_path / "a", 2)
    store = source(root, patches_per_volume=3).prepare()
    part = VolumeSet(store, [0, 1], "cpu")
    assert store.input_shape == store.shape
    batches = list(part.batches(4, generator=torch.Generator().manual_seed(0)))
    assert [len(x) for x, _ in batches] == [3, 3]
    x, y = (torch.cat(parts).numpy() for parts in zip(*batches, strict=True))
    whole, targets = store.read([0, 1]), store.targets([0, 1])
    rows = [int(np.flatnonzero([(one == other).all() for other in whole])[0]) for one in x]
    assert sorted(rows) == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(y, targets[rows])
    assert source(root).prepare().patches is None
    how = source(root, modalities=["flair", "t1"]).preparation()
    assert (how["modalities"], how["size"], how["order"]) == (["flair", "t1"], [16, 16, 16], "normalise_first")
