"""One's own volumes by csv: grids, windows, channels, points, and every mistake in one line."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from written_scans import LUNG, NODULE, PRONE, ball, off_centre, write_dicom

from nas.data.sources.manifest import Manifest
from nas.errors import NASError


def store_of(folder, lines, header="path,label,patient", **arguments):
    (folder / "my.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return Manifest(str(folder / "my.csv"), str(folder / "cache"), **arguments).prepare()


@pytest.fixture
def scans(tmp_path):
    """The same ball in five formats; returns the folder and the ball's world point."""
    image, point = ball(PRONE, index=(50.3, 47.2, 20.4))
    (tmp_path / "img").mkdir()
    for number, name in enumerate(("a.nii.gz", "b.nrrd", "c.mhd", "d.mha", "e")):
        image[0, 0, 0] = image[0, 0, 0] + number  # no volume is a copy of another patient's
        if name == "e":
            write_dicom(tmp_path / "img" / name, image)
        else:
            sitk.WriteImage(image, tmp_path / "img" / name)
    return tmp_path, point


NAMES = ["img/a.nii.gz", "img/b.nrrd", "img/c.mhd", "img/d.mha", "img/e"]


def test_formats_give_one_volume_around_a_point(scans):
    folder, (x, y, z) = scans
    lines = [f"{name},{'ill' if i % 2 else 'healthy'},p{i},{x},{y},{z}" for i, name in enumerate(NAMES)]
    store = store_of(folder, lines, "path,label,patient,x,y,z", window=[-1000, 400])
    volumes = store.read(range(5)) * store.scale + store.offset
    assert volumes.shape == (5, 1, 32, 32, 32)
    assert store.classes == ("healthy", "ill")
    assert store.labels.tolist() == [0, 1, 0, 1, 0]
    assert store.groups.tolist() == ["p0", "p1", "p2", "p3", "p4"]
    for volume in volumes[:, 0]:
        assert np.abs(off_centre(volume, hu=(-365 + 1000) / 1400, below=2)).max() < 0.5
        assert volume[16, 16, 16] == pytest.approx((NODULE + 1000) / 1400, abs=1e-3)
        assert volume[1, 1, 1] == pytest.approx((LUNG + 1000) / 1400, abs=1e-3)
    assert np.abs(volumes - volumes[0]).max() < 2e-3


def test_middle_of_the_image_and_padding_at_the_low_end(scans):
    folder, _ = scans
    store = store_of(folder, ["img/b.nrrd,0,p", "img/c.mhd,1,q"], size=[130, 80, 80], window=[-1000, 400])
    volume = store.read([0])[0, 0]
    assert store.shape == (1, 130, 80, 80)
    inside = np.nonzero(volume.max(axis=(1, 2)))[0]  # 44 slices of 2.5 mm are 110 mm; 10 mm of padding on each side
    assert abs(inside[0] - 10) <= 1
    assert abs(inside[-1] - 119) <= 1
    assert volume[:, :, 40].max() > 0


def test_a_point_can_be_ignored_or_insisted_on(scans):
    folder, (x, y, z) = scans
    lines = [f"img/b.nrrd,0,p,{x},{y},{z}", f"img/c.mhd,1,q,{x},{y},{z}"]
    header = "path,label,patient,x,y,z"
    middle = store_of(folder, lines, header, window=[-1000, 400], centre="image").read([0])
    point = store_of(folder, lines, header, window=[-1000, 400], centre="point").read([0])
    assert (middle != point).any()
    with pytest.raises(NASError, match="no column x, y, z"):
        store_of(folder, ["img/b.nrrd,0,p"], centre="point")
    with pytest.raises(NASError, match="centre=corner"):
        store_of(folder, lines, header, centre="corner")


def test_percentiles_scale_each_channel_of_each_volume(tmp_path):
    rng = np.random.default_rng(0)
    for name, gain in [("a", 1.0), ("b", 50.0)]:
        np.save(tmp_path / f"{name}.npy", np.stack([rng.random((20, 20, 20)), 7 + gain * rng.random((20, 20, 20))]))
    store = store_of(tmp_path, ["a.npy,0,p", "b.npy,1,q"], size=16, percentiles=[5, 95])
    volumes = store.read([0, 1]) * store.scale
    assert volumes.shape == (2, 2, 16, 16, 16)
    assert (volumes.min(), volumes.max()) == (0, pytest.approx(1))
    np.testing.assert_allclose((volumes == 0).mean(axis=(2, 3, 4)), 0.05, atol=0.03)
    np.testing.assert_allclose(volumes.mean(axis=(2, 3, 4)), 0.5, atol=0.03)


