"""Everything that decides the content of a prepared store is in its name."""

from __future__ import annotations

import errno
import fcntl
import importlib
import inspect
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hydra import compose, initialize_config_dir

from experiments.build import build
from nas.data import identity
from nas.data.identity import FileDigests, reader_digest
from nas.data.io.files import files_of, named_files, split_name
from nas.data.sample import Sample
from nas.data.source import Source
from nas.data.sources.brats import Brats
from nas.data.sources.lidc_shapes import LidcShapes
from nas.data.sources.manifest import Manifest
from nas.data.sources.msd import Msd
from nas.errors import NASError
from nas.utils.hashing import digest, file_digest
from tests.conftest import REPO
from tests.data.written_brats import write_brats

# ---- source files


def write_volumes(folder: Path) -> Manifest:
    """Two volumes with detached data files, named by their headers in a way that no rule about endings would find."""
    folder.mkdir(exist_ok=True)
    lines = ["path,label,patient"]
    for number in range(2):
        voxels = np.random.default_rng(number).integers(0, 100, (6, 7, 8)).astype(np.int16)
        sitk.WriteImage(sitk.GetImageFromArray(voxels), str(folder / f"scan{number}.mhd"))
        (folder / f"scan{number}.raw").rename(folder / f"voxels-{number}.data")
        header = (folder / f"scan{number}.mhd").read_text().replace(f"scan{number}.raw", f"voxels-{number}.data")
        (folder / f"scan{number}.mhd").write_text(header)
        lines.append(f"scan{number}.mhd,{number},p{number}")
    (folder / "my.csv").write_text("\n".join(lines))
    return manifest(folder)


def manifest(folder: Path, cache: Path | None = None) -> Manifest:
    return Manifest(str(folder / "my.csv"), str(cache or folder / "cache"), size=8, window=[0, 100])


def change_one_voxel(path: Path) -> None:
    """Keeps the size and the time of change, as copying tools may."""
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_one_voxel_of_a_data_file_makes_another_store(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = write_volumes(tmp_path).prepare()
    with caplog.at_level(logging.INFO, "nas.data.source"):
        caplog.clear()  # the level may have been lower before, by a command of another test
        assert manifest(tmp_path).prepare().path == first.path
        assert caplog.messages == []
        change_one_voxel(tmp_path / "voxels-1.data")
        second = manifest(tmp_path).prepare()
    assert second.path != first.path
    assert second.sha256 != first.sha256
    assert caplog.messages == [
        f"preparing {second.path}; the source files or their reader changed since {first.path.name} was made"
    ]


@pytest.mark.parametrize("name", ["my.csv", "scan0.mhd"])
def test_every_other_source_file_counts(tmp_path: Path, name: str) -> None:
    first = write_volumes(tmp_path).store_path()
    with (tmp_path / name).open("a") as file:
        file.write("\n")
    assert manifest(tmp_path).store_path() != first


def test_a_copy_of_the_source_elsewhere_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    first, second = write_volumes(tmp_path / "a"), write_volumes(tmp_path / "other" / "b")
    assert first.store_path().name == second.store_path().name


def test_a_renamed_patient_folder_is_another_store_with_the_same_images(tmp_path: Path) -> None:
    root = write_brats(tmp_path / "a")
    first = Brats(str(root), str(tmp_path / "cache"), size=8).prepare()
    folder = sorted(path for path in root.rglob("*") if any(path.glob("*.nii*")))[0]
    renamed = folder.with_name("zz-renamed")
    folder.rename(renamed)
    second = Brats(str(root), str(tmp_path / "cache"), size=8).prepare()
    rows = range(len(first))
    assert second.path != first.path
    assert second.patient_digests(rows) != first.patient_digests(rows)
    assert second.content_digests(rows) == first.content_digests(rows)


# ---- constructor arguments

OTHER: dict[tuple[str, str], Any] = {  # where the next number or the other word would be refused or be the same
    ("brats", "labels"): "brats2023",
    ("brats", "modalities"): ["t1"],
    ("brats", "order"): "resample_first",
    ("brats", "size"): [64, 64, 32],
    ("icbm_tissue", "dims"): 2,
    ("lung_pet_ct_dx", "parts"): [0.6, 0.2, 0.2],
    ("lung_pet_ct_dx", "unknown"): "skip",
    ("lung_pet_ct_dx", "windows"): ["lung", "mediastinum"],
    ("manifest", "centre"): "image",
    ("manifest", "class_names"): ["a", "b"],
    ("manifest", "npy_axes"): "CDHW",
    ("manifest", "percentiles"): [1.0, 99.0],
    ("manifest", "subgroups"): ["sex"],
    ("manifest", "window"): [0, 1],
    ("msd", "class_names"): ["background", "kidney"],
    ("msd", "crop"): [16, 16, 16],
    ("medmnist3d", "flag"): "nodulemnist3d",
    ("medmnist3d", "pad_to"): 40,
    ("medmnist3d", "size"): 64,
    ("msd", "normalise"): "volume",
    ("msd", "spacing_mm"): 2.0,
    ("nodule_phantoms", "dims"): 3,
    ("nodule_phantoms", "negatives"): 0.5,
    ("nodule_phantoms", "windows"): ["mediastinum"],
}
DATA = sorted(path.stem for path in (REPO / "conf" / "data").glob("*.yaml"))


def built(name: str, cache: Path, **arguments: Any) -> Source:
    with initialize_config_dir(str(REPO / "conf"), version_base="1.3"):
        cfg = compose("search", overrides=[f"data={name}", f"data_cache={cache}", "data_root=/data"])
    return build(cfg.data, "data", Source, **arguments)


def other_value(name: str, key: str, value: Any) -> Any:
    if (name, key) in OTHER:
        return OTHER[name, key]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, tuple | list) and value:
        return [*value[:-1], value[-1] + 1]
    raise AssertionError(f"no other value for {key} of {name}")


