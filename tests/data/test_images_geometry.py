"""Geometry of images, line by line of the list of faults; nibabel, SimpleITK and pydicom read the same files."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from written_decathlon import write_decathlon, write_nifti
from written_scans import PRONE, SAGITTAL, STRAIGHT, ball
from written_series import centre_of, gantry_ball, rounded, scan, series, tilted_ball, with_values

from nas.data.io.axial import axial_slices, series_slices
from nas.data.io.dicom import open_series
from nas.data.io.geometry import MOST_SHIFT
from nas.data.io.grid import (
    have_same_extent,
    have_same_voxels,
    image_on_grid,
    onto_image,
    planned_size,
    require_same_grid,
)
from nas.data.io.images import read_channels, read_image, read_volume, to_array
from nas.data.io.label_files import as_nifti
from nas.data.sources.msd import Msd
from nas.errors import NASError
from nas.export.boxes import _boxes

TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.mark.parametrize(("degrees", "axis", "sign"), [(5, 0, 1), (10, 1, -1), (20, 0, -1), (20, 1, 1)])
def test_A1_gantry_tilt(tmp_path: Path, degrees: float, axis: int, sign: int) -> None:
    centre = tilted_ball(tmp_path, degrees, axis, sign)
    image = read_image(tmp_path)
    assert np.linalg.norm(centre_of(image) - centre) < 0.5
    direction = np.reshape(image.GetDirection(), (3, 3))
    np.testing.assert_allclose(direction.T @ direction, np.eye(3), atol=1e-12)
    part = open_series(tmp_path).read(4, 22)  # a part of the series lies at the same place
    assert np.linalg.norm(centre_of(part) - centre) < 0.5
    pixels = to_array(open_series(tmp_path).read(keep_pixels=True))[0]
    assert pixels.shape[1:] == (48, 48)


@pytest.mark.parametrize("degrees", [5, 20, -10])
def test_A1_gantry_tilt_of_the_slices_themselves(tmp_path: Path, degrees: float) -> None:
    centre = gantry_ball(tmp_path, degrees)
    image = read_image(tmp_path)
    assert np.linalg.norm(centre_of(image) - centre) < 0.5
    assert image.GetSpacing()[2] == pytest.approx(2 * np.cos(np.radians(degrees)), rel=1e-4)


def test_A1_gantry_tilt_of_a_steep_stack_names_the_angle(tmp_path: Path) -> None:
    tilted_ball(tmp_path, 50, 0, side=12)
    with pytest.raises(NASError, match=r"50\.0 degrees"):
        read_image(tmp_path)


def test_A1_gantry_tilt_moves_the_pixels_of_lidc_with_their_slices(tmp_path: Path) -> None:
    tilted_ball(tmp_path, 20, 0)
    found = open_series(tmp_path)
    for number in (0, 7, 23):
        header = pydicom.dcmread(found.files[number])
        expected = np.add(header.ImagePositionPatient, (5, 9, 0), dtype=float)
        np.testing.assert_allclose(found.world(5, 9, number), expected, atol=1e-6)


@pytest.mark.parametrize("spacing", [None, 2.0, (1.5, 1.0, 2.5)])
@pytest.mark.parametrize("turn", ["RAS", "LPS", "ASR"])
def test_A2_a_label_lies_on_the_grid_of_its_image(tmp_path: Path, spacing: object, turn: str) -> None:
    rng = np.random.default_rng(0)
    mm = (3.27, 1.0, 0.9)
    voxels = (rng.random((36, 30, 33)) > 0.5).astype(np.uint8)
    voxels[9:27, 8:22, 8:25] = 1
    write_nifti(tmp_path / "image.nii.gz", voxels.astype(np.float32), mm=mm)
    write_nifti(tmp_path / "exact.nii.gz", voxels, mm=mm)
    write_nifti(tmp_path / "rounded.nii.gz", voxels, turn, mm=(3.27022, 1.00001, 0.9))
    image = read_image(tmp_path / "image.nii.gz")
    masks = []
    for name in ("exact", "rounded"):
        label = onto_image(read_image(tmp_path / f"{name}.nii.gz"), image, tmp_path / name)
        assert label.GetOrigin() == image.GetOrigin()
        masks.append(image_on_grid(label, spacing if spacing is None else _triple(spacing), labels=True))
    grid = image_on_grid(image, spacing if spacing is None else _triple(spacing))
    assert masks[1].GetSize() == grid.GetSize()
    shift = [np.subtract(_last(mask), _last(grid)) for mask in masks]
    assert np.abs(shift).max() < 0.1
    exact, found = (sitk.GetArrayFromImage(mask) > 0 for mask in masks)
    assert 2 * (exact & found).sum() / (exact.sum() + found.sum()) >= 0.99


@settings(max_examples=30, deadline=None)
@given(
    factors=st.tuples(*[st.integers(1, 3)] * 3),
    mm=st.tuples(*[st.floats(0.4, 4.0)] * 3),
    turn=st.sampled_from([np.eye(3), np.diag([-1.0, 1.0, -1.0]), np.eye(3)[[1, 2, 0]]]),
    seed=st.integers(0, 9),
)
def test_A2_a_label_with_other_voxels_over_the_same_extent(
    factors: tuple[int, int, int], mm: tuple[float, float, float], turn: np.ndarray, seed: int
) -> None:
    """Each voxel of the image is split into equal voxels of the label, which have its value."""
    voxels_DHW = np.random.default_rng(seed).integers(0, 4, (5, 6, 7)).astype(np.uint8)
    image = sitk.GetImageFromArray(voxels_DHW)
    image.SetSpacing(mm)
    image.SetOrigin((3.0, -20.0, 8.0))
    image.SetDirection(turn.ravel().tolist())
    fine_DHW = voxels_DHW
    for axis, factor in enumerate(reversed(factors)):
        fine_DHW = np.repeat(fine_DHW, factor, axis=axis)
    label = sitk.GetImageFromArray(fine_DHW)
    label.SetSpacing([side / factor for side, factor in zip(mm, factors, strict=True)])
    label.SetDirection(image.GetDirection())
    label.SetOrigin(image.TransformContinuousIndexToPhysicalPoint([0.5 / factor - 0.5 for factor in factors]))
    found = onto_image(label, image, Path("label.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found), voxels_DHW)
    if max(factors) > 1:
        label.SetOrigin(image.TransformContinuousIndexToPhysicalPoint([0.5 / factor for factor in factors]))
        with pytest.raises(NASError, match="different shapes"):
            onto_image(label, image, Path("label.nii.gz"))


def box(
    shift_mm: Sequence[float] = (0, 0, 0), radians: float = 0.0, factor: int = 1, longer: float = 0.0
) -> sitk.Image:
    """Voxels of 1 x 2 x 4 mm, or `factor` times as many per axis over the same extent, whose values are 10 x."""
    values_DHW = np.tile(10 * np.arange(4 * factor, dtype=np.float32), (6 * factor, 5 * factor, 1))
    image, mm = sitk.GetImageFromArray(values_DHW), np.array([1.0, 2.0, 4.0]) / factor
    image.SetSpacing((mm * (1 + longer)).tolist())
    image.SetOrigin((np.array(shift_mm) + (mm - (1, 2, 4)) / 2).tolist())
    turn = [[np.cos(radians), -np.sin(radians), 0], [np.sin(radians), np.cos(radians), 0], [0, 0, 1]]
    image.SetDirection(np.ravel(turn).tolist())
    return image


@pytest.mark.parametrize("axis", range(3))
def test_A2_grids_are_compared_within_a_part_of_the_smallest_side_of_a_voxel(axis: int) -> None:
    """A twentieth for the same voxels, half of it for one grid, half of the finer one for one extent."""
    step = np.eye(3)[axis]
    for share, same_voxels in ((0.04, True), (0.06, False)):
        assert have_same_voxels(box(), box(share * step)) == same_voxels
    for share, same_extent in ((0.24, True), (0.26, False)):
        shifted = box(share * step, factor=2)
        assert have_same_extent(box(), shifted) == have_same_extent(shifted, box()) == same_extent
    require_same_grid(box(), box(0.49 * step), Path("x"))
    with pytest.raises(NASError, match="different origins of an image and its label, 0 x 0 x 0 and 0"):
        require_same_grid(box(), box(0.52 * step), Path("x"))


def test_A2_headers_that_are_rounded_are_one_grid() -> None:
    require_same_grid(box(), box(radians=5e-4, longer=5e-4), Path("x"))
    with pytest.raises(NASError, match="different directions"):
        require_same_grid(box(), box(radians=2e-3), Path("x"))
    with pytest.raises(NASError, match="different spacings"):
        require_same_grid(box(), box(longer=2e-3), Path("x"))


@pytest.mark.parametrize(
    ("labels", "shift", "expected"),
    [(False, 0.3, [7.0, 17.0, 27.0]), (True, 0.3, [10.0, 20.0, 30.0]), (False, 0.04, [10.0, 20.0, 30.0])],
)
def test_A2_a_channel_is_interpolated_and_a_label_is_not(labels: bool, shift: float, expected: list[float]) -> None:
    """Voxel x of the image is at x - 0.3 of the other; where it is at x - 0.04, the voxels are kept."""
    found = onto_image(box((shift, 0, 0)), box(), Path("x"), labels=labels)
    assert found.GetOrigin() == (0.0, 0.0, 0.0)
    inner_DHW = sitk.GetArrayFromImage(found)[:, :, 1:]
    np.testing.assert_allclose(inner_DHW, np.broadcast_to(expected, inner_DHW.shape), rtol=1e-5)


@pytest.mark.parametrize(("labels", "last"), [(False, 5), (True, 0)])
def test_A2_a_rounded_spacing_that_ends_early_is_continued_in_channels_and_not_in_labels(
    labels: bool, last: int
) -> None:
    """Voxel 999 of the image is at 999.8 of the other, which ends at 999.5."""
    image, other = (sitk.GetImageFromArray(np.full((2, 2, 1000), 5, dtype=np.float32)) for _ in range(2))
    other.SetSpacing((0.9992, 1.0, 1.0))
    found_DHW = sitk.GetArrayFromImage(onto_image(other, image, Path("x"), labels=labels))
    assert set(found_DHW[:, :, :999].ravel()) == {5}
    assert set(found_DHW[:, :, 999].ravel()) == {last}


def test_A2_a_label_of_a_data_set_with_a_rounded_spacing(tmp_path: Path) -> None:
    stores = []
    for name, mm in (("exact", (1.1, 1.0, 1.0)), ("rounded", (1.10008, 1.0, 1.00003))):
        root = write_decathlon(tmp_path / name, count=2, mm=(1.1, 1.0, 1.0))
        for path in (root / "labelsTr").iterdir():
            write_nifti(path, np.asarray(nib.load(path).dataobj), mm=mm)
        store = Msd(str(root), str(root / "cache"), spacing_mm=1.5).prepare()
        stores.append(store)
    for row in range(2):
        first, second = (store.sample(row) for store in stores)
        np.testing.assert_array_equal(first.mask_DHW, second.mask_DHW)
        assert first.extent_DHW == second.extent_DHW


def test_A6_the_sform_is_taken_as_nibabel_takes_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    voxels = np.zeros((12, 14, 16), np.int16)
    voxels[3:6, 4:8, 5:9] = 100
    affine = np.diag([1.5, 1.0, 2.0, 1.0])
    stored = nib.Nifti1Image(voxels, affine)
    stored.set_sform(affine, 1)
    moved = affine.copy()
    moved[:3, 3] = 9, 0, 0
    stored.set_qform(moved, 1)
    nib.save(stored, path := tmp_path / "two.nii.gz")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            volume = read_volume(path)
    np.testing.assert_allclose(TO_LPS @ volume.affine, nib.load(path).affine, atol=1e-6)
    found = [record for record in caplog.records if "sform and qform" in record.message]
    assert len(found) == 1
    assert "9 mm" in found[0].message
    label = tmp_path / "label.nii.gz"
    label.write_bytes(as_nifti(np.zeros((16, 14, 12), np.uint8), path))
    written = nib.load(label)
    np.testing.assert_allclose(written.get_qform(), affine, atol=1e-5)
    np.testing.assert_array_equal(written.get_sform(), affine)
    assert int(written.header["sform_code"]) == int(written.header["qform_code"]) == 1
    oracle = sitk.ReadImage(str(label))  # reads the qform first
    np.testing.assert_allclose(oracle.GetOrigin(), volume.image.GetOrigin(), atol=1e-4)


@pytest.mark.parametrize(("s_code", "q_code"), [(0, 1), (2, 0), (1, 1), (0, 0)])
def test_A6_codes_of_sform_and_qform(tmp_path: Path, s_code: int, q_code: int) -> None:
    stored = nib.Nifti1Image(np.ones((4, 5, 6), np.float32), None)
    affine = np.array([[0, 2.0, 0, 5], [1.5, 0, 0, -7], [0, 0, 3.0, 11], [0, 0, 0, 1]])
    stored.set_sform(affine, s_code)
    stored.set_qform(affine, q_code)
    nib.save(stored, tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    np.testing.assert_allclose(TO_LPS @ volume.affine, nib.load(tmp_path / "a.nii").affine, atol=1e-5)


@pytest.mark.parametrize("orientation", [STRAIGHT, PRONE, SAGITTAL])
def test_A8_slices_at_one_position(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    image = ball(orientation, size=(12, 12, 4), index=(5, 5, 2))[0]
    series(tmp_path / "cine", with_values(ImagePositionPatient=[0, 0, 0]), image)
    with pytest.raises(NASError, match="4 slices at one position"):
        read_image(tmp_path / "cine")
    series(tmp_path / "copy", image=image)
    files = open_series(tmp_path / "copy").files
    shutil.copy(files[1], tmp_path / "copy" / "again.dcm")
    with pytest.raises(NASError, match=r"there twice.*again"):
        read_image(tmp_path / "copy")
    for path in files[2:]:
        Path(path).unlink()
    Path(files[0]).unlink()  # one slice and its copy are left
    with pytest.raises(NASError, match="2 slices at one position"):
        read_image(tmp_path / "copy")


@pytest.mark.parametrize(
    ("between", "digits"), [(0.625, 1), (0.75, 1), (1.25, 1), (2.5, 0), (0.3125, 2)], ids=lambda value: f"{value:g}"
)
def test_A10_rounded_positions(tmp_path: Path, between: float, digits: int) -> None:
    image = ball(size=(12, 12, 24), spacing=(0.7, 0.7, between), origin=(3, 4, -310.725), index=(5, 5, 12))[0]
    series(tmp_path, rounded(digits, "ImagePositionPatient"), image)
    read = read_image(tmp_path)
    assert read.GetSpacing()[2] == pytest.approx(between, rel=0.02)
    assert np.abs(np.subtract(_last(read), _last(image))).max() <= 10**-digits


@pytest.mark.parametrize("digits", [4, 5])
def test_A10_rounded_orientations(tmp_path: Path, digits: int) -> None:
    """One slice is rounded, the others are not."""
    a, b = np.radians(11), np.radians(7)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]
    )
    image = ball(tuple(turn.ravel().tolist()), size=(32, 32, 6), spacing=(0.7, 0.7, 2.5), index=(15, 15, 3))[0]
    series(tmp_path, rounded(digits - 2, "ImageOrientationPatient"), image, only=3)
    read = read_image(tmp_path)
    np.testing.assert_allclose(_last(read), _last(image), atol=0.1)
    series(tmp_path / "turned", with_values(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]), image, only=3)
    with pytest.raises(NASError, match="2 different grids"):
        read_image(tmp_path / "turned")


def test_A10_missing_slices_are_still_found(tmp_path: Path) -> None:
    for lost in (1, 3, 6):
        folder = series(tmp_path / str(lost))
        Path(open_series(folder).files[lost]).unlink()
        with pytest.raises(NASError, match=r"5\.00 mm between .* 2\.50 mm apart"):
            read_image(folder)


@pytest.mark.parametrize("skew", [1e-4, 1e-3])
def test_A12_a_small_skew_is_removed(tmp_path: Path, skew: float) -> None:
    affine = np.diag([1.0, 1.2, 2.0, 1.0])
    affine[0, 1] = skew
    nib.save(nib.Nifti1Image(np.ones((60, 50, 40), np.int16), affine), tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    direction = np.reshape(volume.image.GetDirection(), (3, 3))
    np.testing.assert_allclose(direction.T @ direction, np.eye(3), atol=1e-9)
    corners = np.array(list(product((0, 59), (0, 49), (0, 39), (1,))))
    apart = corners @ (TO_LPS @ volume.affine - nib.load(tmp_path / "a.nii.gz").affine).T
    assert np.linalg.norm(apart[:, :3], axis=1).max() <= MOST_SHIFT * 1.0
    assert planned_size(tmp_path / "a.nii.gz", None) == (40, 50, 60)


@pytest.mark.parametrize("kind", ["nii", "nrrd"])
def test_A12_a_large_skew_is_refused_with_its_angle(tmp_path: Path, kind: str) -> None:
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[0, 1] = 0.3
    nib.save(nib.Nifti1Image(np.ones((60, 50, 40), np.int16), affine), path := tmp_path / "a.nii")
    if kind == "nrrd":
        image = sitk.Image(60, 50, 40, sitk.sitkInt16)
        sitk.WriteImage(image, path := tmp_path / "a.nrrd")
        content = path.read_bytes()
        assert b"(0,1,0)" in content
        path.write_bytes(content.replace(b"(0,1,0)", b"(0.3,1,0)"))
    for read in (read_image, read_channels, lambda path: planned_size(path, None)):
        with pytest.raises(NASError, match=r"axes x and y at 73\.30 degrees.*perpendicular"):
            read(path)


def test_A12_an_affine_without_volume_is_named(tmp_path: Path) -> None:
    content = nib.Nifti1Image(np.ones((4, 5, 6), np.int16), np.eye(4)).to_bytes()
    header = nib.Nifti1Header(content[:348])
    header.set_sform(np.diag([1.0, 0.0, 1.0, 1.0]), 1)
    (tmp_path / "a.nii").write_bytes(header.binaryblock + content[348:])
    with pytest.raises(NASError, match="affine with voxels of 1 x 0 x 1 mm"):
        read_image(tmp_path / "a.nii")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_A12_nifti_2(tmp_path: Path, name: str) -> None:
    voxels = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    nib.save(nib.Nifti2Image(voxels, np.diag([1, 2, 3, 1])), tmp_path / name)
    volume = read_volume(tmp_path / name)
    np.testing.assert_array_equal(to_array(volume.image)[0], voxels.T)
    np.testing.assert_allclose(TO_LPS @ volume.affine, np.diag([1, 2, 3, 1]))
    label = tmp_path / "label.nii"
    label.write_bytes(as_nifti(np.ones((6, 5, 4), np.uint8), tmp_path / name, compress=False))
    np.testing.assert_array_equal(nib.load(label).affine, nib.load(tmp_path / name).affine)


@pytest.mark.parametrize(("unit", "mm"), [("meter", 1e3), ("micron", 1e-3), ("mm", 1.0), ("unknown", 1.0)])
def test_A12_the_unit_of_the_affine(tmp_path: Path, unit: str, mm: float) -> None:
    stored = nib.Nifti1Image(np.ones((4, 5, 6), np.int16), np.diag([2 / mm, 3 / mm, 4 / mm, 1]))
    stored.header.set_xyzt_units(unit)
    nib.save(stored, tmp_path / "a.nii.gz")
    assert read_volume(tmp_path / "a.nii.gz").spacing_mm == pytest.approx((4, 3, 2))


@pytest.mark.parametrize("code", ["LPS", "RAS", "LAS", "RPI"])
def test_A14_slices_of_a_file_are_turned_as_those_of_a_series(tmp_path: Path, code: str) -> None:
    voxels = np.random.default_rng(0).integers(-1000, 400, (10, 12, 5)).astype(np.int16)
    write_nifti(tmp_path / "a.nii.gz", voxels, code)
    found = axial_slices(tmp_path / "a.nii.gz")
    expected = voxels[::-1, ::-1].T  # RAS: columns to the left, rows to the back
    np.testing.assert_array_equal(found.values_DHW, expected if code[2] == "S" else expected[::-1])
    assert found.mirrored == (code[1] == "A", code[0] == "R")


def test_A14_boxes_of_mirrored_slices_are_those_of_the_file() -> None:
    found = np.array([[1.0, 2, 3, 6, 0.9, 0]])  # y0, x0, y1, x1, probability, class
    ways = product((False, True), repeat=2)
    shown = [next(_boxes(found, 1.0, (10, 12), mirrored, ["a"])) for mirrored in ways]
    edges = [[row[name] for name in ("y0", "x0", "y1", "x1")] for row in shown]
    assert edges == [[1, 2, 3, 6], [1, 6, 3, 10], [7, 2, 9, 6], [7, 6, 9, 10]]


@pytest.mark.parametrize("reader", [axial_slices, lambda path: series_slices(open_series(path))])
def test_A14_sagittal_slices_are_no_axial_ones(tmp_path: Path, reader: Callable[[Path], object]) -> None:
    series(tmp_path / "sagittal", image=ball(SAGITTAL, size=(12, 12, 4), index=(5, 5, 2))[0])
    with pytest.raises(NASError, match=r"sagittal that are not axial"):
        reader(tmp_path / "sagittal")
    tilted_ball(tmp_path / "tilted", 20, 1, side=12)
    reader(tmp_path / "tilted")


def _last(image: sitk.Image) -> tuple[float, ...]:
    return image.TransformIndexToPhysicalPoint([n - 1 for n in image.GetSize()])


def _triple(value: object) -> tuple[float, float, float]:
    return (value,) * 3 if isinstance(value, float) else value  # type: ignore[return-value]


def test_scan_of_these_tests_is_a_series(tmp_path: Path) -> None:
    np.testing.assert_array_equal(to_array(read_image(series(tmp_path))), to_array(scan()))