def test_npy_spacing_and_whole_number_labels(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(3):
        np.save(tmp_path / f"{i}.npy", rng.random((10, 20, 20)))
    store = store_of(tmp_path, ["0.npy,10,p", "1.npy,9,q", "2.npy,10,r"], size=20, npy_spacing_mm=[2, 1, 1])
    assert store.classes == ("9", "10")
    assert store.labels.tolist() == [1, 0, 1]
    assert store.read([0])[0, 0, [0, 19]].max() > 0  # ten slices of 2 mm fill twenty of 1 mm


def test_class_names_set_the_positive_class_and_splits_are_kept(tmp_path):
    for i in range(3):
        np.save(tmp_path / f"{i}.npy", np.random.default_rng(i).random((8, 8, 8)))
    lines = ["0.npy,cancer,p,train", "1.npy,normal,q,val", "2.npy,cancer,r,test"]
    store = store_of(tmp_path, lines, "path,label,patient,split", size=8, class_names=["normal", "cancer"])
    assert store.classes == ("normal", "cancer")
    assert store.labels.tolist() == [1, 0, 1]
    assert store.folds.tolist() == ["train", "val", "test"]
    with pytest.raises(NASError, match="class_names"):
        store_of(tmp_path, lines, "path,label,patient,split", size=8, class_names=["normal", "sick"])


def test_a_spreadsheets_csv_is_read(tmp_path):
    for i in range(2):
        np.save(tmp_path / f"{i}.npy", np.random.default_rng(i).random((8, 8, 8)))
    text = '\ufeffpath, label ,patient,note\r\n0.npy, a ,p,"left, upper"\r\n\r\n1.npy,b,q,\r\n'
    (tmp_path / "my.csv").write_bytes(text.encode())
    store = Manifest(str(tmp_path / "my.csv"), str(tmp_path / "cache"), size=8).prepare()
    assert store.classes == ("a", "b")


def test_a_changed_volume_makes_a_new_store(tmp_path):
    lines = ["0.npy,a,p", "1.npy,b,q"]
    for i in range(2):
        np.save(tmp_path / f"{i}.npy", np.random.default_rng(i).random((8, 8, 8)))
    before = store_of(tmp_path, lines, size=8)
    assert store_of(tmp_path, lines, size=8).path == before.path
    np.save(tmp_path / "1.npy", np.random.default_rng(5).random((9, 8, 8)))
    assert store_of(tmp_path, lines, size=8).sha256 != before.sha256


@pytest.mark.parametrize(
    ("header", "lines", "arguments", "message"),
    [
        ("path,label", ["0.npy,a", "1.npy,b"], {}, "no column patient"),
        ("path;label;patient", ["0.npy;a;p"], {}, "no column label, path, patient .*commas"),
        ("path,label,patient,x", ["0.npy,a,p,1"], {}, "no column y, z"),
        ("path,label,patient", [], {}, "no lines"),
        ("path,label,patient", ["0.npy,a,p", "9.npy,b,q"], {}, r"no file .*9\.npy \(line 3"),
        ("path,label,patient", ["0.npy,,p", "1.npy,b,q"], {}, "no label in line 2"),
        ("path,label,patient", ["0.npy,a,p", "1.npy,b,"], {}, "no patient in line 3"),
        ("path,label,patient", ["0.npy,a,p", "1.npy,a,q"], {}, "one class only"),
        ("path,label,patient", ["0.npy,a,p", "0.npy,b,q"], {}, r"0\.npy twice"),
        ("path,label,patient,split", ["0.npy,a,p,train", "1.npy,b,q,"], {}, "splits '', 'train'"),
        ("path,label,patient,x,y,z", ["0.npy,a,p,1,2,here", "1.npy,b,q,1,2,3"], {}, "z 'here' in line 2"),
        ("path,label,patient,x,y,z", ["0.npy,a,p,1,2,99", "1.npy,b,q,1,2,3"], {}, r"outside of .*0\.npy"),
        ("path,label,patient", ["0.npy,a,p", "flat.npy,b,q"], {}, "shape"),
        ("path,label,patient", ["0.npy,a,p", "nan.npy,b,q"], {}, "NaN"),
        ("path,label,patient", ["0.npy,a,p", "even.npy,b,q"], {}, "both percentiles"),
        ("path,label,patient", ["0.npy,a,p", "two.npy,b,q"], {}, "type .* as in the first sample"),
        ("path,label,patient", ["0.npy,a,p", "1.npy,b,q"], {"window": [400, -1000]}, "window"),
        ("path,label,patient", ["0.npy,a,p", "1.npy,b,q"], {"spacing_mm": 0}, "positive"),
    ],
)
def test_mistakes_are_reported_in_one_line(tmp_path, header, lines, arguments, message):
    volume = np.random.default_rng(0).random((8, 8, 8))
    for name, array in {
        "0": volume,
        "1": volume + 1,
        "flat": volume[0],
        "nan": np.where(volume > 0.5, np.nan, volume),
        "even": np.ones((8, 8, 8)),
        "two": np.stack([volume + 2, volume + 3]),
    }.items():
        np.save(tmp_path / f"{name}.npy", array)
    with pytest.raises(NASError, match=message) as caught:
        store_of(tmp_path, lines, header, **{"size": 8, **arguments})
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("cache/*.h5"))


def test_no_csv_is_reported(tmp_path):
    for path, message in [(None, "data.path=null"), ("none.csv", "no file none.csv")]:
        with pytest.raises(NASError, match=message):
            Manifest(path, str(tmp_path)).prepare()


def test_real_volumes(shared_data, tmp_path):
    hippocampus = shared_data / "Task04_Hippocampus" / "imagesTr"
    lines = [f"{path},{i % 2},{path.name}" for i, path in enumerate(sorted(hippocampus.glob("*.nii.gz"))[:4])]
    store = store_of(tmp_path, lines, size=[40, 56, 40])
    volumes = store.read(range(4)) * store.scale
    assert volumes.shape == (4, 1, 40, 56, 40)
    assert ((volumes > 0.1).mean(axis=(1, 2, 3, 4)) > 0.2).all()

    chest = [
        f"{shared_data / 'lung1_ct' / 'lung1_image.nrrd'},a,p",
        f"{shared_data / 'lung_pet_ct_dx' / 'A0002_CT_B40f'},b,q",
    ]
    store = store_of(tmp_path, chest, spacing_mm=[6, 3, 3], size=[32, 96, 96], window=[-1000, 400])
    volumes = store.read([0, 1])[:, 0] * store.scale
    for volume in volumes:
        body = (volume > 0.6).mean(axis=(1, 2))
        assert 0.1 < body[16] < 0.9
        back, front = volume[16, 64:, 24:72].mean(), volume[16, :16, 24:72].mean()
        assert back > front  # H runs to the back: spine and table, against the air before the chest
