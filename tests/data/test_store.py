"""The volume store: what goes in comes out; damage is reported in one line; nothing is ever half written."""

from __future__ import annotations

import fcntl
import re
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from nas.data.sample import Sample
from nas.data.store import VolumeStore, unreadable
from nas.data.store_writer import write_store
from nas.errors import NASError

SETTINGS = {"name": "toy", "classes": ("benign", "malignant"), "provenance": {"source": "made here"}}


def toy_samples(n: int = 6, dtype: type = np.uint8, shape: tuple[int, ...] = (1, 4, 5, 6)) -> list[Sample]:
    rng = np.random.default_rng(0)
    return [
        Sample(
            name=f"s{i}",
            volume_CDHW=rng.integers(0, 255, shape).astype(dtype),
            label=i % 2,
            group=f"p{i // 2}",
            spacing_mm=(2.5, 0.7, 0.7),
            size_mm3=10.0 * i,
            fold=str(i % 3),
        )
        for i in range(n)
    ]


@pytest.fixture
def store(tmp_path: Path) -> VolumeStore:
    return write_store(tmp_path / "toy.h5", toy_samples(), **SETTINGS, scale=1 / 255, offset=-0.5)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_what_goes_in_comes_out(tmp_path: Path, dtype: type) -> None:
    samples = toy_samples(dtype=dtype)
    written = write_store(tmp_path / "deep" / "toy.h5", iter(samples), **SETTINGS, scale=1 / 255, offset=-0.5)
    store = VolumeStore(written.path)
    order = [4, 0, 5, 4]
    volumes = store.read(order)
    assert volumes.dtype == store.dtype == dtype
    assert store.shape == (1, 4, 5, 6)
    assert len(store) == 6
    np.testing.assert_array_equal(volumes, [samples[i].volume_CDHW for i in order])
    assert store.read([]).shape == (0, 1, 4, 5, 6)
    assert (store.scale, store.offset, store.name, store.classes) == (1 / 255, -0.5, "toy", ("benign", "malignant"))
    assert store.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert store.groups.tolist() == ["p0", "p0", "p1", "p1", "p2", "p2"]
    assert store.names[3] == "s3"
    assert store.folds.tolist() == ["0", "1", "2", "0", "1", "2"]
    assert store.spacing_mm[2].tolist() == [2.5, 0.7, 0.7]
    assert store.size_mm3[5] == 50.0
    assert store.provenance == {"source": "made here"}
    store.verify()


def test_the_same_content_has_the_same_hash(store: VolumeStore, tmp_path: Path) -> None:
    samples = [
        replace(s, name=np.str_(s.name), label=np.int64(s.label), size_mm3=np.float64(s.size_mm3))
        for s in toy_samples()
    ]
    again = write_store(tmp_path / "again.h5", samples, **SETTINGS, scale=1 / 255, offset=-0.5)
    assert again.sha256 == store.sha256


@pytest.mark.parametrize("rows", [[6], [-1], [0, 99]])
def test_rows_that_are_not_there(store: VolumeStore, rows: list[int]) -> None:
    with pytest.raises(IndexError, match="of a store of 6"):
        store.read(rows)


def one_voxel_brighter(sample: Sample) -> Sample:
    volume = sample.volume_CDHW.copy()
    volume[0, 1, 2, 3] ^= 1
    return replace(sample, volume_CDHW=volume)


