"""MedMNIST3D: the official files, and the download from a real server on loopback."""

from __future__ import annotations

import functools
import http.server
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nas.data.sources.medmnist3d import SETS, MedMNIST3D
from nas.data.splits import Split
from nas.errors import NASError


@pytest.fixture(scope="session")
def adrenal(shared_data: Path) -> Path:
    path = shared_data / "adrenalmnist3d"
    if not (path / "adrenalmnist3d.npz").is_file():
        pytest.skip(f"no adrenalmnist3d in {shared_data}")
    return path


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """(address, the folder it serves)."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("size", "pad_to", "edge"),
    [(28, None, 32), (28, 28, 28), (28, 33, 33), pytest.param(64, None, 64, marks=pytest.mark.slow)],
)
def test_the_official_files(adrenal: Path, data_cache: Path, size: int, pad_to: int | None, edge: int) -> None:
    store = MedMNIST3D(str(adrenal), str(data_cache), size=size, pad_to=pad_to).prepare()
    assert store.shape == (1, edge, edge, edge)
    assert store.classes == ("normal", "hyperplasia")
    assert {fold: int((store.folds == fold).sum()) for fold in ("train", "val", "test")} == {
        "train": 1188,
        "val": 98,
        "test": 298,
    }
    assert [int(store.labels[store.folds == fold].sum()) for fold in ("train", "val", "test")] == [259, 22, 69]
    assert len(set(store.groups)) == 1584
    assert store.spacing_mm[0] == pytest.approx([64 / size] * 3)
    row = 1188 + 98 + 5
    with np.load(adrenal / ("adrenalmnist3d.npz" if size == 28 else "adrenalmnist3d_64.npz")) as file:
        volume, label = file["test_images"][5], int(file["test_labels"][5, 0])
    before = (edge - size) // 2
    inside = np.s_[before : before + size]
    stored = store.read([row])[0, 0]
    np.testing.assert_array_equal(stored[inside, inside, inside], volume)
    assert stored.sum(dtype=np.int64) == volume.sum(dtype=np.int64)
    assert store.labels[row] == label
    assert store.scale * stored.max() == pytest.approx(1.0)


def test_the_official_split_is_the_one_round(adrenal: Path, data_cache: Path) -> None:
    split = Split(MedMNIST3D(str(adrenal), str(data_cache)).prepare())
    (only,) = split.holdout_rounds()
    assert [len(only.train), len(only.valid), len(only.test)] == [1188, 98, 298]
    assert [len(part) for part in split.search] == [1188, 98]
    assert not set(split.test) & {*split.search[0], *split.search[1]}


def test_a_prepared_store_needs_no_file(adrenal: Path, data_cache: Path) -> None:
    sha256 = MedMNIST3D(str(adrenal), str(data_cache)).prepare().sha256
    assert MedMNIST3D(None, str(data_cache)).prepare().sha256 == sha256


def test_the_folder_above_will_do(adrenal: Path, tmp_path: Path) -> None:
    assert len(MedMNIST3D(str(adrenal.parent), str(tmp_path)).prepare()) == 1584


def test_download(adrenal: Path, server: tuple[str, Path], tmp_path: Path) -> None:
    address, served = server
    shutil.copy(adrenal / "adrenalmnist3d.npz", served)
    url = f"{address}/adrenalmnist3d.npz?download=1"
    root = tmp_path / "root"
    store = MedMNIST3D(str(root), str(tmp_path / "cache"), download=True, url=url).prepare()
    assert len(store) == 1584
    assert [path.name for path in root.iterdir()] == ["adrenalmnist3d.npz"]
    (served / "adrenalmnist3d.npz").unlink()  # what is there is not fetched again
    assert len(MedMNIST3D(str(root), str(tmp_path / "cache2"), download=True, url=url).prepare()) == 1584


def test_without_a_folder_the_file_goes_to_the_cache(adrenal: Path, server: tuple[str, Path], tmp_path: Path) -> None:
    address, served = server
    shutil.copy(adrenal / "adrenalmnist3d.npz", served)
    source = MedMNIST3D(None, str(tmp_path / "cache"), download=True, url=f"{address}/adrenalmnist3d.npz")
    assert len(source.prepare()) == 1584
    assert (tmp_path / "cache" / "adrenalmnist3d.npz").is_file()


def refused(tmp_path: Path, url: str, message: str) -> None:
    root = tmp_path / "root"
    with pytest.raises(NASError, match=message):
        MedMNIST3D(str(root), str(tmp_path / "cache"), download=True, url=url).prepare()
    assert not root.exists() or list(root.iterdir()) == []
    assert list((tmp_path / "cache").glob("*")) == []


def test_a_download_with_a_wrong_checksum_leaves_nothing(server: tuple[str, Path], tmp_path: Path) -> None:
    address, served = server
    (served / "adrenalmnist3d.npz").write_bytes(b"something else")
    refused(tmp_path, f"{address}/adrenalmnist3d.npz", "got md5 .* expected md5 bbd3c5a5576322bc4cdfea780653b1ce")


def test_a_file_that_is_not_on_the_server(server: tuple[str, Path], tmp_path: Path) -> None:
    refused(tmp_path, f"{server[0]}/adrenalmnist3d.npz", "cannot be fetched .*404.*fetch it by hand")


class HalfWay(Quiet):
    """Promises 1000 bytes, sends 10 and hangs up."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"x" * 10)


