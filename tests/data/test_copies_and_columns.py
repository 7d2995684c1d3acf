"""Manifests and LUNA16: copies, contradicting labels, channels of several files, sizes of objects, paths as labels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from nas.baselines.simple import VOLUME
from nas.data.io.channels import joined, read_volumes
from nas.data.sources.luna16 import Luna16
from nas.data.sources.manifest import Manifest
from nas.data.store import VolumeStore
from nas.data.transforms.preparation import prepared
from nas.errors import NASError
from nas.inference.cases import find_cases
from nas.retraining.seen import Seen
from nas.tasks.classification import Classification
from tests.data.written_brats import source as brats
from tests.data.written_brats import write_subject
from tests.data.written_decathlon import prepared as decathlon
from tests.data.written_decathlon import write_decathlon, write_nifti

SHAPE = (8, 9, 10)


def manifest(folder: Path, lines: list[str], header: str = "path,label,patient", **arguments: Any) -> Manifest:
    (folder / "my.csv").write_text("\n".join([header, *lines]) + "\n")
    return Manifest(str(folder / "my.csv"), str(folder / "cache"), **{"size": 8, **arguments})


def noise(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 100, shape).astype(np.int16)


def refused(source: Manifest, message: str) -> None:
    with pytest.raises(NASError, match=message) as error:
        source.prepare()
    assert "\n" not in str(error.value)
    assert not list(Path(source.cache_dir).glob("*.h5"))


# ---- A18


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    for name, seed in (("a.nii", 0), ("b.nii", 1)):
        write_nifti(tmp_path / name, noise(seed))
    return tmp_path


def copy_of(scans: Path, kind: str) -> str:
    image = sitk.ReadImage(scans / "a.nii")
    if kind == "sub/../a.nii":
        (scans / "sub").mkdir()
        return kind
    if kind == "link.nii":
        os.symlink(scans / "a.nii", scans / kind)
    elif kind == "name.nii":
        (scans / kind).write_bytes((scans / "a.nii").read_bytes())
    elif kind == "type.nii":
        sitk.WriteImage(sitk.Cast(image, sitk.sitkFloat64), scans / kind)
    else:
        sitk.WriteImage(image, scans / kind, useCompression=True)
    return kind


@pytest.mark.parametrize("kind", ["name.nii", "a.nii.gz", "a.nrrd", "a.mha", "type.nii", "link.nii", "sub/../a.nii"])
def test_A18_a_copy_under_another_patient(scans: Path, kind: str) -> None:
    lines = ["a.nii,x,p", "b.nii,y,q", f"{copy_of(scans, kind)},y,r"]
    message = (
        "a.nii twice" if kind in ("link.nii", "sub/../a.nii") else "one volume under two patients: a.nii of p and "
    )
    refused(manifest(scans, lines), message)


@pytest.mark.parametrize("axes", ["RAS", "PIR"])
def test_A18_a_copy_with_other_axes_under_another_patient(scans: Path, axes: str) -> None:
    sitk.WriteImage(sitk.DICOMOrient(sitk.ReadImage(scans / "a.nii"), axes), scans / "turned.nii")
    refused(manifest(scans, ["a.nii,x,p", "b.nii,y,q", "turned.nii,y,r"]), "one volume under two patients: a.nii of p")


def test_A18_one_channel_of_two_patients(scans: Path) -> None:
    write_nifti(scans / "c.nii", noise(2))
    lines, header = ["a.nii,b.nii,x,p", "a.nii,c.nii,y,q"], "path_t1,path_t2,label,patient"
    refused(manifest(scans, lines, header), r"one volume under two patients: .*a\.nii of p and q")
    lines[1] = "a.nii,c.nii,y,p"
    assert len(manifest(scans, lines, header).prepare()) == 2


def test_A18_a_copy_of_one_channel_under_another_patient(scans: Path) -> None:
    for number, name in enumerate(("c.nii", "d.nii"), 2):
        write_nifti(scans / name, noise(number))
    lines, header = ["a.nii,b.nii,x,p", f"{copy_of(scans, 'a.nrrd')},c.nii,y,q"], "path_t1,path_t2,label,patient"
    refused(manifest(scans, lines, header), "one volume under two patients: a.nii of p and a.nrrd of q")
    lines[1] = "c.nii,a.nrrd,y,q"  # under another channel as well
    refused(manifest(scans, lines, header), "one volume under two patients")
    lines[1] = "a.nrrd,c.nii,y,p"
    assert len(manifest(scans, lines, header).prepare()) == 2


def test_A18_patients_may_share_a_mask(scans: Path) -> None:
    mask = (noise(9) > 50).astype(np.int16)
    for name in ("m.nii", "n.nii"):
        write_nifti(scans / name, mask)
    lines = ["a.nii,m.nii,x,p", "b.nii,n.nii,y,q"]
    assert len(manifest(scans, lines, "path_t1,path_mask,label,patient").prepare()) == 2


def test_A18_labels_of_composed_and_decomposed_letters(scans: Path) -> None:
    write_nifti(scans / "c.nii", noise(2))
    lines = ["a.nii,\u00e4,p", "b.nii,b,q", "c.nii,a\u0308,r"]
    refused(manifest(scans, lines), "one spelling of each label")


def test_A18_a_path_that_is_too_long_for_a_name(scans: Path) -> None:
    refused(manifest(scans, ["a.nii,x,p", f"{'b' * 300}.nii,y,q"]), "no file ")


def test_A18_points_of_one_volume_under_two_patients(scans: Path) -> None:
    lines = ["a.nii,x,p,-3,-3,3", "b.nii,y,q,-3,-3,3", f"{copy_of(scans, 'a.nrrd')},y,r,-4,-4,4"]
    refused(manifest(scans, lines, "path,label,patient,x,y,z"), "one volume under two patients")
    lines[2] = "a.nrrd,y,p,-4,-4,4"  # two lesions of one patient
    assert len(manifest(scans, lines, "path,label,patient,x,y,z").prepare()) == 3


def test_A18_one_sample_with_two_labels(scans: Path) -> None:
    lines = ["a.nii,x,p", "b.nii,y,q", f"{copy_of(scans, 'a.nrrd')},y,p"]
    refused(manifest(scans, lines), r"one sample with two labels: a\.nii and a\.nrrd")
    lines[2] = "a.nrrd,x,p"
    assert len(manifest(scans, lines).prepare()) == 3


def test_A18_copies_in_other_data_sets(tmp_path: Path) -> None:
    root = write_decathlon(tmp_path / "boxes", 3)
    image = sitk.ReadImage(root / "imagesTr" / "case_000.nii.gz")
    sitk.WriteImage(sitk.Cast(image, sitk.sitkFloat64), root / "imagesTr" / "case_001.nii.gz")
    (root / "labelsTr" / "case_001.nii.gz").write_bytes((root / "labelsTr" / "case_000.nii.gz").read_bytes())
    with pytest.raises(NASError, match=r"two patients: case_000 of case_000 and case_001 of case_001"):
        decathlon(root)
    write_subject(tmp_path / "brats" / "one", 0)
    write_subject(tmp_path / "brats" / "two", 0)
    with pytest.raises(NASError, match=r"one volume under two patients: one of one and two of two"):
        brats(tmp_path / "brats").prepare()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("0.0", "1.0", "1"), "label '1.0' and '1' in"),
        (("0", "1", "01"), "label '1' and '01' in"),
        (("benign", "malignant", "Benign"), "label 'benign' and 'Benign' in"),
        (("0", "1", "nan"), r"no label in line 4 .*\(nan\)"),
        (("a", "b", "N/A"), r"no label in line 4 .*\(N/A\)"),
    ],
)
def test_A18_labels_of_two_spellings(tmp_path: Path, labels: tuple[str, ...], message: str) -> None:
    for number in range(3):
        np.save(tmp_path / f"{number}.npy", noise(number))
    refused(manifest(tmp_path, [f"{n}.npy,{label},p{n}" for n, label in enumerate(labels)]), message)


def test_A18_patients_of_two_spellings_and_a_column_twice(tmp_path: Path) -> None:
    for number in range(3):
        np.save(tmp_path / f"{number}.npy", noise(number))
    refused(manifest(tmp_path, ["0.npy,a,7", "1.npy,b,8", "2.npy,a,7.0"]), "patient '7' and '7.0'")
    refused(manifest(tmp_path, ["0.npy,a,7", "1.npy,b,nan"]), "no patient in line 3")
    refused(manifest(tmp_path, ["0.npy,a,b,p", "1.npy,b,a,q"], "path,label,label,patient"), "2 columns 'label' in")
    with pytest.raises(NASError, match=r"2 columns 'path'"):
        find_cases([write(tmp_path / "x.csv", "path,path\na.nii,b.nii\n")], 1)
    numbers = manifest(tmp_path, ["0.npy,2.0,p", "1.npy,10.0,q", "2.npy,2.0,r"]).prepare()
    assert numbers.classes == ("2.0", "10.0")  # in the order of the numbers


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def luna16(folder: Path, lines: list[str]) -> Luna16:
    (folder / "subset0").mkdir(exist_ok=True)
    for number, uid in enumerate(("1.2", "1.3")):
        image = sitk.GetImageFromArray(noise(number, (20, 20, 20)) - 1000)
        sitk.WriteImage(image, folder / "subset0" / f"{uid}.mhd")
    header = "seriesuid,coordX,coordY,coordZ,diameter_mm,malignancy"
    write(folder / "labels.csv", "\n".join([header, *lines]) + "\n")
    return Luna16(str(folder), str(folder / "cache"), size=8, annotations="labels.csv")


def test_A18_one_nodule_of_luna16_with_both_labels(tmp_path: Path) -> None:
    lines = ["1.2,8,8,8,5,0", "1.3,8,8,8,5,1", "1.2,8.5,8,9,5,1"]
    with pytest.raises(NASError, match=r"one nodule with two labels: line 2 .* and line 4 .*expected") as error:
        luna16(tmp_path, lines).prepare()
    assert "\n" not in str(error.value)
    assert len(luna16(tmp_path, [*lines[:2], "1.2,14,14,14,5,1"]).prepare()) == 3  # another nodule of the scan
    with pytest.raises(NASError, match=r"malignancy 'nan' in line 3"):
        luna16(tmp_path, [lines[0], "1.3,8,8,8,5,nan"]).prepare()


def test_A18_an_evaluation_knows_a_copy_in_another_format(scans: Path) -> None:
    store = manifest(scans, ["a.nii,x,p", "b.nii,y,q"]).prepare()
    contents = frozenset(content[:16] for content in store.content_digests([0]))
    seen = Seen(frozenset(), contents, frozenset(), frozenset(), True)
    copy = copy_of(scans, "a.nrrd")
    found = {name: seen.has(find_cases([scans / name], 1)[0]) for name in ("a.nii", copy, "b.nii")}
    assert found == {"a.nii": True, copy: True, "b.nii": False}


# ---- A19


@pytest.fixture
def two_channels(tmp_path: Path) -> Path:
    """Two cases; t2 lies on a grid of its own, turned, shifted and coarser, and its values tell where they are."""
    for number in range(2):
        right, front, head = np.indices((12, 14, 10)).astype(np.float32)
        write_nifti(tmp_path / f"t1-{number}.nii.gz", right + 10 * front + 100 * head + number)
        right, front, head = (2 * n - 4 for n in np.indices((11, 12, 10)).astype(np.float32))
        write_nifti(tmp_path / f"t2-{number}.nii.gz", right + 10 * front + 100 * head + number, "LPS", (2, 2, 2), -4.0)
        both = [sitk.ReadImage(tmp_path / f"t1-{number}.nii.gz"), sitk.ReadImage(tmp_path / f"t1-{number}.nii.gz") * 2]
        sitk.WriteImage(sitk.JoinSeries(both), tmp_path / f"both-{number}.nii.gz")
    return tmp_path


COLUMNS = "path_t1,path_t2,label,patient"


def test_A19_channels_of_several_files_lie_on_the_grid_of_the_first(two_channels: Path) -> None:
    paths = [two_channels / "t1-0.nii.gz", two_channels / "t2-0.nii.gz"]
    first, second = np.moveaxis(sitk.GetArrayFromImage(joined(read_volumes(paths))), -1, 0)
    np.testing.assert_allclose(second, first, atol=1e-3)  # one function of the place in the world
    turned = nib.as_closest_canonical(nib.load(paths[0]))
    np.testing.assert_allclose(first.transpose(2, 1, 0), np.asarray(nib.load(paths[0]).dataobj))
    assert nib.aff2axcodes(turned.affine) == ("R", "A", "S")


def test_A19_a_manifest_of_several_columns_and_its_prediction(two_channels: Path) -> None:
    lines = [f"t1-{n}.nii.gz,t2-{n}.nii.gz,{n},p{n}" for n in range(2)]
    source = manifest(two_channels, lines, COLUMNS, window=[0, 2000])
    store = source.prepare()
    assert store.shape == (2, 8, 8, 8)
    assert store.preparation["channels"] == ("t1", "t2")
    volumes = store.read([0])[0].astype(float)
    np.testing.assert_allclose(volumes[0], volumes[1], atol=2)
    turned = write(two_channels / "new.csv", "path_t2,path_t1\nt2-1.nii.gz,t1-1.nii.gz\n")
    (case,) = find_cases([turned], 2, ("t1", "t2"))
    assert [path.name for path in case.paths] == ["t1-1.nii.gz", "t2-1.nii.gz"]  # by name, not by position
    x_CDHW = prepared(case.paths, store.preparation).x_CDHW
    np.testing.assert_allclose(x_CDHW, store.read([1])[0] * np.float32(store.scale), atol=1e-6)
    (case,) = find_cases([turned], 2)
    assert [path.name for path in case.paths] == ["t2-1.nii.gz", "t1-1.nii.gz"]  # nothing is known but their number
    with pytest.raises(NASError, match=r"columns path_t1, path_flair .*expected path_t1, path_t2"):
        find_cases([write(turned, "path_t1,path_flair\na.nii,b.nii\n")], 2, ("t1", "t2"))
    with pytest.raises(NASError, match=r"expected one for each of 3 channels"):
        find_cases([write(turned, "path_t1,path_t2\na.nii,b.nii\n")], 3)


def test_A19_channels_of_a_4d_file(two_channels: Path) -> None:
    store = manifest(two_channels, [f"both-{n}.nii.gz,{n},p{n}" for n in range(2)], window=[0, 4000]).prepare()
    assert store.shape == (2, 8, 8, 8)
    first, second = store.read([1])[0].astype(float)
    np.testing.assert_allclose(second, 2 * first, atol=2)
    stored = np.asarray(nib.load(two_channels / "both-1.nii.gz").dataobj)
    assert stored.shape == (12, 14, 10, 2)
    ready = prepared(two_channels / "both-1.nii.gz", store.preparation)
    np.testing.assert_allclose(ready.x_CDHW, store.read([1])[0] * np.float32(store.scale), atol=1e-6)


@pytest.mark.parametrize(
    ("header", "lines", "message"),
    [
        ("path,path_t1,label,patient", ["a,b,0,p"], "columns path and path_t1"),
        (COLUMNS, ["t1-0.nii.gz,,0,p", "t1-1.nii.gz,t2-1.nii.gz,1,q"], "no path_t2 in line 2"),
        (COLUMNS, ["t1-0.nii.gz,no.nii,0,p", "t1-1.nii.gz,t2-1.nii.gz,1,q"], r"no file .*no\.nii"),
        (COLUMNS, ["t1-0.nii.gz,both-0.nii.gz,0,p", "t1-1.nii.gz,t2-1.nii.gz,1,q"], "3 channels in 2 files"),
        (COLUMNS, ["t1-0.nii.gz,far.nii,0,p", "t1-1.nii.gz,t2-1.nii.gz,1,q"], "far.nii, which covers 0 % of"),
        ("path,label,patient", ["t1-0.nii.gz,0,p", "both-1.nii.gz,1,q"], "shape .2, 8, 8, 8. and type"),
    ],
)
def test_A19_mistakes_in_one_line(two_channels: Path, header: str, lines: list[str], message: str) -> None:
    write_nifti(two_channels / "far.nii", noise(3, (12, 14, 10)), origin=500.0)
    refused(manifest(two_channels, lines, header, window=[0, 2000]), message)


# ---- A20


def balls(folder: Path, count: int = 12) -> list[float]:
    """Balls of growing size whose brightest voxel is far above the rest, so that a half-range threshold misses them."""
    sizes = []
    at = np.stack(np.indices((16, 16, 16)), -1) - 7.5
    for number in range(count):
        mask = np.linalg.norm(at, axis=-1) < 2 + number / 3
        image = 100 * mask + np.random.default_rng(number).normal(0, 5, mask.shape)
        image[8, 8, 8] = 1000
        write_nifti(folder / f"{number}.nii.gz", image.astype(np.float32), mm=(1, 1, 2))
        write_nifti(folder / f"mask{number}.nii.gz", mask.astype(np.uint8) * 3, mm=(1, 1, 2))
        sizes.append(2.0 * mask.sum())
    return sizes


def names(store: VolumeStore) -> list[str]:
    return [one.name for one in Classification().baselines() if one.applies(store)]


def test_A20_no_volume_without_a_size(tmp_path: Path) -> None:
    sizes = balls(tmp_path)
    lines = [f"{n}.nii.gz,{int(n > 5)},p{n}" for n in range(12)]
    plain = manifest(tmp_path, lines, size=16).prepare()
    assert np.isnan(plain.size_mm3).all()
    assert names(plain) == ["features"]
    masks = [f"{line},mask{n}.nii.gz" for n, line in enumerate(lines)]
    store = manifest(tmp_path, masks, "path,label,patient,mask", size=16).prepare()
    np.testing.assert_allclose(store.size_mm3, sizes)
    assert names(store) == ["volume", "features"]
    assert VOLUME.applies(store)
    stated = [f"{line},{size}" for line, size in zip(lines, sizes, strict=True)]
    np.testing.assert_allclose(manifest(tmp_path, stated, "path,label,patient,size_mm3").prepare().size_mm3, sizes)
    stated[3] = lines[3] + ","
    assert names(manifest(tmp_path, stated, "path,label,patient,size_mm3").prepare()) == ["features"]
    stated[3] = lines[3] + ",-4"
    with pytest.raises(NASError, match=r"size_mm3 -4 in line 5"):
        manifest(tmp_path, stated, "path,label,patient,size_mm3").prepare()
    masks[3] = lines[3] + ",none.nii.gz"
    with pytest.raises(NASError, match=r"no file .*none.nii.gz \(line 5"):
        manifest(tmp_path, masks, "path,label,patient,mask").prepare()


def test_A20_images_that_are_masks_state_their_size(tmp_path: Path) -> None:
    balls(tmp_path)
    lines = [f"mask{n}.nii.gz,{int(n > 5)},p{n}" for n in range(12)]
    assert names(manifest(tmp_path, lines, size=16, window=[0, 3], spacing_mm=[2, 1, 1]).prepare())[0] == "volume"


# ---- G19


@pytest.mark.parametrize("label", ["mask0.nii.gz", "masks/missing.nii.gz", "mask0.png"])
def test_G19_paths_of_masks_are_no_classes(scans: Path, label: str) -> None:
    source = manifest(scans, [f"a.nii,{label},p", "b.nii,mask1.nii.gz,q"])
    refused(source, f"the label {label} in line 2 .*, which is a file; expected the name of a class; .*data=msd")


def test_G19_names_with_dots_are_classes(scans: Path) -> None:
    assert manifest(scans, ["a.nii,v1.0,p", "b.nii,G2.5,q"]).prepare().classes == ("G2.5", "v1.0")