CHANGES = {
    "voxel": one_voxel_brighter,
    "name": lambda s: replace(s, name="other"),
    "label": lambda s: replace(s, label=1 - s.label),
    "group": lambda s: replace(s, group="other"),
    "spacing": lambda s: replace(s, spacing_mm=(2.5, 0.7, 0.8)),
    "size": lambda s: replace(s, size_mm3=11.0),
    "fold": lambda s: replace(s, fold=""),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_any_other_content_has_another_hash(store: VolumeStore, tmp_path: Path, change) -> None:
    samples = toy_samples()
    samples[2] = change(samples[2])
    assert write_store(tmp_path / "other.h5", samples, **SETTINGS, scale=1 / 255, offset=-0.5).sha256 != store.sha256


def test_only_the_asked_rows_are_touched(store: VolumeStore) -> None:
    """Row 1 is damaged: every other row still reads, and row 1 is reported."""
    good = store.read([0, 2, 3, 4, 5])
    flip_a_byte_of(store.path, row=1)
    np.testing.assert_array_equal(VolumeStore(store.path).read([0, 2, 3, 4, 5]), good)
    with pytest.raises(NASError, match=r"cannot be read as a volume store.*delete the file"):
        VolumeStore(store.path).read([0, 1])
    with pytest.raises(NASError, match="cannot be read as a volume store"):
        VolumeStore(store.path).verify()


def flip_a_byte_of(path: Path, row: int) -> None:
    with h5py.File(path) as file:
        at = file["volumes"].id.get_chunk_info_by_coord((row, 0, 0, 0, 0)).byte_offset + 7
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("column", ["labels", "size_mm3", "spacing_mm"])
def test_verify_finds_an_edited_column(store: VolumeStore, column: str) -> None:
    with h5py.File(store.path, "r+") as file:
        file[column][0] = 1
    with pytest.raises(NASError, match="its content has the hash"):
        VolumeStore(store.path).verify()


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.99])
def test_a_file_cut_short_is_reported_on_opening(store: VolumeStore, share: float) -> None:
    content = store.path.read_bytes()
    store.path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(NASError, match=r"toy\.h5, which cannot be read as a volume store.*fix: delete the file"):
        VolumeStore(store.path)


