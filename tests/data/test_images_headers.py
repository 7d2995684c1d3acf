"""Headers that state more than a reader takes: units, scales, colours, signs, and data files by content."""

from __future__ import annotations

import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from written_series import scan, series, with_values

from nas.data.io.files import files_of
from nas.data.io.images import read_image, to_array
from nas.errors import NASError


def replaced(path: Path, old: bytes, new: bytes) -> Path:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    return path


def written(path: Path, compressed: bool = False, image: sitk.Image | None = None) -> Path:
    sitk.WriteImage(scan() if image is None else image, str(path), compressed)
    return path


@pytest.mark.parametrize("name", ["a.mha", "a.mhd"])
@pytest.mark.parametrize("damage", ["flip", "cut", "short"])
def test_A9_damaged_compressed_voxels_of_meta_image(tmp_path: Path, name: str, damage: str) -> None:
    path = written(tmp_path / name, compressed=True)
    np.testing.assert_array_equal(to_array(read_image(path)), to_array(scan()))
    data = files_of(path)[-1]
    content = bytearray(data.read_bytes())
    if damage == "flip":
        content[-40] ^= 0xFF
    elif damage == "cut":
        content = content[:-40]
    else:
        replaced(path, b"DimSize = 20 22 8", b"DimSize = 20 22 9")
        content = bytearray(data.read_bytes())
    data.write_bytes(content)
    with pytest.raises(NASError, match="cannot be read"):
        read_image(path)


def test_A9_compressed_voxels_in_the_header_need_their_size(tmp_path: Path) -> None:
    path = written(tmp_path / "a.mha", compressed=True)
    lines = path.read_bytes().split(b"\n", 20)
    path.write_bytes(b"\n".join(line for line in lines if not line.startswith(b"CompressedDataSize")))
    with pytest.raises(NASError, match="CompressedDataSize"):
        read_image(path)


def test_A12_nrrd_in_another_unit_than_mm(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nrrd")
    replaced(path, b"encoding:", b'space units: "mm" "mm" "mm"\nencoding:')
    assert read_image(path).GetSpacing() == scan().GetSpacing()
    replaced(path, b'"mm" "mm" "mm"', b'"um" "um" "um"')
    with pytest.raises(NASError, match='space units "um"'):
        read_image(path)


def test_A12_nifti_without_voxel_size(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.diag([2, 2, 3, 1]))
    image.set_sform(None, 0)
    image.set_qform(np.diag([2, 2, 3, 1]), 1)
    nib.save(image, tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<f", content, 80, 0.0)
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(NASError, match="pixdim 0 x 2 x 3"):
        read_image(tmp_path / "a.nii")


def test_A12_nifti_whose_offset_is_no_number(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4)), tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<f", content, 108, float("nan"))
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(NASError, match="cannot be read"):
        read_image(tmp_path / "a.nii")


def test_A13_colours_of_nrrd(tmp_path: Path) -> None:
    channels = sitk.GetImageFromArray(np.zeros((5, 6, 7, 3), np.uint8), isVector=True)
    path = written(tmp_path / "a.nrrd", image=channels)
    assert to_array(read_image(path)).shape == (3, 5, 6, 7)
    with pytest.raises(NASError, match="colours"):
        read_image(replaced(path, b"kinds: vector", b"kinds: RGB-color"))


def test_A13_meta_image_that_has_to_be_scaled(tmp_path: Path) -> None:
    path = replaced(written(tmp_path / "a.mha"), b"ElementType", b"ElementToIntensityFunctionSlope = 2\nElementType")
    with pytest.raises(NASError, match="ElementToIntensityFunctionSlope=2"):
        read_image(path)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"PixelRepresentation": 5}, "PixelRepresentation"),
        ({"BitsStored": 20}, "BitsStored"),
        ({"BitsStored": 12, "HighBit": 15}, "HighBit"),
    ],
)
def test_A5_bits_that_contradict_each_other(tmp_path: Path, tags: dict[str, int], words: str) -> None:
    with pytest.raises(NASError, match=words):
        read_image(series(tmp_path / "s", with_values(**tags)))


@pytest.mark.parametrize("ending", [".nrrd", ".hdr", ".nii", ".txt", ""])
def test_C4_data_files_are_found_by_content(tmp_path: Path, ending: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    header = written(folder / "a.mhd").read_bytes().replace(b"a.raw", b"../a.raw")
    (tmp_path / "a.raw").write_bytes((folder / "a.raw").read_bytes())
    path = folder / f"b{ending}"
    path.write_bytes(header)
    with pytest.raises(NASError, match="outside its folder"):
        read_image(path)
    path.write_bytes(header.replace(b"../a.raw", b"a.raw"))
    assert files_of(path)[-1] == folder / "a.raw"  # so that the key of the store covers it
