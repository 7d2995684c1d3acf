"""Numbers of classes in label maps: nearly whole numbers, and the conventions of BraTS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from experiments.brain_tumor.config import Convention
from experiments.brain_tumor.network import TumourNetwork
from nas.data.io.brats_folder import CONVENTIONS, convention_of, find_subjects
from nas.data.io.label_values import object_mm3, read_label_map, whole_labels
from nas.data.sources.brats import MODALITIES
from nas.errors import NASError
from nas.inference.cases import Case
from nas.inference.many import Outcome
from nas.retraining.evaluation import evaluate_cases
from nas.tasks.segmentation import Segmentation
from tests.data.written_brats import source, write_subject
from tests.data.written_decathlon import SIDES_RAS, case, prepared, write_decathlon, write_nifti

# ---- A11


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float32, np.float64, ">f4"])
def test_A11_every_type_gives_the_numbers_that_nibabel_reads(tmp_path: Path, dtype: str) -> None:
    label = np.random.default_rng(0).integers(0, 4, (6, 7, 8)).astype(dtype)
    nib.save(nib.Nifti1Image(label, np.eye(4), dtype=label.dtype), tmp_path / "a.nii.gz")
    found = sitk.GetArrayFromImage(read_label_map(tmp_path / "a.nii.gz"))
    assert found.dtype.kind in "iu"
    np.testing.assert_array_equal(found.T, np.asarray(nib.load(tmp_path / "a.nii.gz").dataobj).astype(int))


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_A11_nearly_whole_labels(tmp_path: Path, ending: str) -> None:
    label = case(SIDES_RAS)[1].astype(np.float32)
    image = sitk.GetImageFromArray(label * np.float32(0.9999999))
    sitk.WriteImage(image, tmp_path / f"a{ending}")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_label_map(tmp_path / f"a{ending}")), label)
    sitk.WriteImage(image + 0.002, tmp_path / f"b{ending}")
    with pytest.raises(NASError, match=rf"label 0\.00[0-9]+ in .*b\{ending}; expected whole numbers"):
        read_label_map(tmp_path / f"b{ending}")


def test_A11_nearly_whole_labels_of_a_scaled_file_in_data_sets(tmp_path: Path) -> None:
    """A slope of 1/255 in the header, as programs write that store labels as fractions of a byte."""
    root = write_decathlon(tmp_path / "boxes", 3)
    path = root / "labelsTr" / "case_001.nii.gz"
    stored = nib.load(path)
    before = prepared(root).targets([0, 1, 2])
    scaled = nib.Nifti1Image((np.asarray(stored.dataobj) * 100).astype(np.uint8), stored.affine)
    scaled.header.set_slope_inter(0.0099999998, 0)
    nib.save(scaled, path)
    assert (np.asarray(nib.load(path).dataobj) % 1).any()
    np.testing.assert_array_equal(prepared(root).targets([0, 1, 2]), before)

    subject = write_subject(tmp_path / "brats" / "one")
    seg = nib.load(subject / "one_seg.nii.gz")
    exact = source(tmp_path / "brats").prepare().targets([0])
    nib.save(nib.Nifti1Image(np.asarray(seg.dataobj) * np.float32(0.9999999), seg.affine), subject / "one_seg.nii.gz")
    np.testing.assert_array_equal(source(tmp_path / "brats").prepare().targets([0]), exact)


@pytest.mark.parametrize("ending", [".nii.gz", ".npy"])
def test_A11_nearly_whole_labels_in_an_evaluation(tmp_path: Path, ending: str) -> None:
    label = case(SIDES_RAS)[1]
    for name, array in (("guess", label), ("truth", label * np.float32(0.9999999))):
        if ending == ".npy":
            np.save(tmp_path / f"{name}.npy", array)
        else:
            write_nifti(tmp_path / f"{name}.nii.gz", array)
    one = Case("a", (tmp_path / f"guess{ending}",), label=str(tmp_path / f"truth{ending}"), patient="p")
    outcome = Outcome(one, tmp_path / f"guess{ending}", {"shares": {}}, None, 0.0)
    found = evaluate_cases(Segmentation(outputs=3), [outcome], [False], ("air", "front", "back"), 2)
    assert found.values["dice"] == pytest.approx(1)


def test_A11_what_is_no_class_is_refused() -> None:
    for values, shown in ((np.array([0.5]), "0.5"), (np.array([np.nan, 1]), "nan"), (np.array([3e9]), "3e")):
        with pytest.raises(NASError, match=f"the label {shown}.* in here.nii"):
            whole_labels(values, Path("here.nii"))
    with pytest.raises(NASError, match=r"labels of type complex"):
        whole_labels(np.array([1j]), Path("here.nii"))


def test_A20_the_object_nearest_to_the_point_is_measured(tmp_path: Path) -> None:
    mask = np.zeros((20, 20, 10), dtype=np.uint8)
    mask[2:5, 2:5, 2:5], mask[12:18, 12:18, 2:8] = 1, 2
    write_nifti(tmp_path / "m.nii.gz", mask, mm=(0.5, 0.5, 2))
    assert object_mm3(tmp_path / "m.nii.gz") == pytest.approx((27 + 216) * 0.5)
    # world of ITK: x and y are negative in this RAS file
    assert object_mm3(tmp_path / "m.nii.gz", (-1.5, -1.5, 6)) == pytest.approx(27 * 0.5)
    assert object_mm3(tmp_path / "m.nii.gz", (-7, -7, 8)) == pytest.approx(216 * 0.5)
    write_nifti(tmp_path / "empty.nii.gz", mask * 0)
    with pytest.raises(NASError, match=r"nothing but 0"):
        object_mm3(tmp_path / "empty.nii.gz")


# ---- A17

Change = Callable[[np.ndarray], np.ndarray]


def brats_2023(folder: Path, change: Change) -> Path:
    """A subject with the names of the files of 2023 and later."""
    write_subject(folder)
    for old, new in (("t1", "t1n"), ("t1ce", "t1c"), ("t2", "t2w"), ("flair", "t2f"), ("seg", "seg")):
        stored = nib.load(folder / f"{folder.name}_{old}.nii.gz")
        array = np.asarray(stored.dataobj)
        (folder / f"{folder.name}_{old}.nii.gz").unlink()
        nib.save(
            nib.Nifti1Image(change(array) if old == "seg" else array, stored.affine),
            folder / f"{folder.name}-{new}.nii.gz",
        )
    return folder


def enhancing_is_3(label: np.ndarray) -> np.ndarray:
    return np.where(label == 4, 3, label)


def with_cavity(label: np.ndarray) -> np.ndarray:
    """As in 2024: 3 enhancing, and 4 the cavity in a corner of the tumour."""
    changed = enhancing_is_3(label)
    changed[tuple(np.argwhere(changed == 2)[:20].T)] = 4
    return changed


def test_A17_the_numbers_of_each_year(tmp_path: Path) -> None:
    write_subject(tmp_path / "old" / "one")
    first = source(tmp_path / "old").prepare()
    assert first.provenance["convention"] == first.preparation["labels"] == "brats2018"
    brats_2023(tmp_path / "new" / "one", enhancing_is_3)
    second = source(tmp_path / "new", labels="brats2023").prepare()
    np.testing.assert_array_equal(second.targets([0]), first.targets([0]))  # 3 is the enhancing tumour, as 4 was
    brats_2023(tmp_path / "newest" / "one", with_cavity)
    third = source(tmp_path / "newest", labels="brats2024").prepare()
    assert third.classes == (*first.classes, "resection cavity")
    assert third.voxels_NK[0, 4] > 0
    assert third.voxels_NK[0, 3] == first.voxels_NK[0, 3]  # the cavity is no enhancing tumour
    assert source(tmp_path / "newest").prepare().classes == third.classes  # 3 and 4 fit brats2024 only


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (enhancing_is_3, r"label 3 in .*-seg.*several possible conventions.*brats2023 .*brats2024 "),
        (lambda label: label, r"label 4 in .*several possible conventions.*brats2018 .*brats2024 "),
        (lambda label: label * (label < 3), r"labels 0, 1, 2 in .*several possible"),
        (lambda label: np.where(label == 4, 7, label).astype(np.uint8), r"label 7 in .*no known convention"),
    ],
)
def test_A17_without_the_setting_a_subject_of_no_or_several_conventions_is_refused(
    tmp_path: Path, change: Change, message: str
) -> None:
    brats_2023(tmp_path / "a" / "one", change)
    with pytest.raises(NASError, match=f"{message}.*fix: data.labels=brats2018") as error:
        source(tmp_path / "a").prepare()
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("cache/*"))


def test_A17_one_convention_for_all_subjects(tmp_path: Path) -> None:
    write_subject(tmp_path / "a" / "one", 1)
    brats_2023(tmp_path / "a" / "two", with_cavity)
    with pytest.raises(NASError, match=r"labels of brats2018 in .*one_seg.* and of brats2024 in .*two-seg"):
        source(tmp_path / "a").prepare()
    with pytest.raises(NASError, match=r"label 3 in .*two-seg.*brats2018 \(1 necrosis, 2 oedema, 4 enhancing"):
        source(tmp_path / "a", labels="brats2018").prepare()
    with pytest.raises(NASError, match=r"data.labels=brats2025"):
        source(tmp_path / "a", labels="brats2025")


def test_A17_the_network_decides_where_files_leave_a_choice(tmp_path: Path) -> None:
    """Except that of brats2018, whose label 4 may be a cavity."""
    brats_2023(tmp_path / "a" / "one", enhancing_is_3)
    subjects = find_subjects(tmp_path / "a", MODALITIES)
    for name in ("brats2023", "brats2024"):
        network = TumourNetwork(bundle=None, source=source(tmp_path / "a", labels=name))  # type: ignore[arg-type]
        assert network.convention_of(subjects, None) == CONVENTIONS[name]
        assert network.convention_of(subjects, "brats2018").name == "brats2018"
    brats_2023(tmp_path / "b" / "two", lambda label: label)
    first = TumourNetwork(bundle=None, source=source(tmp_path / "a", labels="brats2018"))  # type: ignore[arg-type]
    with pytest.raises(NASError, match=r"several"):
        first.convention_of(find_subjects(tmp_path / "b", MODALITIES), None)
    write_subject(tmp_path / "c" / "three")
    assert convention_of(find_subjects(tmp_path / "c", MODALITIES), prefer="brats2024").name == "brats2018"


def test_A17_the_command_knows_every_convention() -> None:
    assert get_args(Convention) == tuple(CONVENTIONS)
