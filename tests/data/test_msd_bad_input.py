"""Decathlon folders that are broken, and settings that do not fit: one line each."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import run_search
from nas.errors import NASError
from tests.commands import Command, refused
from tests.data.written_decathlon import edit_description, prepared, write_decathlon, write_nifti


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_decathlon(tmp_path / "boxes")


def rewrite(folder: Path, which: str, change: Callable[[np.ndarray], np.ndarray], **how: object) -> None:
    path = folder / which / "case_001.nii.gz"
    write_nifti(path, change(np.asarray(nib.load(path).dataobj)), **how)  # type: ignore[arg-type]


def cut_short(folder: Path) -> None:
    path = folder / "imagesTr" / "case_001.nii.gz"
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content)[: len(gzip.compress(content)) // 2])


def with_nan(voxels: np.ndarray) -> np.ndarray:
    changed = voxels.copy()
    changed[1, 2, 3] = np.nan
    return changed


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "a label that is no class": (lambda f: rewrite(f, "labelsTr", lambda v: v + (v == 2)), "label 3 .*case_001"),
    "half a label": (lambda f: rewrite(f, "labelsTr", lambda v: v * np.float32(0.5)), "label 0.5 .*case_001"),
    "other shapes": (lambda f: rewrite(f, "labelsTr", lambda v: v[:-1]), "different shapes.*12 x 16 x 11 and 11 x"),
    "other spacing": (lambda f: rewrite(f, "labelsTr", np.array, mm=(1, 1, 2)), "different spacings"),
    "another place": (lambda f: rewrite(f, "labelsTr", np.array, origin=40.0), "different origins"),
    "no image": (lambda f: (f / "imagesTr/case_001.nii.gz").unlink(), "no file .*imagesTr.case_001"),
    "no label": (lambda f: (f / "labelsTr/case_001.nii.gz").unlink(), "no file .*labelsTr.case_001"),
    "cut short": (cut_short, "case_001.nii.gz, which cannot be read"),
    "no NIfTI": (lambda f: (f / "imagesTr/case_001.nii.gz").write_text("x"), "case_001.nii.gz, which cannot be read"),
    "NaN": (lambda f: rewrite(f, "imagesTr", with_nan), "NaN .*case_001"),
    "one value": (lambda f: rewrite(f, "imagesTr", lambda v: v * 0 + 5), "one value in .*case_001"),
    "more channels": (lambda f: rewrite(f, "imagesTr", lambda v: np.stack([v, v], -1)), "2 channels .*1, as"),
    "labels of channels": (
        lambda f: rewrite(f, "labelsTr", lambda v: np.stack([v, v], -1)),
        "2 channels in .*labelsTr",
    ),
    "no dataset.json": (lambda f: (f / "dataset.json").unlink(), "no file .*dataset.json"),
    "no JSON": (lambda f: (f / "dataset.json").write_text("{"), "dataset.json, which cannot be read"),
    "no labels": (lambda f: edit_description(f, labels=None), "without labels"),
    "no modality, no training": (lambda f: edit_description(f, modality=None, training=None), "modality, training"),
    "labels with a gap": (lambda f: edit_description(f, labels={"0": "air", "2": "bone"}), "numbered from 0"),
    "labels by name": (lambda f: edit_description(f, labels={"background": 0, "bone": 1}), "numbered from 0"),
    "a list of names": (lambda f: edit_description(f, training=["case_001"]), "training list without image"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_folders_in_one_line(folder: Path, name: str) -> None:
    spoil, message = BAD[name]
    spoil(folder)
    with pytest.raises(NASError, match=message) as error:
        prepared(folder)
    assert "\n" not in str(error.value)
    assert not list(folder.glob("cache/*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"normalise": "none"}, "normalise=none"),
        ({"spacing_mm": [1, 2]}, "three"),
        ({"patch": [8, 8]}, "patch=.8, 8."),
        ({"patch": 0}, "at least 1 voxel"),
        ({"patch": 8, "patches_per_volume": 0}, "a whole number from 1 to"),
        ({"patch": [8, 64, 8]}, r"patches of \[8, 64, 8\] voxels from volumes of \[16, 32, 16\]"),
    ],
)
def test_bad_settings_in_one_line(folder: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(NASError, match=message):
        prepared(folder, **arguments)


def test_a_patch_that_the_networks_cannot_halve_is_refused(command: Command, folder: Path) -> None:
    words = ["experiment=unet_hippocampus", f"data.root={folder}", "data.crop=[12,12,12]", "split.folds=3"]
    refused(command(run_search.main, *words), "12x12x12", "multiples of 8")
