"""A DICOM series written with the geometry and identity of a real LIDC scan, its nodules painted from the contours."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from functools import cache

import numpy as np
import pytest
import SimpleITK as sitk
from matplotlib.path import Path as Polygon
from written_scans import LUNG, NODULE, PRONE, STRAIGHT, off_centre, write_dicom

from nas.data.sources._lidc_database import database_path
from nas.data.sources.lidc_dicom import LidcDicom
from nas.errors import NASError

# LIDC-IDRI-0773: two nodules of at least three readers, malignant (mean 3.7) and benign (2.25), 4 mm apart in z.
SERIES, PATIENT = "1.3.6.1.4.1.14519.5.2.1.6279.6001.205174485766424333452131788504", "LIDC-IDRI-0773"
SPACING, AROUND = (0.72, 0.72, 3.0), (1652.4, 28.0)


def query(sql, *values):
    connection = sqlite3.connect(database_path())
    try:
        return connection.execute(sql, values).fetchall()
    finally:
        connection.close()


def contours():
    """z -> outlines (P, 2) of columns and rows, one reader after another, straight from the database."""
    rows = query(
        "SELECT image_z_position, coords FROM contours JOIN annotations a ON a.id = annotation_id "
        "JOIN scans s ON s.id = a.scan_id WHERE series_instance_uid = ? AND inclusion",
        SERIES,
    )
    by_z = defaultdict(list)
    for z, text in rows:
        by_z[z].append(np.array([line.split(",") for line in text.split("\n")], dtype=float))
    return by_z


@cache
def painted(direction=STRAIGHT):
    """A CT on the scan's own grid, near the nodules: NODULE where at least two readers outlined, LUNG elsewhere."""
    positions = [
        z
        for (z,) in query(
            "SELECT val FROM zvals z JOIN scans s ON s.id = scan_id WHERE series_instance_uid = ?", SERIES
        )
    ]
    middle, reach = AROUND
    z_mm = np.sort([z for z in positions if abs(z - middle) <= reach])
    assert np.allclose(np.diff(z_mm), SPACING[2])
    voxels = np.full((len(z_mm), 512, 512), LUNG, np.int16)
    rows, columns = np.mgrid[200:360, 90:180]
    pixels = np.column_stack([columns.ravel(), rows.ravel()])
    for z, outlines in contours().items():
        if abs(z - middle) <= reach:
            votes = sum(Polygon(xy).contains_points(pixels).reshape(rows.shape).astype(int) for xy in outlines)
            level = int(np.abs(z_mm - z).argmin())
            voxels[level, 200:360, 90:180][votes >= 2] = NODULE
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(SPACING)
    image.SetDirection(direction)
    # The world's x and y of LIDC's scans are not in the database; z is.
    image.SetOrigin((-171.3, -166.8, z_mm[0]) if direction == STRAIGHT else (171.3, 166.8, z_mm[0]))
    return image


@pytest.fixture(scope="module")
def lidc(tmp_path_factory):
    root = tmp_path_factory.mktemp("LIDC-IDRI")
    folder = root / PATIENT / "01-01-2000-1" / "3000-1"
    write_dicom(folder, painted(), uid=SERIES, patient=PATIENT, slope=1, intercept=-1024)
    (folder / "069.xml").write_text("<LidcReadMessage/>")
    other = sitk.Image(8, 8, 4, sitk.sitkInt16)
    write_dicom(root / PATIENT / "01-01-2000-2" / "chest", other, patient=PATIENT)  # a series that is not annotated
    return root


def store_of(root, tmp_path, **arguments):
    return LidcDicom(str(root), str(tmp_path / "cache"), **arguments).prepare()


def test_contours_land_in_the_middle_of_the_crops(lidc, tmp_path, caplog):
    store = store_of(lidc, tmp_path)
    crops = store.read([0, 1])[:, 0]
    assert crops.shape == (2, 32, 32, 32)
    assert crops.dtype == np.int16
    assert store.groups.tolist() == [PATIENT] * 2
    assert store.labels.tolist() == [1, 0]
    assert store.spacing_mm.tolist() == [[1, 1, 1]] * 2
    assert (crops.min(), crops.max()) == (LUNG, NODULE)
    for crop in crops:
        assert np.abs(off_centre(crop)).max() < 0.5
    assert "1 of " in caplog.text
    volume_mm3 = (crops > (LUNG + NODULE) / 2).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(store.size_mm3, volume_mm3, rtol=0.2)


