"""Files that a header names, and the code that reads images, are part of the identity of stores and predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from written_decathlon import write_decathlon
from written_series import scan, series

from nas.data import identity
from nas.data.io.files import files_of, named_files
from nas.data.sources.manifest import Manifest
from nas.data.sources.msd import Msd
from nas.inference.record import READERS, model_digest, volume_digest


def header_and_data(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a header whose data file has a name and a folder of its own."""
    folder.mkdir()
    sitk.WriteImage(scan(), str(folder / f"a{Path(name).suffix.lower()}"))
    header = folder / name
    (folder / f"a{Path(name).suffix.lower()}").rename(header)
    data = next(path for path in folder.iterdir() if path != header)
    (folder / "values").mkdir()
    moved = data.rename(folder / "values" / "voxels.bin")
    header.write_bytes(header.read_bytes().replace(data.name.encode(), b"values/voxels.bin"))
    return header, moved


def changed(data: Path) -> None:
    content = bytearray(data.read_bytes())
    content[50] ^= 1
    data.write_bytes(content)


@pytest.mark.parametrize("name", ["scan.mhd", "scan.MHD", "scan.nhdr", "scan.NHDR"])
def test_G3_data_files_with_names_of_their_own(tmp_path: Path, name: str) -> None:
    header, data = header_and_data(tmp_path / "a", name)
    assert files_of(header) == [header, data]
    (tmp_path / "my.csv").write_text(f"path,label,patient\n{header},a,1\n")
    source = Manifest(str(tmp_path / "my.csv"), str(tmp_path / "cache"))
    first, digest = source.store_path(), volume_digest(header)
    changed(data)
    assert Manifest(str(tmp_path / "my.csv"), str(tmp_path / "cache")).store_path() != first
    assert volume_digest(header) != digest


@pytest.mark.parametrize("ending", ["hdr", "HDR"])
def test_G3_pairs(tmp_path: Path, ending: str) -> None:
    sitk.WriteImage(scan(), str(tmp_path / "a.hdr"))
    for path in list(tmp_path.iterdir()):
        path.rename(path.with_suffix(path.suffix.upper() if ending.isupper() else path.suffix))
    header, data = (tmp_path / f"a.{ending}", tmp_path / f"a.{'IMG' if ending.isupper() else 'img'}")
    digest = volume_digest(header)
    assert files_of(header) == [header, data]
    assert sorted(files_of(data)) == sorted(files_of(header))
    changed(data)
    assert volume_digest(header) != digest


def test_G3_files_of_one_name_in_several_folders(tmp_path: Path) -> None:
    slices = [tmp_path / folder / "slice.raw" for folder in ("1", "2")]
    for path in slices:
        path.parent.mkdir()
        path.write_bytes(bytes(8))
    header = tmp_path / "a.mhd"
    header.write_text("NDims = 3\nElementDataFile = LIST\n1/slice.raw\n2/slice.raw\n")
    assert list(named_files([("volume", header)]).values()) == [header, *slices]


def test_G3_a_data_set_with_headers_counts_their_data(tmp_path: Path) -> None:
    """The sources that list image files without looking into them."""
    root = write_decathlon(tmp_path, count=2)
    sources = []
    for number in range(2):
        header, data = header_and_data(root / f"imagesTr/{number}", "scan.mhd")
        text = (root / "dataset.json").read_text()
        name = f"./imagesTr/case_{number:03d}.nii.gz"
        (root / "dataset.json").write_text(text.replace(name, f"./imagesTr/{number}/{header.name}"))
        sources.append(data)
    first = Msd(str(root), str(tmp_path / "cache")).store_path()
    changed(sources[1])
    assert Msd(str(root), str(tmp_path / "cache")).store_path() != first


def test_G3_every_slice_of_a_series(tmp_path: Path) -> None:
    digest = volume_digest(series(tmp_path / "a"))
    path = sorted((tmp_path / "a").iterdir())[4]
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    assert volume_digest(tmp_path / "a") != digest


def test_G3_the_code_of_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another code of any reader below the preparation gives another store and other predictions."""
    found = identity._code_of(READERS, (identity.CODE,))
    names = {
        "nifti",
        "dicom",
        "dicom_header",
        "tilt",
        "geometry",
        "itk_files",
        "arrays",
        "formats",
        "grid",
        "label_files",
    }
    assert {f"nas.data.io.{name}" for name in names} <= set(found)
    assert "nas.data.io.tilt" in identity._code_of([Manifest.__module__], (identity.CODE,))
    before = model_digest([])
    monkeypatch.setattr("nas.inference.record.code_digest", lambda *modules: "changed")
    assert model_digest([]) != before
    assert np.unique([before, model_digest([])]).size == 2