@pytest.mark.parametrize("name", DATA)
def test_every_argument_is_part_of_the_identity_or_has_a_reason_not_to_be(name: str, tmp_path: Path) -> None:
    source = built(name, tmp_path)
    names = set(inspect.signature(type(source)).parameters)
    assert set(source.arguments()) == names - set(source.UNIDENTIFYING)
    assert all(len(reason.split()) >= 4 for reason in source.UNIDENTIFYING.values())
    for key, value in source.arguments().items():
        changed = built(name, tmp_path, **{key: other_value(name, key, value)})
        assert digest(changed.arguments()) != digest(source.arguments()), key


def test_an_argument_makes_another_store(tmp_path: Path) -> None:
    paths = [LidcShapes(str(tmp_path), *arguments).store_path() for arguments in ((), (16,), (16, 2.0), (16, 2.0, 4))]
    assert len({path.name for path in paths}) == 4
    assert len({path.name.split("-")[-1] for path in paths}) == 1


def test_another_patch_needs_no_other_store(tmp_path: Path) -> None:
    root = write_brats(tmp_path / "a")
    whole, patches = (Brats(str(root), str(tmp_path), size=8, patch=patch).store_path() for patch in (None, 4))
    assert whole == patches
    assert "patch" in Msd.UNIDENTIFYING


# ---- code

MODULE = '''
"""Docstring."""
from nas.data.sample import Sample
from nas.data.source import Source
from {package}.helper import value


class Toy(Source):
    """Docstring."""
    name, classes = "toy", ("a", "b")

    def __init__(self, cache_dir):
        self.cache_dir = cache_dir

    def samples(self):
        import numpy as np
        for number in range(2):
            yield Sample(str(number), np.full((1, 2, 2, 2), value(), np.int16), number, str(number))
'''
HELPER = '"""Docstring."""\n\ndef value():\n    """Docstring."""\n    return 1  # comment\n'
EDITS = {
    "the source": ("source.py", lambda text: text.replace("np.int16", "np.uint8"), True),
    "a module that it imports": ("helper.py", lambda text: text.replace("return 1", "return 2"), True),
    "a comment": ("helper.py", lambda text: text.replace("# comment", "# remark"), False),
    "docstrings": ("helper.py", lambda text: text.replace("Docstring", "Text"), False),
    "formatting": ("helper.py", lambda text: text.replace("return 1", "return ( 1 )\n"), False),
}


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Callable[[], Source]]]:
    package = f"toy_{tmp_path.name.replace('-', '_')}"
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").touch()
    (tmp_path / package / "source.py").write_text(MODULE.format(package=package))
    (tmp_path / package / "helper.py").write_text(HELPER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load() -> Source:
        forget(package)
        importlib.invalidate_caches()
        return importlib.import_module(f"{package}.source").Toy(str(tmp_path / "cache"))

    yield tmp_path / package, load
    forget(package)


def forget(package: str) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]


@pytest.mark.parametrize(("name", "edit", "counts"), EDITS.values(), ids=EDITS)
def test_code_that_reads_counts_and_comments_do_not(
    toy: tuple[Path, Callable[[], Source]], name: str, edit: Callable[[str], str], counts: bool
) -> None:
    folder, load = toy
    first = load().prepare()
    text = (folder / name).read_text()
    assert edit(text) != text
    (folder / name).write_text(edit(text))
    second = load().prepare()
    assert (second.path != first.path) == counts
    assert (second.sha256 != first.sha256) == counts


def test_a_reader_is_the_code_that_it_imports() -> None:
    digests = [reader_digest(source) for source in (Manifest, Brats, Msd, LidcShapes)]
    assert len(set(digests)) == 4
    assert reader_digest(Brats) == digests[1]


# ---- files of a volume


