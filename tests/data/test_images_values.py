"""Values and formats of images, line by line of the list of faults: right, or refused in one line with tag and file."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import generate_uid
from written_decathlon import prepared as decathlon_store
from written_decathlon import write_decathlon
from written_scans import write_dicom
from written_series import Change, scan, series, strip_preamble, text, with_values, without

from experiments.lung_screening.scan import Scan
from nas.data.io.ct import read_ct
from nas.data.io.dicom import find_series, open_series
from nas.data.io.dicom_header import SOP_CLASSES, STORAGE
from nas.data.io.images import read_channels, read_image, read_volume, to_array
from nas.data.io.npz import read_npz
from nas.data.source import Source
from nas.data.sources.lidc_dicom import LidcDicom
from nas.data.sources.lung_pet_ct_dx import LungPetCtDx
from nas.data.sources.manifest import Manifest
from nas.data.sources.prepared import PreparedStore
from nas.data.transforms.preparation import prepared
from nas.errors import NASError

CROP = {"how": "crop", "size": (4, 4, 4), "spacing_mm": (1, 1, 1), "window": (-1000, 400), "percentiles": (1, 99)}
GRID = {"how": "grid", "spacing_mm": None, "normalise": "volume", "hounsfield": False}
READERS: dict[str, Callable[[Path], object]] = {
    "read_image": read_image,
    "series, as lidc_dicom and the detector": lambda path: open_series(path).read(keep_pixels=True),
    "screening": Scan.read,
    "predict, crops": lambda path: prepared(path, CROP),
    "predict, volumes": lambda path: prepared(path, GRID),
    "predict, two channels": lambda path: prepared([path, path], CROP),
    "manifest": lambda path: list(manifest(path).samples()),
}


def manifest(path: Path, **arguments: object) -> Manifest:
    csv = path.parent / f"{path.name}.csv"
    np.save(path.parent / "other.npy", np.arange(64.0).reshape(4, 4, 4))
    csv.write_text(f"path,label,patient\n{path.name},a,1\nother.npy,b,2\n")
    return Manifest(str(csv), str(path.parent / "cache"), size=4, **arguments)  # type: ignore[arg-type]


def one_line(error: pytest.ExceptionInfo[NASError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("implicit", [True, False])
def test_A3_files_without_preamble(tmp_path: Path, implicit: bool) -> None:
    strip_preamble(series(tmp_path), implicit)
    np.testing.assert_array_equal(to_array(read_image(tmp_path)), to_array(scan()))
    assert list(find_series(tmp_path).values()) == [tmp_path]


@pytest.mark.parametrize("kept", [0, 1, 130, 200, 500, -1])
def test_A3_a_file_that_cannot_be_read_is_named(tmp_path: Path, kept: int) -> None:
    series(tmp_path)
    path = tmp_path / "007.dcm"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(NASError, match=r"007\.dcm") as error:
        read_image(tmp_path)
    one_line(error)


def test_A3_other_files_beside_the_slices(tmp_path: Path) -> None:
    series(tmp_path)
    for name in ("notes.txt", "a.xml", ".hidden", "README", "DICOMDIR", "b.JSON"):
        (tmp_path / name).write_text("text")
    assert read_image(tmp_path).GetSize() == (20, 22, 8)
    for name in ("1.2.840.5", "slice", "page.dcm", "009.dcm.gz"):
        (tmp_path / name).write_text("<html>not found</html>")
        with pytest.raises(NASError, match=name):
            read_image(tmp_path)
        (tmp_path / name).unlink()


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("lost", [("RescaleSlope", "RescaleIntercept"), ("RescaleIntercept",)])
def test_A4_ct_without_rescale_is_refused_by_every_reader(tmp_path: Path, reader: str, lost: tuple[str, ...]) -> None:
    folder = series(tmp_path / "ct", without(*lost), only=5)  # one slice is enough
    with pytest.raises(NASError, match=r"RescaleSlope.*\.dcm.*values_in_hu") as error:
        READERS[reader](folder)
    one_line(error)


def test_A4_pet_without_rescale_is_refused_and_mr_is_not(tmp_path: Path) -> None:
    for modality, end in (("PT", "128"), ("MR", "4")):
        folder = series(tmp_path / modality, without("RescaleSlope", "RescaleIntercept"))
        for path in folder.iterdir():
            slice_ = pydicom.dcmread(path)
            slice_.Modality, slice_.SOPClassUID = modality, f"{STORAGE}.{end}"
            slice_.save_as(path)
    with pytest.raises(NASError, match="activity"):
        read_image(tmp_path / "PT")
    assert read_image(tmp_path / "PT", values_in_hu=True).GetSize() == (20, 22, 8)
    assert read_image(tmp_path / "MR").GetSize() == (20, 22, 8)
    series(tmp_path / "as MR", with_values(Modality="MR"))
    for path in (tmp_path / "as MR").iterdir():
        slice_ = pydicom.dcmread(path)
        del slice_.RescaleSlope
        slice_.save_as(path)
    with pytest.raises(NASError, match="RescaleSlope"):  # the kind of object is CT
        read_image(tmp_path / "as MR")


def test_A4_values_that_are_hu_already(tmp_path: Path) -> None:
    folder = tmp_path / "ct"
    write_dicom(folder, scan(), slope=1, intercept=0, dtype=np.int16)
    for path in folder.iterdir():
        slice_ = pydicom.dcmread(path)
        del slice_.RescaleSlope, slice_.RescaleIntercept
        slice_.save_as(path)
    np.testing.assert_array_equal(to_array(read_image(folder, values_in_hu=True)), to_array(scan()))
    assert read_volume(folder, values_in_hu=True).unit == "HU"
    assert read_ct(folder, values_in_hu=True).GetSize() == Scan.read(folder, values_in_hu=True).image.GetSize()
    stated = prepared(folder, {**CROP, "values_in_hu": True}).x_CDHW
    sample = next(iter(manifest(folder, values_in_hu=True, window=[-1000, 400]).samples()))
    np.testing.assert_array_equal(sample.volume_CDHW, stated)


@pytest.mark.parametrize("source", [Manifest, LidcDicom, LungPetCtDx])
def test_A4_the_setting_is_part_of_the_identity_and_of_the_spec(source: type[Source]) -> None:
    for stated in (True, False):
        made = source(None, values_in_hu=stated)  # type: ignore[call-arg]
        assert made.arguments()["values_in_hu"] is stated
        assert made.preparation()["values_in_hu"] is stated


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (text("RescaleSlope", b""), "RescaleSlope=empty"),
        (text("RescaleSlope", b"0 "), "RescaleSlope='0'"),
        (text("RescaleSlope", b"nan "), "RescaleSlope='nan'"),
        (text("RescaleIntercept", b"n/a "), "RescaleIntercept='n/a'"),
        (text("RescaleIntercept", b"-1024\\0 "), "RescaleIntercept="),
        (text("PixelSpacing", b"1,0 "), "PixelSpacing='1,0'"),
        (text("PixelSpacing", b"1\\0 "), "PixelSpacing="),
        (text("PixelSpacing", b""), "PixelSpacing=empty"),
        (without("PixelSpacing"), "no PixelSpacing"),
        (without("Rows"), "no Rows"),
        (with_values(Columns=0), "Columns="),
        (text("ImagePositionPatient", b"1\\2 "), "ImagePositionPatient="),
        (text("ImagePositionPatient", b"1\\2\\z "), "ImagePositionPatient="),
        (text("ImageOrientationPatient", b"1\\0\\0 "), "ImageOrientationPatient="),
        (text("ImageOrientationPatient", b"0\\0\\0\\0\\1\\0 "), "ImageOrientationPatient|affine|different grids"),
        (without("ImageOrientationPatient"), "no ImageOrientationPatient"),
        (with_values(BitsAllocated=12), "BitsAllocated='12'|BitsAllocated=12"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_A5_malformed_tags_are_named_with_their_file(tmp_path: Path, change: Change, words: str) -> None:
    series(tmp_path, change, only=3)
    with pytest.raises(NASError, match=words) as error:
        read_image(tmp_path)
    assert ".dcm" in one_line(error)


def test_A7_monochrome1_is_refused(tmp_path: Path) -> None:
    series(tmp_path, with_values(PhotometricInterpretation="MONOCHROME1"))
    for reader in (read_image, read_ct):
        with pytest.raises(NASError, match=r"PhotometricInterpretation=MONOCHROME1.*\.dcm"):
            reader(tmp_path)


NAMES = ("a.nii", "a.nii.gz", "a.NII", "a.NII.GZ", "a.Nii.Gz", "a.hdr", "a.HDR", "a.nrrd", "a.NRRD", "a.nhdr", "a.NHDR")
ITK_NAMES = ("a.mha", "a.MHA", "a.mhd", "a.MHD")


def write_as(folder: Path, image: sitk.Image, name: str) -> tuple[Path, Path]:
    """Write an image under a name of any case; return the file to read, and the one with the voxels."""
    folder.mkdir(exist_ok=True)
    sitk.WriteImage(image, str(folder / name.lower()))
    for path in list(folder.iterdir()):
        ending = path.name.partition(".")[2]
        path.rename(folder / ("a." + (ending.upper() if name.partition(".")[2].isupper() else ending)))
    if name.lower() != name and not name.partition(".")[2].isupper():
        (folder / name.lower()).rename(folder / name)
    for path in folder.iterdir():  # a header in upper case names a file in upper case
        if path.name.endswith((".MHD", ".NHDR")):
            path.write_bytes(path.read_bytes().replace(b"a.raw", b"a.RAW"))
    return folder / name, max(folder.iterdir(), key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("name", [*NAMES, *ITK_NAMES])
def test_A9_cut_and_nan_files_of_every_ending(tmp_path: Path, name: str) -> None:
    image = sitk.Cast(scan(), sitk.sitkFloat32)
    path, data = write_as(tmp_path / "whole", image, name)
    np.testing.assert_array_equal(to_array(read_image(path)), to_array(image))
    content = data.read_bytes()
    for kept in (len(content) * 6 // 10, len(content) - 9, 0):
        data.write_bytes(content[:kept])
        for reader in (read_image, read_channels):
            with pytest.raises(NASError, match="cannot be read") as error:
                reader(path)
            one_line(error)
    image[3, 3, 3] = float("nan")
    path, _ = write_as(tmp_path / "nan", image, name)
    with pytest.raises(NASError, match="NaN"):
        read_image(path)


def test_A9_cut_and_nan_stores(tmp_path: Path) -> None:
    store = decathlon_store(write_decathlon(tmp_path / "boxes", count=3))
    path = tmp_path / "mine.h5"
    content = store.path.read_bytes()
    for kept in (0, len(content) // 2, len(content) * 9 // 10):  # the checksum at the end may be missing
        path.write_bytes(content[:kept])
        with pytest.raises(NASError, match=r"mine\.h5, which cannot be read"):
            PreparedStore(str(path)).prepare()
    path.write_bytes(content)
    with h5py.File(path, "a") as file:
        file["volumes"][1, 0, 2, 2, 2] = np.nan
    opened = PreparedStore(str(path)).prepare()
    assert opened.read([0, 2]).shape[0] == 2
    with pytest.raises(NASError, match=r"mine\.h5.*NaN"):
        opened.read([0, 1])


def test_A9_damaged_arrays_of_npz(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", a=np.arange(5000))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    for damage in (slice(200, 260), slice(len(content) // 2, None)):
        spoilt = content.copy()
        spoilt[damage] = b"" if damage.stop is None else b"\xff" * 60
        (tmp_path / "b.npz").write_bytes(spoilt)
        with pytest.raises(NASError, match=r"b\.npz, which cannot be read"):
            read_npz(tmp_path / "b.npz", ["a"])


@pytest.mark.parametrize("name", ["a.img", "a.IMG", "a.img.gz"])
def test_A9_a_pair_by_its_data_file(tmp_path: Path, name: str) -> None:
    _, data = write_as(tmp_path, scan(), "a.HDR" if name.isupper() or "IMG" in name else "a.hdr")
    if name.endswith(".gz"):
        (tmp_path / name).write_bytes(gzip.compress(data.read_bytes()))
        data.unlink()
    np.testing.assert_array_equal(to_array(read_image(tmp_path / name)), to_array(scan()))
    (tmp_path / name).rename(tmp_path / "other.img")
    with pytest.raises(NASError, match="is missing"):
        read_image(tmp_path / "other.img")
    with pytest.raises(NASError, match="is missing"):
        read_image(next(tmp_path.glob("a.[hH]*")))


@pytest.mark.parametrize(
    ("uid", "name"),
    [
        ("481.2", "RT Dose"),
        ("7", "Secondary Capture"),
        ("2.1", "Enhanced CT"),
        ("3.1", "Ultrasound Multi-frame"),
        ("66.4", "Segmentation"),
        ("1", "Computed Radiography"),
    ],
)
def test_A13_kinds_of_dicom_objects(tmp_path: Path, uid: str, name: str) -> None:
    assert f"{STORAGE}.{uid}" not in SOP_CLASSES
    series(tmp_path, with_values(SOPClassUID=f"{STORAGE}.{uid}"), only=2)
    with pytest.raises(NASError, match=rf"{name}.*\.dcm"):
        read_image(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_values(NumberOfFrames=2), "NumberOfFrames=2"),
        (with_values(SamplesPerPixel=3, PhotometricInterpretation="RGB"), "PhotometricInterpretation=RGB"),
        (with_values(PhotometricInterpretation="PALETTE COLOR"), "PALETTE COLOR"),
        (with_values(ModalityLUTSequence=[]), "ModalityLUTSequence"),
        (without("SOPClassUID"), "no SOPClassUID"),
        (with_values(RescaleType="MGML"), "RescaleType=MGML"),
        (without("PixelData"), "ends before its last pixel"),
    ],
)
def test_A13_slices_that_are_no_grey_plane(tmp_path: Path, change: Change, words: str) -> None:
    series(tmp_path, change, only=2)
    with pytest.raises(NASError, match=rf"{words}.*\.dcm|\.dcm.*{words}"):
        read_image(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"\x89HDF\r\n\x1a\n", "MINC"),
        (b"CDF\x01", "MINC"),
        (b"# vtk DataFile Version 3.0\n", "VTK"),
        (b"\0\0\0\x01\0\0\0\x10", "MGH"),
        (b"II*\0", "TIFF"),
        (b"\x5c\x01\0\0" + bytes(344), "Analyze"),
        (bytes(128) + b"DICM", "folder of its series"),
        (b"text", "no supported format"),
        (b"", "empty"),
    ],
)
@pytest.mark.parametrize("name", ["a.mnc", "a.nii", "a.mha"])
def test_A13_other_formats_by_content(tmp_path: Path, content: bytes, words: str, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    for reader in (read_image, read_channels):
        with pytest.raises(NASError, match=rf"{name}, which cannot be read .*{words}"):
            reader(tmp_path / name)


def test_A13_devices_are_no_files() -> None:
    with pytest.raises(NASError, match="no regular file"):
        read_image("/dev/zero")


@pytest.mark.parametrize("kind", ["colour", "complex", "time"])
def test_A13_nifti_of_other_voxels(tmp_path: Path, kind: str) -> None:
    if kind == "colour":
        voxels = np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    else:
        voxels = np.zeros((4, 5, 6), np.complex64) if kind == "complex" else np.zeros((4, 5, 6, 2), np.int16)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(NASError, match=r"colours|complex|4 dimensions"):
        read_image(tmp_path / "a.nii.gz")


def test_A13_the_content_decides_and_not_the_ending(tmp_path: Path) -> None:
    sitk.WriteImage(scan(), str(tmp_path / "a.nrrd"))
    (tmp_path / "a.nrrd").rename(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(to_array(read_image(tmp_path / "a.nii.gz")), to_array(scan()))


@pytest.mark.parametrize("shape", [(20, 20, 20, 2), (20, 20, 20, 20), (9, 20, 8, 20), (24, 24, 3)])
def test_A15_ambiguous_arrays(tmp_path: Path, shape: tuple[int, ...]) -> None:
    voxels = np.random.default_rng(0).random(shape).astype(np.float32)
    for path in (tmp_path / "a.npy", tmp_path / "a.NPY"):
        with path.open("wb") as file:
            np.save(file, voxels)
        with pytest.raises(NASError, match="npy_axes"):
            read_image(path)
    if len(shape) == 3:
        np.testing.assert_array_equal(to_array(read_image(path, npy_axes="DHW"))[0], voxels)
        return
    np.testing.assert_array_equal(to_array(read_image(path, npy_axes="DHWC")), np.moveaxis(voxels, -1, 0))
    np.testing.assert_array_equal(to_array(read_image(path, npy_axes="CDHW")), voxels)
    stated = prepared(path, {**CROP, "window": (0, 1), "npy_axes": "DHWC"})
    assert len(stated.x_CDHW) == shape[-1]
    with pytest.raises(NASError, match="npy_axes=DHW"):
        read_image(path, npy_axes="DHW")


def test_A15_clear_arrays(tmp_path: Path) -> None:
    for shape in ((2, 6, 8, 10), (1, 4, 5, 2), (6, 8, 10), (5, 6, 3)):
        np.save(tmp_path / "a.npy", np.zeros(shape, np.uint8))
        assert to_array(read_image(tmp_path / "a.npy")).shape == ((1, *shape) if len(shape) == 3 else shape)


def test_A4_slices_of_different_types_and_rescales(tmp_path: Path) -> None:
    """One signed slice among unsigned ones; pydicom is the oracle."""
    write_dicom(tmp_path, scan(), slope=1, intercept=-1024)
    path = Path(open_series(tmp_path).files[3])
    slice_ = pydicom.dcmread(path)
    stored = slice_.pixel_array.astype(np.int16) - 1024
    slice_.PixelRepresentation, slice_.RescaleIntercept, slice_.PixelData = 1, 0, stored.tobytes()
    slice_.SOPInstanceUID = generate_uid()
    slice_.save_as(path)
    read = to_array(read_image(tmp_path))[0]
    for number, file in enumerate(open_series(tmp_path).files):
        header = pydicom.dcmread(file)
        expected = header.pixel_array * float(header.RescaleSlope) + float(header.RescaleIntercept)
        np.testing.assert_array_equal(read[number], expected)
