"""Reading, orientation, resampling and cropping, against scans whose contents are known."""

from __future__ import annotations

import subprocess
import sys

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from written_scans import HEAD_DOWN, LUNG, NODULE, PRONE, RIB, SAGITTAL, STRAIGHT, ball, off_centre, write_dicom

from nas.data.io.crops import crop, middle, read_region, to_window
from nas.data.io.dicom import find_series, open_series
from nas.data.io.images import AIR_HU, read_image, to_array
from nas.errors import NASError

CUBE, MM = (32, 32, 32), (1.0, 1.0, 1.0)
DIRECTIONS = [STRAIGHT, PRONE, SAGITTAL, HEAD_DOWN]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("spacing", [(0.7, 0.7, 2.5), (0.7, 0.8, 1.2)])
def test_ball_lands_in_the_middle_and_the_marker_on_its_side(direction, spacing):
    # The marker lies 11 mm to the left, 7 mm to the front and 10 mm towards the head of the ball.
    image, point = ball(direction, spacing, index=(44.3, 40.7, 22.4), rib_offset_mm=(11, -7, 10))
    volume = crop(image, point, CUBE, MM, AIR_HU)
    assert volume.shape == (1, *CUBE)
    assert volume.dtype == np.float32
    assert np.abs(off_centre(volume[0])).max() < 0.5
    marker = np.unravel_index(volume[0].argmax(), CUBE) - np.array(15.5)
    np.testing.assert_allclose(marker, [10, -7, 11], atol=1.6)


@pytest.mark.parametrize(
    ("size", "mm"), [((32, 32, 32), (1, 1, 1)), ((16, 16, 16), (2, 2, 2)), ((12, 24, 30), (2.5, 1, 0.8))]
)
def test_grid_keeps_the_volume_of_the_ball_and_exact_hu(size, mm):
    image, point = ball(spacing=(0.6, 0.6, 0.8), size=(100, 100, 80), index=(50.2, 49.6, 40.3))
    volume = crop(image, point, size, mm, AIR_HU)[0]
    assert volume.shape == size
    assert np.abs(off_centre(volume)).max() < 0.5
    assert (volume > (LUNG + NODULE) / 2).sum() * np.prod(mm) == pytest.approx(4 / 3 * np.pi * 8**3, rel=0.06)
    middle_, corner = tuple(n // 2 for n in size), (0, 0, 0)
    assert volume[middle_] == pytest.approx(NODULE, abs=1e-3)
    assert volume[corner] == pytest.approx(LUNG, abs=1e-3)


def test_same_grid_gives_the_voxels_unchanged():
    rng = np.random.default_rng(0)
    image = sitk.GetImageFromArray(rng.integers(-1000, 1000, (20, 22, 24)).astype(np.int16))
    image.SetOrigin((3.5, -7.25, 11))
    volume = crop(image, middle(image), (20, 22, 24), MM, 0.0)
    np.testing.assert_allclose(volume, to_array(image), atol=1e-2)


def test_coarser_grid_averages_noise_instead_of_sampling_it():
    rng = np.random.default_rng(0)
    image = sitk.GetImageFromArray(rng.normal(0, 100, (64, 64, 64)).astype(np.float32))
    image.SetSpacing((0.5, 0.5, 0.5))
    assert crop(image, middle(image), (12, 12, 12), (2.0, 2.0, 2.0), 0.0).std() < 15


def test_beyond_the_border_stands_the_fill_value():
    image, _ = ball()
    point = image.TransformIndexToPhysicalPoint((0, 45, 22))  # on the right-most voxel: half of the crop is outside
    volume = crop(image, point, CUBE, MM, AIR_HU)[0]
    assert (volume[:, :, :15] == AIR_HU).all()
    assert (volume[:, :, 17:] > AIR_HU).all()


def test_each_channel_has_its_own_fill():
    image, point = ball(size=(40, 40, 20), index=(20, 20, 10))
    two = sitk.Compose(sitk.Cast(image, sitk.sitkFloat32), sitk.Cast(image, sitk.sitkFloat32) * 2)
    volume = crop(two, point, (64, 64, 64), MM, [-1.0, -2.0])
    assert volume.shape == (2, 64, 64, 64)
    np.testing.assert_array_equal(volume[1], volume[0] * 2)


def test_region_of_a_raw_file_equals_the_whole(tmp_path):
    image, point = ball(PRONE)
    sitk.WriteImage(image, tmp_path / "scan.mhd")
    part = read_region(tmp_path / "scan.mhd", point, 20.0)
    assert np.prod(part.GetSize()) < 0.7 * np.prod(image.GetSize())
    whole = crop(read_image(tmp_path / "scan.mhd"), point, CUBE, MM, AIR_HU)
    np.testing.assert_array_equal(crop(part, point, CUBE, MM, AIR_HU), whole)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.mhd"])
def test_formats_agree(tmp_path, name):
    image, point = ball(PRONE)
    sitk.WriteImage(image, tmp_path / name)
    volume = crop(read_image(tmp_path / name), point, CUBE, MM, AIR_HU)
    np.testing.assert_allclose(volume, crop(image, point, CUBE, MM, AIR_HU), atol=0.05)


def test_nifti_written_by_nibabel_in_ras_keeps_its_sides(tmp_path):
    voxels = np.zeros((30, 32, 34), np.float32)
    voxels[25, 16, 17] = 1.0  # far along the first axis, which RAS+ runs to the patient's right
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.0, 1, 1, 1])), tmp_path / "ras.nii.gz")
    image = read_image(tmp_path / "ras.nii.gz")
    volume = crop(image, middle(image), (34, 32, 30), MM, 0.0)[0]
    depth, height, width = np.unravel_index(volume.argmax(), volume.shape)
    assert (depth, width) == (17, 30 - 1 - 25)  # W runs to the left
    assert height == 32 - 1 - 16  # H runs to the back