@pytest.mark.slow
def test_centroid_is_exact_to_half_a_voxel(tmp_path, lidc):
    """A single bright pixel column at the centroid of the database ends in the middle of the crop."""
    from nas.data.sources._lidc_database import read_nodules

    nodule = next(
        n for n in read_nodules() if n.series_instance_uid == SERIES and len(n.readings) >= 3 and n.malignancy > 3
    )
    points = [
        np.mean(
            [[*xy, z] for z, text in rows for xy in np.array([c.split(",") for c in text.split("\n")], float)], axis=0
        )
        for reading in nodule.readings
        if (rows := query("SELECT image_z_position, coords FROM contours WHERE annotation_id = ?", reading.id))
    ]
    column, row, z = np.mean(points, axis=0)
    image = painted()
    voxels = np.full(image.GetSize()[::-1], LUNG, np.int16)
    level = (z - image.GetOrigin()[2]) / SPACING[2]
    k, r, c = np.indices(voxels.shape, sparse=True)
    distance = ((c - column) * 0.72) ** 2 + ((r - row) * 0.72) ** 2 + ((k - level) * 3.0) ** 2
    voxels[distance < 7.0**2] = NODULE
    for direction in (STRAIGHT, PRONE):
        turned = sitk.GetImageFromArray(voxels)
        turned.CopyInformation(painted(direction))
        root = tmp_path / str(direction[0])
        write_dicom(root / "series", turned, uid=SERIES, patient=PATIENT, slope=0.5, intercept=-1000)
        store = store_of(root, tmp_path)
        index = store.labels.tolist().index(1)
        crop = store.read([index])[0, 0]
        assert np.abs(off_centre(crop)).max() < 0.5
        assert crop[16, 16, 16] == NODULE


def test_other_grid(lidc, tmp_path):
    store = store_of(lidc, tmp_path, size=16, spacing_mm=2.0, window=[-1000, 100])
    crops = store.read([0, 1])[:, 0]
    assert crops.shape == (2, 16, 16, 16)
    assert crops.max() == 100
    assert np.abs(off_centre(crops[0], hu=-375)).max() < 0.7


def test_nodules_with_missing_slices_are_left_out(lidc, tmp_path, caplog):
    root = tmp_path / "part"
    write_dicom(root / "a", painted(), uid=SERIES, patient=PATIENT)
    from nas.data.io.dicom import open_series

    (root / "a" / open_series(root / "a").files[9]).unlink()
    with pytest.raises(NASError, match="no samples"):
        store_of(root, tmp_path)
    assert "left out" in caplog.text
    assert not list((tmp_path / "cache").glob("*.h5"))


def test_mistakes_are_reported(lidc, tmp_path):
    for root, message in [(None, "data.root=null"), ("/no/such", "no folder /no/such")]:
        with pytest.raises(NASError, match=message):
            LidcDicom(root, str(tmp_path)).prepare()
    with pytest.raises(NASError, match=r"none of LIDC-IDRI's \d+ scans"):
        store_of(lidc / PATIENT / "01-01-2000-2", tmp_path)
    with pytest.raises(NASError, match="window"):
        store_of(lidc, tmp_path, window=[0.5, 600])
    write_dicom(tmp_path / "far" / "a", sitk.Image(8, 8, 4, sitk.sitkInt16), uid=SERIES)
    with pytest.raises(NASError, match="no slice at z = "):
        store_of(tmp_path / "far", tmp_path)


def test_real_geometry_of_the_database_is_what_dicom_says():
    """Pixel spacings of the database are not rounded: the header's spacing turns its mm back into columns."""
    spacings = [s for (s,) in query("SELECT pixel_spacing FROM scans")]
    assert 0.703125 in spacings
    assert 0.4 < min(spacings) < max(spacings) < 1.0