def edited(name: str):
    def edit(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            if name == "no labels":
                del file["labels"]
            elif name == "volumes is a group":
                del file["volumes"]
                file.create_group("volumes")
            elif name == "classes are no json":
                file.attrs["classes"] = "benign"
            elif name == "fewer labels":
                del file["labels"]
                file["labels"] = np.zeros(2, dtype=np.int64)
            elif name == "names are numbers":
                del file["names"]
                file["names"] = np.zeros(6)
            elif name == "no attributes":
                del file.attrs["format"]

    return edit


@pytest.mark.parametrize(
    "name",
    ["no labels", "volumes is a group", "classes are no json", "fewer labels", "names are numbers", "no attributes"],
)
def test_another_hdf5_file_is_no_store(store: VolumeStore, name: str) -> None:
    edited(name)(store.path)
    with pytest.raises(NASError, match="cannot be read as a volume store"):
        VolumeStore(store.path)


def test_a_text_file_a_folder_and_nothing_are_no_store(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("hello\n")
    with pytest.raises(NASError, match="cannot be read as a volume store"):
        VolumeStore(tmp_path / "text.h5")
    for path in (tmp_path, tmp_path / "none.h5"):
        with pytest.raises(NASError, match="no file"):
            VolumeStore(path)


def test_a_store_of_another_format_is_reported(store: VolumeStore) -> None:
    with h5py.File(store.path, "r+") as file:
        file.attrs["format"] = 99
    with pytest.raises(NASError, match="store format 99"):
        VolumeStore(store.path)


def with_value(sample: Sample, value: float) -> Sample:
    volume = sample.volume_CDHW.copy()
    volume[0, 0, 0, 0] = value
    return replace(sample, volume_CDHW=volume)


BAD = {
    "NaN": (lambda s: with_value(s, np.nan), "NaN or infinite values in s3"),
    "infinite": (lambda s: with_value(s, np.inf), "NaN or infinite values in s3"),
    "shape": (lambda s: replace(s, volume_CDHW=s.volume_CDHW[:, :3]), r"s3 of shape \(1, 3, 5, 6\)"),
    "type": (lambda s: replace(s, volume_CDHW=s.volume_CDHW.astype(np.int16)), "s3 .* type int16"),
    "label": (lambda s: replace(s, label=2), "label 2 of s3; expected 0 to 1"),
}


@pytest.mark.parametrize(("break_it", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_sample_leaves_no_file_and_keeps_the_old_one(tmp_path: Path, break_it, message: str) -> None:
    path = tmp_path / "toy.h5"
    old = write_store(path, toy_samples(3), **SETTINGS)
    samples = toy_samples(dtype=np.float32)
    samples[3] = break_it(samples[3])
    for target in (path, tmp_path / "new.h5"):
        with pytest.raises(NASError, match=message):
            write_store(target, samples, **SETTINGS)
    assert list(tmp_path.iterdir()) == [path]
    assert VolumeStore(path).sha256 == old.sha256


def test_a_source_that_breaks_half_way_leaves_nothing(tmp_path: Path) -> None:
    def samples():
        yield from toy_samples(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_store(tmp_path / "toy.h5", samples(), **SETTINGS)
    assert list(tmp_path.iterdir()) == []


def test_no_samples_at_all(tmp_path: Path) -> None:
    with pytest.raises(NASError, match="no samples for toy"):
        write_store(tmp_path / "toy.h5", [], **SETTINGS)
    assert list(tmp_path.iterdir()) == []


def test_a_store_may_be_moved(store: VolumeStore, tmp_path: Path) -> None:
    moved = Path(shutil.move(store.path, tmp_path / "elsewhere.h5"))
    np.testing.assert_array_equal(VolumeStore(moved).read([1])[0], toy_samples()[1].volume_CDHW)


def test_a_store_open_for_writing_elsewhere_is_not_called_damaged(store: VolumeStore) -> None:
    with open(store.path, "rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(NASError, match=r"another process holds open for writing.*fix: close it there"):
            VolumeStore(store.path)
    assert VolumeStore(store.path).sha256 == store.sha256


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(37, "Unable to open file (unable to lock file, errno = 37)"), "HDF5_USE_FILE_LOCKING=FALSE"),
        (BlockingIOError(11, "Unable to open file (unable to lock file, errno = 11)"), "close it there"),
        (PermissionError(13, "Unable to open file (errno = 13)"), "may not read.*chmod a"),
        (OSError("Unable to open file (truncated file: eof = 1)"), "delete the file"),
        (KeyError("volumes"), "delete the file"),
    ],
)
def test_G7_reasons_not_to_read_a_store_are_distinguished(error: Exception, message: str) -> None:
    assert re.search(message, str(unreadable(Path("store.h5"), error)))


def test_a_patient_has_one_digest_in_stores_of_other_samples(tmp_path: Path) -> None:
    small = write_store(tmp_path / "small.h5", toy_samples(), **SETTINGS)
    large = write_store(tmp_path / "large.h5", toy_samples(4, shape=(1, 8, 8, 8)), **SETTINGS)
    assert small.patient_digests([0, 1]) == large.patient_digests([0]) == large.patient_digests([1, 0])
    assert len(small.patient_digests(range(6))) == 3
    assert set(large.patient_digests(range(4))) < set(small.patient_digests(range(6)))
    assert not set(small.content_digests(range(6))) & set(large.content_digests(range(4)))
    other = write_store(tmp_path / "other.h5", toy_samples(), **{**SETTINGS, "name": "another"})
    assert not set(other.patient_digests(range(6))) & set(small.patient_digests(range(6)))
    cohort = {**SETTINGS, "name": "another", "provenance": {"cohort": "toy"}}
    same = write_store(tmp_path / "same.h5", toy_samples(), **cohort)
    assert same.patient_digests(range(6)) == small.patient_digests(range(6))
    assert small.patient_digests([]) == []
    assert "p0" not in "".join(small.patient_digests(range(6)))
    with pytest.raises(IndexError):
        small.patient_digests([6])


def test_a_content_digest_is_that_of_the_image(tmp_path: Path, store: VolumeStore) -> None:
    renamed = [replace(s, name=f"other-{s.name}", group="x", label=1 - s.label, fold="") for s in toy_samples()]
    other = write_store(tmp_path / "other.h5", renamed, **SETTINGS)
    assert other.content_digests(range(6)) == store.content_digests(range(6))
    assert len(store.content_digests(range(6))) == 6
    changed = [one_voxel_brighter(s) for s in toy_samples()]
    assert not set(write_store(tmp_path / "changed.h5", changed, **SETTINGS).content_digests(range(6))) & set(
        store.content_digests(range(6))
    )
    known = [replace(s, content=f"{i // 2}") for i, s in enumerate(toy_samples())]
    assert write_store(tmp_path / "known.h5", known, **SETTINGS).content_digests([0, 1, 2]) == ["0", "1"]


def test_content_digests_of_a_store_of_an_earlier_version(store: VolumeStore) -> None:
    expected = store.content_digests([1, 4])
    with h5py.File(store.path, "r+") as file:
        del file["contents"]
    assert VolumeStore(store.path).content_digests([1, 4]) == expected