def test_npy_axes_and_spacing(tmp_path):
    voxels = np.random.default_rng(0).random((2, 6, 8, 10)).astype(np.float32)
    np.save(tmp_path / "two.npy", voxels)
    image = read_image(tmp_path / "two.npy", npy_spacing_mm=(3.0, 1.0, 0.5))
    assert image.GetSpacing() == (0.5, 1.0, 3.0)
    np.testing.assert_array_equal(to_array(image), voxels)
    np.testing.assert_allclose(crop(image, middle(image), (6, 8, 10), (3, 1, 0.5), 0.0), voxels, atol=1e-6)
    for kind in (bool, np.float16, np.int64, ">f4", ">i2", np.float64, np.longdouble):
        np.save(tmp_path / "one.npy", (voxels[0] * 9).astype(kind))
        np.testing.assert_array_equal(to_array(read_image(tmp_path / "one.npy"))[0], (voxels[0] * 9).astype(kind))


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_dicom_folder_hu_and_place(tmp_path, direction):
    image, point = ball(direction, rib_offset_mm=(11, -7, 10))
    write_dicom(tmp_path, image)
    (tmp_path / "069.xml").write_text("<annotations/>")
    read = read_image(tmp_path)
    np.testing.assert_allclose(np.sort(read.GetSpacing()), np.sort(image.GetSpacing()), rtol=1e-4)
    volume = crop(read, point, CUBE, MM, AIR_HU)
    np.testing.assert_allclose(volume, crop(image, point, CUBE, MM, AIR_HU), atol=0.5)
    assert (volume[0, 14:18, 14:18, 14:18] == NODULE).all()
    assert volume.max() > RIB / 2


def test_slices_with_rescales_of_their_own(tmp_path):
    image, _ = ball(size=(20, 20, 8), index=(10, 10, 4))
    write_dicom(tmp_path, image, rescales=[(1, -1024)] + [(0.5 + k / 100, -1000.0) for k in range(7)])
    np.testing.assert_allclose(to_array(read_image(tmp_path)), to_array(image), atol=0.3)


def test_part_of_a_series(tmp_path):
    image, _ = ball(size=(20, 20, 12), index=(10, 10, 6))
    uid = write_dicom(tmp_path / "deep" / "folder", image, patient="LIDC-IDRI-0001")
    assert find_series(tmp_path) == {uid: tmp_path / "deep" / "folder"}
    series = open_series(tmp_path / "deep" / "folder")
    assert (series.uid, series.patient, len(series.files)) == (uid, "LIDC-IDRI-0001", 12)
    part = series.read(3, 7)
    assert part.GetSize() == (20, 20, 5)
    assert part.GetOrigin()[2] == pytest.approx(image.TransformIndexToPhysicalPoint((0, 0, 3))[2])


