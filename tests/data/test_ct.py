"""Reading a CT: what is no CT, or no whole one, is refused in one line that names what is wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.encaps import encapsulate
from pydicom.uid import HTJ2KLossless, RLELossless
from written_scans import ball, write_dicom

from nas.data.io.ct import read_ct
from nas.data.io.dicom import open_series
from nas.data.io.images import to_array
from nas.errors import NASError


def scan() -> sitk.Image:
    """HU from -1000 to 120."""
    image, _ = ball(size=(20, 22, 8), spacing=(1.0, 1.0, 2.5), index=(10, 10, 4), radius_mm=4.0)
    image[0, 0, 0] = -1000
    return image


def changed(folder: Path, change: Callable[[pydicom.Dataset], None]) -> None:
    for path in folder.iterdir():
        slice_ = pydicom.dcmread(path)
        change(slice_)
        slice_.save_as(path)


def compressed_as_unknown(slice_: pydicom.Dataset) -> None:
    slice_.file_meta.TransferSyntaxUID = HTJ2KLossless
    slice_.PixelData = encapsulate([b"\xff\x4f\xff\x51"])


def lose_a_slice(folder: Path) -> None:
    Path(open_series(folder).files[3]).unlink()


def copy_a_slice(folder: Path) -> None:
    shutil.copy(open_series(folder).files[3], folder / "copy.dcm")


def add_a_series(folder: Path) -> None:
    for path in list(folder.iterdir()):
        path.rename(folder / f"first-{path.name}")
    write_dicom(folder, scan())


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lose_a_slice, r"5\.00 mm between .* whose slices are 2\.50 mm apart.*missing slices"),
        (copy_a_slice, r"1 slices that are there twice .* such as .*\.dcm and .*\.dcm.*remove the copies"),
        (add_a_series, "2 series in .*8 files of .*a folder of its own"),
        (lambda folder: changed(folder, lambda s: setattr(s, "Modality", "MR")), "the modality MR"),
        (lambda folder: changed(folder, compressed_as_unknown), "High-Throughput JPEG 2000.*decompress them"),
    ],
    ids=["missing", "doubled", "mixed", "modality", "compression"],
)
def test_a_spoilt_series(tmp_path: Path, spoil: Callable[[Path], None], words: str) -> None:
    folder = tmp_path / "ct"
    write_dicom(folder, scan())
    spoil(folder)
    with pytest.raises(NASError, match=words) as caught:
        read_ct(folder)
    assert "\n" not in str(caught.value)


def test_a_compression_that_can_be_decoded_gives_the_same_values(tmp_path: Path) -> None:
    image = scan()
    write_dicom(tmp_path, image)
    changed(tmp_path, lambda slice_: slice_.compress(RLELossless, generate_instance_uid=False))
    np.testing.assert_array_equal(to_array(read_ct(tmp_path)), to_array(image))


def test_values_that_are_no_hu(tmp_path: Path) -> None:
    sitk.WriteImage(scan() + 1024, tmp_path / "offset.nii.gz")
    with pytest.raises(NASError, match="a CT in HU"):
        read_ct(tmp_path / "offset.nii.gz")
    sitk.WriteImage(sitk.Compose(scan(), scan()), tmp_path / "two.nrrd")
    with pytest.raises(NASError, match="2 channels"):
        read_ct(tmp_path / "two.nrrd")


def test_a_real_mri_is_no_ct(shared_data: Path) -> None:
    with pytest.raises(NASError, match="a CT in HU"):
        read_ct(shared_data / "Task04_Hippocampus" / "imagesTr" / "hippocampus_001.nii.gz")
