"""A small LUNA16 folder written here: crops, folds, both annotation layouts, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import SimpleITK as sitk
from written_scans import LUNG, NODULE, PRONE, RIB, STRAIGHT, ball, off_centre

from nas.data.sources.luna16 import Luna16
from nas.errors import NASError

# The first is a real one, of patient LIDC-IDRI-0078.
A = "1.3.6.1.4.1.14519.5.2.1.6279.6001.303494235102183795724852353824"
B, C = "1.3.6.1.4.1.14519.5.2.1.2", "1.3.6.1.4.1.14519.5.2.1.3"
WORLD = "seriesuid,coordX,coordY,coordZ,diameter_mm,malignancy"
DEEPLUNG = "seriesuid,coordX,coordY,coordZ,diameter_mm,malignant"


@pytest.fixture
def luna(tmp_path):
    """Three scans in subsets 0, 0 and 7 (one of them prone), and the lines of a csv in world mm."""
    scans = {
        A: ("subset0", ball(STRAIGHT, index=(44.3, 40.7, 22.4), rib_offset_mm=(11, -7, 10)), 1),
        B: ("subset0", ball(PRONE, (0.7, 0.7, 1.25), (96, 90, 70), index=(50.5, 45.5, 35), radius_mm=4.0), 0),
        C: ("subset7", ball(PRONE, index=(3.2, 45, 22), radius_mm=6.0), 0),
    }
    lines = []
    for series, (subset, (image, (x, y, z)), label) in scans.items():
        (tmp_path / subset).mkdir(exist_ok=True)
        sitk.WriteImage(image, tmp_path / subset / f"{series}.mhd")
        lines.append(f"{series},{x:.7f},{y:.7f},{z:.7f},{16.123456789 - 2 * len(lines):.9f},{label}")
    return tmp_path, lines


def write_csv(folder, header, lines, name="annotationdetclsconvfnl_v3.csv"):
    (folder / name).write_text("\n".join([header, *lines]) + "\n")


def store_of(folder, **arguments):
    return Luna16(str(folder), str(folder / "cache"), **arguments).prepare()


def test_crops_are_centred_and_in_exact_hu(luna):
    folder, lines = luna
    write_csv(folder, WORLD, lines)
    store = store_of(folder)
    volumes = store.read([0, 1, 2])
    assert volumes.shape == (3, 1, 32, 32, 32)
    assert volumes.dtype == np.int16
    for row in (0, 1):
        assert np.abs(off_centre(volumes[row, 0])).max() < 0.5
        assert (volumes[row, 0, 14:18, 14:18, 14:18] == NODULE).all()
        assert volumes[row, 0].min() == LUNG
    depth, height, width = np.unravel_index(volumes[0, 0].argmax(), (32, 32, 32)) - np.array(15.5)
    assert volumes.max() <= min(RIB, 600)  # the window's upper end
    assert (depth > 8, height < -5, width > 9) == (True, True, True)
    assert store.scale * -1200 + store.offset == pytest.approx(0)
    assert store.scale * 600 + store.offset == pytest.approx(1)


def test_air_stands_beyond_the_border(luna):
    folder, lines = luna
    write_csv(folder, WORLD, lines)
    crop = store_of(folder).read([2])[0, 0]
    # The nodule lies 3.2 voxels of 0.7 mm from the first column, which in this prone scan is on the left.
    outside = crop == -1000
    assert outside[:, :, 20:].all()
    assert not outside[:, :, :16].any()
    assert (crop[14:18, 14:18, 14:18] == NODULE).all()


def test_folds_labels_groups_and_sizes(luna):
    folder, lines = luna
    write_csv(folder, WORLD, lines)
    store = store_of(folder)
    assert store.folds.tolist() == ["0", "0", "7"]
    assert store.labels.tolist() == [1, 0, 0]
    assert store.groups.tolist() == ["LIDC-IDRI-0078", B, C]
    assert store.spacing_mm.tolist() == [[1, 1, 1]] * 3
    assert store.size_mm3[0] == pytest.approx(4 / 3 * math.pi * (16.123456789 / 2) ** 3)
    assert store.classes == ("benign", "malignant")


def test_a_patient_with_scans_in_two_subsets_stays_in_one_fold(luna, caplog):
    folder, lines = luna
    uids = [  # both of LIDC-IDRI-0332
        "1.3.6.1.4.1.14519.5.2.1.6279.6001.159996104466052855396410079250",
        "1.3.6.1.4.1.14519.5.2.1.6279.6001.316900421002460665752357657094",
    ]
    for uid, copy_of, subset, line in zip(uids, (A, B), ("subset3", "subset7"), lines[:2], strict=True):
        image = sitk.ReadImage(folder / "subset0" / f"{copy_of}.mhd")
        (folder / subset).mkdir(exist_ok=True)
        sitk.WriteImage(image + 1, folder / subset / f"{uid}.mhd")
        lines.append(line.replace(copy_of, uid))
    write_csv(folder, WORLD, lines)
    store = store_of(folder)
    assert store.groups.tolist()[3:] == ["LIDC-IDRI-0332"] * 2
    assert store.folds.tolist() == ["0", "0", "7", "3", "3"]
    assert "joins the patient's other scan in fold 3" in caplog.text


def test_deeplung_layout_takes_the_place_from_luna16(luna):
    folder, lines = luna
    write_csv(folder, WORLD, lines)
    expected = store_of(folder).read([0, 1, 2])
    (folder / "CSVFILES").mkdir()
    write_csv(
        folder / "CSVFILES",
        "seriesuid,coordX,coordY,coordZ,diameter_mm",
        [line.rsplit(",", 1)[0] for line in lines],
        "annotations.csv",
    )
    # As published: ids with suffixes, coordinates of another grid in the order z, y, x, more digits.
    published = []
    for n, line in enumerate(lines):
        series, *_, diameter, label = line.split(",")
        published.append(f"{series}-{n}-{n},140.5{n},101.8,43.2,{float(diameter):.17g},{label}")
    write_csv(folder, DEEPLUNG, published)
    np.testing.assert_array_equal(store_of(folder).read([0, 1, 2]), expected)

    write_csv(folder, DEEPLUNG, [published[0].replace("16.123", "15.123"), *published[1:]])
    with pytest.raises(NASError, match=r"no nodules of 15\.123457 mm in scan"):
        store_of(folder)
    (folder / "CSVFILES" / "annotations.csv").unlink()
    with pytest.raises(NASError, match=r"no file annotations\.csv"):
        store_of(folder)


def test_other_grid_and_window(luna):
    folder, lines = luna
    write_csv(folder, WORLD, lines)
    store = store_of(folder, size=16, spacing_mm=2.0, window=[-1000, 100])
    volumes = store.read([0, 1])
    assert volumes.shape == (2, 1, 16, 16, 16)
    assert volumes[0].max() == 100
    assert np.abs(off_centre(volumes[0, 0], hu=-300)).max() < 0.5
    assert store.path != store_of(folder).path


def test_a_changed_scan_makes_a_new_store(luna):
    folder, lines = luna
    write_csv(folder, WORLD, lines)
    before = store_of(folder)
    assert store_of(folder).path == before.path
    image, _ = ball(STRAIGHT, index=(44.3, 40.7, 22.4), radius_mm=3.0)
    sitk.WriteImage(image, folder / "subset0" / f"{A}.mhd")
    assert store_of(folder).sha256 != before.sha256


@pytest.mark.parametrize(
    ("header", "change", "message"),
    [
        ("series,x,y,z,diameter,malignant", lambda lines: lines, "columns series, x, y, z"),
        (WORLD, lambda lines: [], "no lines in"),
        (WORLD, lambda lines: lines[1:], "one class only"),
        (WORLD, lambda lines: [lines[0][:-1] + "4.5", *lines[1:]], "malignancy 4.5 in line 2"),
        (WORLD, lambda lines: [lines[0].replace("16.123456789", "wide"), *lines[1:]], "diameter_mm 'wide' in line 2"),
        (WORLD, lambda lines: [lines[0] + ",1", *lines[1:]], "7 cells in line 2"),
        (WORLD, lambda lines: [*lines, lines[0].replace(A, "9." + A)], "1 scans of .* in no subset, such as .*3824"),
        (WORLD, lambda lines: [*lines, f"{A},500,500,-300,5,1"], "outside of"),
    ],
)
def test_bad_annotations_are_reported_in_one_line(luna, header, change, message):
    folder, lines = luna
    write_csv(folder, header, change(lines))
    with pytest.raises(NASError, match=message):
        store_of(folder)
    assert not list((folder / "cache").glob("*.h5")) if (folder / "cache").exists() else True


def test_missing_scans_can_be_left_out(luna, caplog):
    folder, lines = luna
    write_csv(folder, WORLD, [*lines, lines[0].replace(A, "9." + A)])
    assert len(store_of(folder, skip_missing=True)) == 3
    assert "left out 1 nodules" in caplog.text


def test_broken_folders_are_reported(luna, tmp_path_factory):
    folder, lines = luna
    write_csv(folder, WORLD, lines)
    for root, message in [(None, "data.root=null"), ("/no/such", "no folder /no/such")]:
        with pytest.raises(NASError, match=message):
            Luna16(root, str(folder / "cache")).prepare()
    with pytest.raises(NASError, match="no subset"):
        store_of(tmp_path_factory.mktemp("empty"))
    with pytest.raises(NASError, match=r"no file none\.csv"):
        store_of(folder, annotations="none.csv")
    with pytest.raises(NASError, match="window"):
        store_of(folder, window=[600, -1200])
    raw = folder / "subset0" / f"{A}.raw"
    raw.write_bytes(raw.read_bytes()[:50_000])
    with pytest.raises(NASError, match="cannot be read"):
        store_of(folder)
    (folder / "subset7" / f"{A}.mhd").write_text("a copy")
    with pytest.raises(NASError, match="in subset0 and subset7"):
        store_of(folder)
