"""Geometry of images of any orientation, spacing and origin, beside nibabel, SimpleITK and pydicom."""

from __future__ import annotations

import shutil
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from written_scans import write_dicom

from nas.data.io.grid import image_on_grid, planned_size
from nas.data.io.images import read_image, read_volume, to_array

TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
CODES = [
    "".join(["RL", "AP", "SI"][axis][sign] for axis, sign in zip(axes, signs, strict=True))
    for axes in permutations(range(3))
    for signs in product((0, 1), repeat=3)
]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    code=st.sampled_from(CODES),
    mm=st.tuples(*[st.floats(0.3, 6.0)] * 3),
    origin=st.tuples(*[st.floats(-400, 400)] * 3),
    angles=st.tuples(*[st.floats(-20, 20)] * 3),
    kind=st.sampled_from([np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64]),
    slope=st.sampled_from([(1.0, 0.0), (2.0, -1024.0), (0.5, 3.0)]),
    ending=st.sampled_from(["nii", "nii.gz", "hdr", "nrrd", "mha"]),
    version=st.sampled_from([1, 2]),
)
def test_A6_A12_files_of_any_geometry_are_read_as_nibabel_and_itk_read_them(
    tmp_path: Path,
    code: str,
    mm: tuple[float, float, float],
    origin: tuple[float, float, float],
    angles: tuple[float, float, float],
    kind: type,
    slope: tuple[float, float],
    ending: str,
    version: int,
) -> None:
    voxels = np.random.default_rng(0).integers(0, 99, (3, 4, 5)).astype(kind)
    path = tmp_path / f"a.{ending}"
    affine = _affine(code, mm, origin, angles)
    if ending in ("nrrd", "mha"):
        image = sitk.GetImageFromArray(voxels.T)
        lps = TO_LPS @ affine
        image.SetSpacing(np.linalg.norm(lps[:3, :3], axis=0).tolist())
        image.SetDirection((lps[:3, :3] / np.linalg.norm(lps[:3, :3], axis=0)).ravel().tolist())
        image.SetOrigin(lps[:3, 3].tolist())
        sitk.WriteImage(image, str(path))
        expected, values = affine, voxels
    else:
        pair = ending == "hdr"
        one, two = (nib.Nifti1Pair, nib.Nifti2Pair) if pair else (nib.Nifti1Image, nib.Nifti2Image)
        stored = (one if version == 1 else two)(voxels, affine)
        stored.header.set_slope_inter(*slope)
        stored.to_filename(path)
        oracle = nib.load(path)
        expected, values = oracle.affine, np.asarray(oracle.dataobj)
    volume = read_volume(path)
    np.testing.assert_allclose(TO_LPS @ volume.affine, expected, atol=2e-4)
    np.testing.assert_allclose(to_array(volume.image)[0], values.T, rtol=1e-5)
    if ending != "hdr":
        assert planned_size(path, None) == image_on_grid(volume.image, None).GetSize()[::-1]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    code=st.sampled_from(CODES),
    mm=st.tuples(st.floats(0.4, 2.0), st.floats(0.4, 2.0), st.floats(0.5, 5.0)),
    origin=st.tuples(*[st.floats(-300, 300)] * 3),
    angles=st.tuples(*[st.floats(-20, 20)] * 3),
    rescale=st.sampled_from([(1.0, -1024.0), (2.0, -1000.0), (0.5, -1024.0)]),
)
def test_A1_A10_series_of_any_geometry_are_read_as_pydicom_reads_them(
    tmp_path: Path,
    code: str,
    mm: tuple[float, float, float],
    origin: tuple[float, float, float],
    angles: tuple[float, float, float],
    rescale: tuple[float, float],
) -> None:
    shutil.rmtree(tmp_path / "series", ignore_errors=True)
    image = sitk.GetImageFromArray(np.random.default_rng(0).integers(-900, 900, (4, 5, 6)).astype(np.int16) // 2 * 2)
    lps = TO_LPS @ _affine(code, mm, origin, angles)
    image.SetSpacing(mm)
    image.SetDirection((lps[:3, :3] / np.array(mm)).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    write_dicom(tmp_path / "series", image, slope=rescale[0], intercept=rescale[1])
    read = read_image(tmp_path / "series")
    values = to_array(read)[0]
    for path in (tmp_path / "series").iterdir():
        slice_ = pydicom.dcmread(path)
        row, column = np.reshape(np.array(slice_.ImageOrientationPatient, dtype=float), (2, 3))
        for y, x in ((0, 0), (4, 5), (2, 1)):  # PS3.3, equation C.7.6.2.1-1
            world = np.array(slice_.ImagePositionPatient, dtype=float)
            world = world + row * slice_.PixelSpacing[1] * x + column * slice_.PixelSpacing[0] * y
            index = read.TransformPhysicalPointToContinuousIndex(world.tolist())
            np.testing.assert_allclose(index, np.rint(index), atol=0.01)
            expected = slice_.pixel_array[y, x] * float(slice_.RescaleSlope) + float(slice_.RescaleIntercept)
            assert values[tuple(int(n) for n in np.rint(index)[::-1])] == pytest.approx(expected)


def test_A1_to_A12_a_real_series_as_itk_reads_it(shared_data: Path) -> None:
    folder = shared_data / "lung_pet_ct_dx" / "A0002_CT_B40f"
    volume = read_volume(folder)
    reader = sitk.ImageSeriesReader()
    oracle = sitk.ReadImage(reader.GetGDCMSeriesFileNames(str(folder)))
    assert volume.unit == "HU"
    np.testing.assert_array_equal(to_array(volume.image), to_array(oracle))
    for name in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(volume.image, name)(), getattr(oracle, name)(), atol=1e-4)


def _affine(code: str, mm: tuple[float, ...], origin: tuple[float, ...], angles_deg: tuple[float, ...]) -> np.ndarray:
    affine = np.eye(4)
    for axis, letter in enumerate(code):
        world = next(n for n, pair in enumerate(("LR", "PA", "IS")) if letter in pair)
        affine[:3, axis] = 0
        affine[world, axis] = mm[axis] * (1 if letter in "RAS" else -1)
    for axis, angle in enumerate(np.radians(angles_deg)):
        first, second = [n for n in range(3) if n != axis]
        turn = np.eye(4)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        affine = turn @ affine
    affine[:3, 3] = origin
    return affine
