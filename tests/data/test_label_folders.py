"""Folders of nnU-Net (versions 1 and 2) and of KiTS, and names of cases that lie in folders of their own."""

from __future__ import annotations

import codecs
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nas.data.io.files import differing_parts
from nas.errors import NASError
from nas.inference.cases import find_cases
from nas.inference.labelled import find_labelled
from tests.data.written_decathlon import edit_description, prepared, write_decathlon

CLASSES = ("background", "front", "back")
V2 = {
    "channel_names": {"0": "MRI"},
    "labels": {"background": 0, "front": 1, "back": 2},
    "file_ending": ".nii.gz",
    "numTraining": 6,
}


def nnunet(root: Path, version: int = 2, channels: int = 1) -> Path:
    """The folder of `write_decathlon` with the file names of nnU-Net."""
    write_decathlon(root)
    for path in sorted((root / "imagesTr").iterdir()):
        stem = path.name.removesuffix(".nii.gz")
        for number in range(channels):
            shutil.copy(path, path.with_name(f"{stem}_{number:04d}.nii.gz"))
        path.unlink()
    names = {str(number): f"m{number}" for number in range(channels)} if channels > 1 else {"0": "MRI"}
    if version == 2:
        (root / "dataset.json").write_text(json.dumps(V2 | {"channel_names": names}))
    else:
        edit_description(root, modality=names)
    return root


def kits(root: Path, count: int = 6, more: int = 0) -> Path:
    """`count` cases in folders of their own, and `more` without a segmentation, as the test cases of KiTS19."""
    write_decathlon(root.with_name("boxes"), count + more)
    for number in range(count + more):
        folder = root / f"case_{number:05d}"
        folder.mkdir(parents=True)
        for kind, name in (("imagesTr", "imaging"), ("labelsTr", "segmentation")):
            if number < count or kind == "imagesTr":
                shutil.copy(root.with_name("boxes") / kind / f"case_{number:03d}.nii.gz", folder / f"{name}.nii.gz")
    return root


@pytest.mark.parametrize("version", [1, 2])
def test_A16_folders_of_nnunet_are_those_of_the_decathlon(tmp_path: Path, version: int) -> None:
    plain = prepared(write_decathlon(tmp_path / "plain"))
    found = prepared(nnunet(tmp_path / "nnunet", version))
    assert found.classes == CLASSES
    assert found.groups.tolist() == found.names.tolist() == plain.names.tolist()
    np.testing.assert_array_equal(found.read(range(6)), plain.read(range(6)))
    np.testing.assert_array_equal(found.targets(range(6)), plain.targets(range(6)))


def test_A16_channels_in_files_of_their_own(tmp_path: Path) -> None:
    root = nnunet(tmp_path / "two", channels=2)
    store = prepared(root)
    assert store.shape[0] == 2
    assert store.preparation["channels"] == ("m0", "m1")
    cases = find_cases([root / "imagesTr"], 2)
    assert [case.name for case in cases] == store.names.tolist()
    assert all(len(case.paths) == 2 for case in cases)
    # a prediction is given the digest of the same files
    assert len(store.content_digests(range(6))) == 12  # of files and of voxels


@pytest.mark.parametrize("mark", [codecs.BOM_UTF8, codecs.BOM_UTF16_LE])
def test_A16_a_byte_order_mark(tmp_path: Path, mark: bytes) -> None:
    root = write_decathlon(tmp_path / "boxes", 3)
    text = (root / "dataset.json").read_text()
    encoding = "utf-8" if mark == codecs.BOM_UTF8 else "utf-16-le"
    (root / "dataset.json").write_bytes(mark + text.encode(encoding))
    assert prepared(root).classes == CLASSES
    assert len(find_labelled(root, 1, "segmentation", CLASSES)) == 3


def test_A16_folders_of_kits(tmp_path: Path) -> None:
    root = kits(tmp_path / "kits", more=2)
    scans = find_cases([root], 1)
    assert [case.name for case in scans] == [f"case_{n:05d}/imaging" for n in range(8)]  # no segmentation among them
    store = prepared(root)
    assert store.classes == ("background", "kidney", "tumour")
    assert store.groups.tolist() == store.names.tolist() == [f"case_{n:05d}" for n in range(6)]
    assert store.by_training  # it is CT
    assert [c.patient for c in find_labelled(root, 1, "segmentation", store.classes)] == store.groups.tolist()
    with pytest.raises(NASError, match=r"label 2 in .*segmentation.*data.class_names names them"):
        prepared(root, class_names=["background", "kidney"])
    assert prepared(root, class_names=["background", "kidney", "tumour", "cyst"]).classes[3] == "cyst"
    with pytest.raises(NASError, match=r"data.class_names for .*dataset.json"):
        prepared(tmp_path / "boxes", class_names=["background", "kidney"])


