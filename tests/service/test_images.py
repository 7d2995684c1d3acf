"""Reading what a stranger sent: right values, and one refusal for all that is broken, too large or of another kind."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import RLELossless

from experiments.lung_detector.service.images import Limits, read_slice
from experiments.lung_detector.service.refusal import Refusal
from tests.service.files import deflated_dicom, dicom, png, png_bomb, slice_hu, slice_png

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom warns about odd values
LIMITS = Limits()
PNG, DICOM = slice_png(), dicom()


def test_dicom_gives_hounsfield_units() -> None:
    read = read_slice(DICOM, LIMITS)
    assert read.units == "hu"
    assert read.pixels_HW.dtype == np.float32
    np.testing.assert_array_equal(read.pixels_HW, slice_hu())


def test_a_real_slice_has_the_values_that_itk_reads(shared_data: Path) -> None:
    path = shared_data / "lung_pet_ct_dx/A0002_CT_B40f/1-20.dcm"
    read = read_slice(path.read_bytes(), LIMITS)
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0]
    np.testing.assert_array_equal(read.pixels_HW, expected)


@pytest.mark.parametrize("mode", [None, "RGB", "RGBA", "LA", "P", "1"])
def test_png_of_every_kind_gives_grey(mode: str | None) -> None:
    grey = np.zeros((40, 50), dtype=np.uint8)
    grey[5:9] = 255
    read = read_slice(png(grey, mode), LIMITS)
    assert read.units == "grey"
    np.testing.assert_allclose(read.pixels_HW, grey / 255)


def test_A14_png_of_16_bits_with_12_bits_of_values_is_refused() -> None:
    grey = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)  # 0 to 4095
    with pytest.raises(Refusal, match="PNG of 16 bits with values up to 4095") as refusal:
        read_slice(png(grey), LIMITS)
    assert refusal.value.status == 422
    assert read_slice(png(grey * 16), LIMITS).pixels_HW.max() > 0.99


@pytest.mark.parametrize(
    ("orientation", "axial"),
    [
        ([1, 0, 0, 0, 1, 0], True),
        ([-1, 0, 0, 0, -1, 0], True),
        ([1, 0, 0, 0, 0.9397, -0.342], True),  # a gantry tilt of 20 degrees
        ([0, 1, 0, 0, 0, -1], False),  # sagittal
        ([1, 0, 0, 0, 0, -1], False),  # coronal
        ([1, 0, 0], False),
    ],
)
def test_A14_only_axial_slices_are_accepted(orientation: list[float], axial: bool) -> None:
    content = dicom(ImageOrientationPatient=orientation)
    if axial:
        assert read_slice(content, LIMITS).units == "hu"
        return
    with pytest.raises(Refusal, match="another orientation") as refusal:
        read_slice(content, LIMITS)
    assert refusal.value.status == 422


@pytest.mark.parametrize(
    ("stored", "words"),
    [(b"n/a ", "malformed RescaleSlope"), (b"    ", "malformed RescaleSlope"), (b"0   ", "RescaleSlope=0")],
)
def test_A5_malformed_rescale_tags_of_an_upload_are_named(stored: bytes, words: str) -> None:
    content = dicom(RescaleSlope="1.25", RescaleIntercept="-1024")
    assert content.count(b"1.25") == 1
    with pytest.raises(Refusal, match=words) as refusal:
        read_slice(content.replace(b"1.25", stored), LIMITS)
    assert refusal.value.status == 422


def test_png_of_16_bits_keeps_them() -> None:
    grey = np.arange(32 * 64, dtype=np.uint16).reshape(32, 64) * 31
    np.testing.assert_allclose(read_slice(png(grey), LIMITS).pixels_HW, grey / 65535, rtol=1e-6)


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (415, b""),
        (415, b"GIF89a"),
        (415, bytes(200)),
        (400, PNG[:8]),
        (400, PNG[:60]),
        (400, DICOM[:-200]),
        (400, DICOM[:140]),
        (413, dicom(Rows=5000, Columns=5000)),
        (422, png(np.zeros((8, 400), dtype=np.uint8))),
        (422, dicom(Modality="MR")),
        (422, dicom(Modality=None)),
        (422, dicom(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])),
        (422, dicom(NumberOfFrames=3)),
        (422, dicom(PhotometricInterpretation="MONOCHROME1")),
        (422, dicom(RescaleIntercept=None)),
        (422, dicom(RescaleSlope="1e39")),
        (422, dicom(PixelData=None)),
        (415, dicom(RLELossless)),
        (415, DICOM.replace(b"1.2.840.10008.1.2.1\x00", b"1.2.840.10008.1.2.5\x00")),
        (415, deflated_dicom(megabytes=1)),
        (400, dicom(Rows=None)),
        (422, DICOM[: DICOM.index(b"\xe0\x7f\x10\x00")] + b"\x00\x60\x10\x00LO\x00\x00" * 20_000),
        (422, DICOM[: DICOM.index(b"\x08\x00\x16\x00UI")] + b"\x08\x00\x05\x00LO\x00\x00" * 20_000),
    ],
)
def test_refusals(status: int, content: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        read_slice(content, LIMITS)
    assert refused.value.status == status
    assert len(str(refused.value).splitlines()) == 1


def disguised_bomb() -> bytes:
    return png_bomb(9_000, 9_000, small_first=True)


@pytest.mark.parametrize(("status", "made"), [(413, png_bomb), (413, disguised_bomb), (415, deflated_dicom)])
def test_bombs_are_refused_before_they_go_off(status: int, made: Callable[[], bytes]) -> None:
    bomb = made()
    assert len(bomb) < 2**18
    tracemalloc.start()
    try:
        with pytest.raises(Refusal) as refused:
            read_slice(bomb, LIMITS)
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()
    assert refused.value.status == status


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_damage_gives_anything_but_a_slice_or_a_refusal(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from([PNG, DICOM])))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))]
    with suppress(Refusal):
        read = read_slice(bytes(content), LIMITS)
        assert np.isfinite(read.pixels_HW).all()
        assert read.pixels_HW.ndim == 2
        assert read.shown().dtype == np.uint8