def test_window_is_linear_between_its_ends():
    values = np.array([-2000.0, -1000.0, -300.0, 400.0, 3000.0]).reshape(1, 1, 1, 5)
    assert to_window(values, -1000, 400).ravel().tolist() == [0, 0, 16384, 32767, 32767]


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.mhd", "a.npy"])
def test_cut_short_file_is_refused(tmp_path, name):
    image, _ = ball()
    if name == "a.npy":
        np.save(tmp_path / name, sitk.GetArrayFromImage(image))
    else:
        sitk.WriteImage(image, tmp_path / name)
    data = tmp_path / name.replace(".mhd", ".raw")
    data.write_bytes(data.read_bytes()[: data.stat().st_size * 6 // 10])
    with pytest.raises(NASError, match="cannot be read") as caught:
        read_image(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_cut_short_dicom_is_refused(tmp_path):
    image, _ = ball(size=(40, 40, 8), index=(20, 20, 4))
    write_dicom(tmp_path, image)
    file = tmp_path / "003.dcm"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(NASError, match="cannot be read"):
        read_image(tmp_path)


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("flat.nii.gz", lambda p: sitk.WriteImage(sitk.Image(8, 8, sitk.sitkInt16), p), "2 dimensions|single slice"),
        ("flat.nii", lambda p: sitk.WriteImage(sitk.Image(8, 8, sitk.sitkInt16), p), "2 dimensions|single slice"),
        ("time.nii", lambda p: sitk.WriteImage(sitk.Image([8, 8, 8, 3], sitk.sitkInt16), p), "4 dimensions"),
        ("slice.nrrd", lambda p: sitk.WriteImage(sitk.Image(8, 8, 1, sitk.sitkInt16), p), "single slice"),
        ("time.nii.gz", lambda p: sitk.WriteImage(sitk.Image([8, 8, 8, 3], sitk.sitkInt16), p), "4 dimensions"),
        ("nan.npy", lambda p: np.save(p, np.full((4, 4, 4), np.nan)), "NaN"),
        ("flat.npy", lambda p: np.save(p, np.zeros((4, 4))), "shape"),
        ("text.npy", lambda p: np.save(p, np.full((4, 4, 4), "a")), "type"),
        ("notes.txt", lambda p: p.write_text("no image"), "cannot be read"),
        ("empty", lambda p: p.mkdir(), "no DICOM file"),
    ],
)
def test_what_is_no_volume_is_refused(tmp_path, name, make, message):
    make(tmp_path / name)
    with pytest.raises(NASError, match=message):
        read_image(tmp_path / name)
    with pytest.raises(NASError, match="no file"):
        read_image(tmp_path / "elsewhere.nii")


def test_a_time_axis_of_one_is_dropped(tmp_path):
    sitk.WriteImage(sitk.Image([8, 9, 10, 1], sitk.sitkInt16), tmp_path / "one.nii.gz")
    assert read_image(tmp_path / "one.nii.gz").GetSize() == (8, 9, 10)


def test_mixed_uneven_and_odd_series_are_refused(tmp_path):
    image, _ = ball(size=(20, 20, 8), index=(10, 10, 4))
    write_dicom(tmp_path / "mixed", image)
    for path in list((tmp_path / "mixed").iterdir()):
        path.rename(path.with_name("a" + path.name))
    write_dicom(tmp_path / "mixed", image)
    with pytest.raises(NASError, match="2 series"):
        read_image(tmp_path / "mixed")

    uid = write_dicom(tmp_path / "gap", image)
    lost = open_series(tmp_path / "gap").files[4]
    (tmp_path / "gap" / lost).unlink()
    with pytest.raises(NASError, match="even distances"):
        read_image(tmp_path / "gap")
    assert open_series(tmp_path / "gap").read(0, 3).GetSize() == (20, 20, 4)  # this part is whole

    other, _ = ball(size=(24, 20, 8), index=(10, 10, 4), origin=(0, 0, 500))
    write_dicom(tmp_path / "more", other, uid=uid)
    for path in list((tmp_path / "more").iterdir()):
        path.rename(tmp_path / "gap" / f"b{path.name}")
    with pytest.raises(NASError, match="2 different grids"):
        read_image(tmp_path / "gap")


def test_point_outside_of_the_scan_is_refused(tmp_path):
    image, (x, y, z) = ball()
    with pytest.raises(NASError, match="outside"):
        crop(image, (-x, -y, z), CUBE, MM, AIR_HU)
    sitk.WriteImage(image, tmp_path / "scan.mhd")
    with pytest.raises(NASError, match=r"scan\.mhd"):
        read_region(tmp_path / "scan.mhd", (-x, -y, z), 20.0)


def test_import_works_without_the_medical_extra_and_a_use_names_the_package():
    code = (
        "import sys; sys.modules['SimpleITK'] = sys.modules['pydicom'] = None\n"
        "import nas.data.sources.luna16, nas.data.sources.lidc_dicom, nas.data.sources.manifest\n"
        "from nas.data.io.images import medical\n"
        "medical('SimpleITK')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'voxnas[medical]'" in done.stderr.splitlines()[-1]


def test_real_volumes_are_read(shared_data):
    nrrd = read_image(shared_data / "lung1_ct" / "lung1_image.nrrd")
    assert nrrd.GetSize() == (512, 512, 48)
    volume = crop(nrrd, middle(nrrd), CUBE, MM, AIR_HU)
    assert volume.min() >= -1100
    assert 0 < volume.max() < 3100
    dicom = read_image(shared_data / "lung_pet_ct_dx" / "A0002_CT_B40f")
    assert dicom.GetSize() == (512, 512, 30)
    assert dicom.GetSpacing()[2] == pytest.approx(8.0)
    mri = read_image(shared_data / "Task04_Hippocampus" / "imagesTr" / "hippocampus_001.nii.gz")
    assert mri.GetSpacing() == pytest.approx((1, 1, 1))