def test_A16_a_list_of_files_of_one_name_has_a_patient_for_each(tmp_path: Path) -> None:
    root = kits(tmp_path / "kits")
    names = sorted(folder.name for folder in root.iterdir())
    entries = [{"image": f"./{name}/imaging.nii.gz", "label": f"./{name}/segmentation.nii.gz"} for name in names]
    content = {"modality": {"0": "MRI"}, "labels": {"0": "a", "1": "b", "2": "c"}, "training": entries}
    (root / "dataset.json").write_text(json.dumps(content))
    store = prepared(root)
    assert store.groups.tolist() == [f"case_{n:05d}" for n in range(6)]
    assert [c.patient for c in find_labelled(root, 1, "segmentation", CLASSES)] == store.groups.tolist()


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/x.nii.gz", "a/y.nii"], ["x", "y"]),
        (["a/1/imaging.nii.gz", "a/2/imaging.nii.gz"], ["1", "2"]),
        (["1/ct/imaging.nii", "2/ct/imaging.nii"], ["1", "2"]),
        (["s/1/a.nii", "s/1/b.nii", "s/2/a.nii"], ["1/a", "1/b", "2/a"]),
        (["s1.v2.nii", "s1.v3.nii"], ["s1.v2", "s1.v3"]),
        (["a.nii", "a.nii", "b.nii"], ["a", "a", "b"]),
        (["imaging.nii.gz"], ["imaging"]),
        ([], []),
    ],
)
def test_A16_the_part_of_the_path_that_differs(paths: list[str], names: list[str]) -> None:
    assert differing_parts(paths) == names


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "regions": (
        lambda f: edit_description(f, labels={"background": 0, "whole": [1, 2], "core": [2]}),
        r"region whole=\[1, 2\].*exclude each other",
    ),
    "ignored": (lambda f: edit_description(f, labels={**V2["labels"], "ignore": 3}), "label ignore=3"),
    "a gap": (lambda f: edit_description(f, labels={"background": 0, "front": 1, "back": 3}), "numbered from 0"),
    "one name twice": (lambda f: edit_description(f, labels={"background": 0, "front": 1, "b": 1}), "numbered from 0"),
    "a class less": (lambda f: edit_description(f, labels={"background": 0, "front": 1}), "label 2 in .*labelsTr"),
    "no ending": (lambda f: edit_description(f, file_ending=None), "without file_ending"),
    "pictures": (lambda f: edit_description(f, file_ending=".png"), "file_ending .png"),
    "a case less": (lambda f: (f / "imagesTr/case_001_0000.nii.gz").unlink(), "case_001.nii.gz without an image"),
    "a label less": (lambda f: (f / "labelsTr/case_001.nii.gz").unlink(), "no file .*labelsTr/case_001"),
    "a channel less": (lambda f: edit_description(f, channel_names={"0": "a", "1": "b"}), "no file .*case_000_0001"),
    "a channel more": (
        lambda f: shutil.copy(f / "imagesTr/case_001_0000.nii.gz", f / "imagesTr/case_001_0001.nii.gz"),
        "case_001_0001.nii.gz; expected <case>_0000",
    ),
    "another number": (lambda f: edit_description(f, numTraining=7), "6 cases in .*; expected 7"),
    "no images": (lambda f: shutil.rmtree(f / "imagesTr"), "no folder .*imagesTr"),
}


@pytest.mark.parametrize("name", BAD)
def test_A16_bad_folders_of_nnunet_in_one_line(tmp_path: Path, name: str) -> None:
    spoil, message = BAD[name]
    root = nnunet(tmp_path / "a")
    spoil(root)
    with pytest.raises(NASError, match=message) as error:
        prepared(root)
    assert "\n" not in str(error.value)
    assert not list(root.glob("cache/*"))