def test_files_that_headers_name(tmp_path: Path) -> None:
    headers = {
        "one.mhd": ("NDims = 3\nElementDataFile = a b.raw\n", ["a b.raw"]),
        "list.mhd": ("ElementDataFile = LIST\nx.raw\ny.raw\n", ["x.raw", "y.raw"]),
        "numbered.mhd": ("ElementDataFile = s%03d.raw 1 5 2\n", ["s001.raw", "s003.raw", "s005.raw"]),
        "local.mha": ("ElementDataFile = LOCAL\n\x01\x02", []),
        "one.nhdr": ("NRRD0004\ntype: short\ndata file: b.gz\n", ["b.gz"]),
        "list.nhdr": ("NRRD0004\ndata file: LIST\nx.raw\ny.raw\n", ["x.raw", "y.raw"]),
        "whole.nrrd": ("NRRD0004\ntype: short\n\ndata file: no header any more\n", []),
        "volume.nii.gz": ("", []),
        "missing.mhd": (None, []),
    }
    for name, (text, expected) in headers.items():
        if text is not None:
            (tmp_path / name).write_text(text, encoding="latin-1")
        assert files_of(tmp_path / name) == [tmp_path / name, *(tmp_path / other for other in expected)], name
    (tmp_path / "pair.hdr").touch()
    (tmp_path / "pair.img").touch()
    assert files_of(tmp_path / "pair.img") == [tmp_path / "pair.img", tmp_path / "pair.hdr"]


def test_files_of_a_folder(tmp_path: Path) -> None:
    for name in ("b.dcm", "a.dcm", ".hidden"):
        (tmp_path / name).touch()
    (tmp_path / "below").mkdir()
    assert files_of(tmp_path) == [tmp_path / "a.dcm", tmp_path / "b.dcm"]
    assert list(named_files([("series", tmp_path)])) == ["series/a.dcm", "series/b.dcm"]


def test_names_without_endings(tmp_path: Path) -> None:
    (tmp_path / "1.2.840.nii").mkdir()
    endings = {"scan.1.nii.gz": "scan.1", "SCAN.NII.GZ": "SCAN", "a.b.MHD": "a.b", "x.npy": "x", "1.2.3": "1.2.3"}
    for name, expected in {**endings, "1.2.840.nii": "1.2.840.nii", "1.2.840.nii/..": tmp_path.name}.items():
        assert split_name(tmp_path / name)[0] == expected


def test_digests_are_remembered_without_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, memory = tmp_path / "Jane Doe.nii", tmp_path / "digests.json"
    path.write_bytes(b"voxels")
    read = []
    monkeypatch.setattr(identity, "file_digest", lambda path: read.append(path) or file_digest(path))
    FileDigests(memory).of(path)
    assert len(read) == 1
    monkeypatch.setattr(identity, "UNSETTLED_S", -1.0)  # as if the file had been there for a while
    for _ in range(3):
        digests = FileDigests(memory)
        assert digests.of_all([path]) == [file_digest(path)]
        digests.save()
    assert len(read) == 2
    assert list(json.loads(memory.read_text()).values()) == [file_digest(path)]
    assert "Jane" not in memory.read_text()
    change_one_voxel(path)
    assert FileDigests(memory).of(path) == file_digest(path)
    assert FileDigests(memory).of(tmp_path / "missing") == ""
    memory.write_text("no json")
    assert FileDigests(memory).of(path) == file_digest(path)


# ---- several processes


class Slow(Source):
    name, classes = "slow", ("a", "b")
    made: list[int] = []  # noqa: RUF012

    def __init__(self, cache_dir: str, together: threading.Barrier | None) -> None:
        self.cache_dir, self.together = cache_dir, together

    UNIDENTIFYING = {**Source.UNIDENTIFYING, "together": "it only holds up the threads"}  # noqa: RUF012

    def samples(self) -> Iterator[Sample]:
        self.made.append(1)
        if self.together is not None:
            self.together.wait(30)
        for number in range(4):
            yield Sample(str(number), np.full((1, 3, 3, 3), number, np.int16), number % 2, str(number))


@pytest.mark.parametrize("locks", [True, False])
def test_G6_two_that_prepare_one_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: bool) -> None:
    """With locks one waits and takes the store of the other; without them both write, and neither harms the other."""
    monkeypatch.setattr(Slow, "made", [])
    monkeypatch.setattr(os, "getpid", lambda: 1)  # as in two containers
    together = None if locks else threading.Barrier(2)
    if not locks:

        def refuse(handle: int, operation: int) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", refuse)
    stores: list[Any] = []
    threads = [
        threading.Thread(target=lambda: stores.append(Slow(str(tmp_path), together).prepare())) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(stores) == 2
    assert stores[0].path == stores[1].path
    for store in stores:
        store.verify()
    assert len(Slow.made) == (1 if locks else 2)
    assert list(tmp_path.iterdir()) == [stores[0].path]


def test_a_cache_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *args: Any, **kwargs: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "cache" / "x"))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(NASError, match=r"got cache_dir=.*cannot be written.*fix: data_cache=/folder"):
        Slow(str(tmp_path / "cache"), None).prepare()