def test_a_server_that_hangs_up_half_way(tmp_path: Path) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), HalfWay) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        refused(tmp_path, f"http://127.0.0.1:{server.server_port}/adrenalmnist3d.npz", "got")
        thread.join()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:1/adrenalmnist3d.npz", "cannot be fetched"),
        ("no address", "data.url=no address; expected a URL"),
        ("ftp//x", "data.url=ftp//x; expected a URL"),
    ],
)
def test_no_server_at_all(tmp_path: Path, url: str, message: str) -> None:
    refused(tmp_path, url, message)


def test_a_missing_file_names_both_ways_out(tmp_path: Path) -> None:
    for root in (None, str(tmp_path), str(tmp_path / "none")):
        with pytest.raises(NASError, match=r"adrenalmnist3d\.npz.*set data\.root to .*data\.download to true"):
            MedMNIST3D(root, str(tmp_path / "cache")).prepare()
    assert not (tmp_path / "cache").exists() or list((tmp_path / "cache").iterdir()) == []


def test_a_local_file_with_a_wrong_checksum_is_refused_and_kept(adrenal: Path, tmp_path: Path) -> None:
    content = bytearray((adrenal / "adrenalmnist3d.npz").read_bytes())
    content[1000] ^= 1
    (tmp_path / "adrenalmnist3d.npz").write_bytes(content)
    for download in (False, True):
        with pytest.raises(NASError, match=r"got md5 .* of .*adrenalmnist3d\.npz; expected md5 bbd3c5a5"):
            MedMNIST3D(str(tmp_path), str(tmp_path / "cache"), download=download).prepare()
    assert (tmp_path / "adrenalmnist3d.npz").read_bytes() == content


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"flag": "pathmnist"}, "flag=pathmnist; expected one of organmnist3d"),
        ({"size": 128}, "size=128; expected 28 or 64"),
        ({"pad_to": 20}, "pad_to=20; expected at least the size, 28"),
    ],
)
def test_wrong_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(NASError, match=message):
        MedMNIST3D(None, "cache", **arguments)


def test_the_table_of_sets_is_complete() -> None:
    assert len(SETS) == 6
    sums = [md5 for one in SETS.values() for md5 in one.md5.values()]
    assert len(set(sums)) == 12
    assert all(re.fullmatch("[0-9a-f]{32}", md5) for md5 in sums)
    assert len(SETS["organmnist3d"].classes) == 11
    names = {MedMNIST3D(None, "cache", flag=flag, size=size).url for flag in SETS for size in (28, 64)}
    assert len(names) == 12
    assert "https://zenodo.org/records/10519652/files/organmnist3d_64.npz?download=1" in names
