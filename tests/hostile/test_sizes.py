"""Sizes are bounded before anything is read or built, and only plain files are read (C3, C4, C6)."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
import torch

from experiments.tables.spec import load as load_table
from nas.artifact import Artifact, SpaceFacts, load
from nas.comparison.jobs import _config
from nas.cost.latency import LatencyTable
from nas.data.io.csv_table import read_table
from nas.data.io.images import read_channels, read_image
from nas.data.io.npz import read_npz
from nas.data.store import VolumeStore
from nas.errors import NASError
from nas.inference.model_spec import ModelSpec
from nas.provenance import Provenance
from nas.retraining.result import TrainResult
from nas.study.storage import Store
from nas.study.url import store_url
from nas.task_spec import TaskSpec
from nas.training.tensor_file import load_verified
from nas.trials_table import read_h5, write_h5
from nas.utils.hashing import file_digest
from search_spaces.naslung import NASLungSpace
from search_spaces.unet import UNetSpace
from tests.tables import records_of, table_of

DEEP = "[" * 100_000 + "]" * 100_000
SECONDS = 2.0


@contextmanager
def one_line_soon(words: str = "") -> Iterator[None]:
    begun = time.process_time()  # not the time of day: the machine may be busy
    with pytest.raises(NASError, match=words or None) as caught:
        yield
    assert time.process_time() - begun < SECONDS
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 4000


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    space, arch = NASLungSpace.from_name("model-1")
    Artifact(space, arch, TaskSpec(), {"auc": 0.9}, Provenance()).save(tmp_path / "arch.json")
    return tmp_path / "arch.json"


def edited(path: Path, *keys: str, value: Any) -> Path:
    content = place = json.loads(path.read_text())
    for key in keys[:-1]:
        place = place.setdefault(key, {})
    place[keys[-1]] = value
    path.write_text(json.dumps(content))
    return path


READERS: tuple[Callable[[Path], object], ...] = (load, ModelSpec.load, LatencyTable.load, TrainResult.load)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("text", [DEEP, '{"schema":' + DEEP + "}", '{"a":' * 100_000 + "1" + "}" * 100_000])
def test_C3_deep_json(tmp_path: Path, read: Callable[[Path], object], text: str) -> None:
    path = tmp_path / "model.json"
    path.write_text(text)
    with one_line_soon("deep"):
        read(path)


@pytest.mark.parametrize("text", ["[" * 5000, "- " * 5000, "x" * 300_000])
def test_C3_deep_and_large_yaml(tmp_path: Path, text: str) -> None:
    path = tmp_path / "table.yaml"
    path.write_text(text)
    with one_line_soon():
        load_table(str(path))
    with one_line_soon():
        _config(path)


def test_C3_yaml_that_grows_by_its_aliases(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    path.write_text("\n".join(lines))
    with one_line_soon("more than"):
        _config(path)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("provenance",), [1]),
        (("provenance",), "x"),
        (("provenance", "search"), 5),
        (("provenance", "search"), {"study": []}),
        (("provenance", "searched_space"), {"widths": [10**12]}),
        (("metrics",), [1, 2]),
        (("metrics",), {"auc": "high"}),
        (("metrics",), {"auc": {"x": 1}}),
        (("task", "outputs"), 10**10),
        (("task", "in_channels"), 10**10),
        (("task", "outputs"), 2.5),
        (("task", "dims"), 7),
        (("task", "kind"), ["x"]),
        (("space", "arguments"), {"max_depth": 10**7}),
        (("space", "arguments"), {"max_depth": 100_000}),
        (("space", "arguments"), {"widths": list(range(4, 200_000))}),
        (("space", "arguments"), [1]),
        (("space", "arguments"), {"head": "x" * 10**6}),
        (("genes",), list(range(10**6))),
        (("genes",), {"a": 1}),
        (("schema",), 10**400),
        (("id",), 5),
    ],
)
def test_C3_values_of_an_arch_json(saved: Path, keys: tuple[str, ...], value: Any) -> None:
    with one_line_soon():
        load(edited(saved, *keys, value=value))


def test_C3_a_network_of_too_many_parameters_is_not_built(tmp_path: Path) -> None:
    space = UNetSpace(depths=[2], widths=[1024], block_counts=[16], kernels=[15])
    arch = space.architecture([0] * len(space.genes))
    with pytest.raises(NASError, match="parameters"):
        Artifact(space, arch, TaskSpec("segmentation")).build()


def test_C3_the_space_of_a_study_or_table() -> None:
    facts = SpaceFacts("x", (), "search_spaces.NASLungSpace", {"max_depth": 10**7})
    with one_line_soon():
        facts.build()


def test_C3_the_facts_of_a_table(tmp_path: Path) -> None:
    write_h5(tmp_path / "t.h5", table_of(records_of()))
    with h5py.File(tmp_path / "t.h5", "a") as file:
        file.attrs["spec"] = np.bytes_(DEEP[:60_000])
    with one_line_soon():
        read_h5(tmp_path / "t.h5")


# C4


@pytest.fixture
def table(tmp_path: Path) -> Path:
    write_h5(tmp_path / "t.h5", table_of(records_of()))
    return tmp_path / "t.h5"


def secret(folder: Path) -> Path:
    (folder / "secret.raw").write_bytes(bytes(range(256)) * 64)
    with h5py.File(folder / "secret.h5", "w") as file:
        file["secret"] = np.arange(100)
    return folder / "secret.raw"


def external(file: h5py.File, name: str, folder: Path) -> None:
    file.create_dataset(name, shape=(100,), dtype="i8", external=[(str(secret(folder)), 0, 800)])


def virtual(file: h5py.File, name: str, folder: Path) -> None:
    secret(folder)
    layout = h5py.VirtualLayout(shape=(100,), dtype="i8")
    layout[:] = h5py.VirtualSource(str(folder / "secret.h5"), "secret", shape=(100,))
    file.create_virtual_dataset(name, layout)


def linked(file: h5py.File, name: str, folder: Path) -> None:
    secret(folder)
    file[name] = h5py.ExternalLink(str(folder / "secret.h5"), "secret")


def soft(file: h5py.File, name: str, folder: Path) -> None:
    file[name] = h5py.SoftLink("/elsewhere")


def inflating(file: h5py.File, name: str, folder: Path) -> None:
    file.create_dataset(name, shape=(2**28,), dtype="i8", chunks=(2**20,), compression="gzip")


def without_end(file: h5py.File, name: str, folder: Path) -> None:
    file.create_dataset(name, shape=(4 * 10**9,), dtype="i8", chunks=(1024,))


HOSTILE_DATASETS = [external, virtual, linked, soft, inflating, without_end]


@pytest.mark.parametrize("make", HOSTILE_DATASETS)
@pytest.mark.parametrize("name", ["numbers", "more/hidden", "labels"])
def test_C4_C6_hdf5_of_other_files_and_without_end(table: Path, make: Callable[..., None], name: str) -> None:
    with h5py.File(table, "a") as file:
        if name in file:
            del file[name]
        make(file, name, table.parent)
    with one_line_soon(name):
        read_h5(table)
    with one_line_soon():
        VolumeStore(table)


# C6


@pytest.mark.parametrize("kind", ["itself", "the file", "twice"])
def test_C4_a_group_that_is_linked_within_itself(table: Path, kind: str) -> None:
    with h5py.File(table, "a") as file:
        group = file.create_group("more")
        if kind == "twice":  # 2^n names for n groups
            for _ in range(40):
                group["a"] = group["b"] = file.create_group(f"group{len(file)}")
                group = group["a"]
        else:
            group["deeper"] = group if kind == "itself" else file["/"]
    with one_line_soon("a link to a group"):
        read_h5(table)
    with one_line_soon():
        VolumeStore(table)


def special(folder: Path, name: str, kind: str) -> Path:
    path = folder / name
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    return path


TEXT_READERS: dict[str, Callable[[Path], object]] = {
    "arch.json": load,
    "model.json": ModelSpec.load,
    "table.csv": read_table,
    "table.yaml": lambda path: load_table(str(path)),
    "a.npz": lambda path: read_npz(path, ["x"]),
    "a.nii.gz": read_image,
    "a.nii": read_channels,
    "a.nrrd": read_image,
    "a.mha": read_image,
    "a.npy": read_image,
    "t.h5": read_h5,
    "s.h5": VolumeStore,
    "study.db": lambda path: store_url(str(path)),
}


@pytest.mark.parametrize("kind", ["pipe", "endless"])
@pytest.mark.parametrize("name", TEXT_READERS)
@pytest.mark.timeout(60)
def test_C6_pipes_and_devices(tmp_path: Path, name: str, kind: str) -> None:
    with one_line_soon():
        TEXT_READERS[name](special(tmp_path, name, kind))


@pytest.mark.parametrize("kind", ["pipe", "endless"])
@pytest.mark.parametrize("read", [file_digest, load_verified])
@pytest.mark.timeout(60)
def test_C6_pipes_and_devices_of_weights(tmp_path: Path, read: Callable[[Path], object], kind: str) -> None:
    with pytest.raises(ValueError, match="not a file"):
        read(special(tmp_path, "weights.pt", kind))


def test_C6_weights_that_inflate(tmp_path: Path) -> None:
    content = io.BytesIO()
    torch.save({"w": torch.zeros(2**22)}, content)
    with zipfile.ZipFile(content) as archive, zipfile.ZipFile(tmp_path / "w.pt", "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in archive.infolist():
            packed.writestr(entry.filename, archive.read(entry.filename))
    assert (tmp_path / "w.pt").stat().st_size < 2**24 / 600
    with pytest.raises(ValueError, match="compressed"):
        load_verified(tmp_path / "w.pt")


def test_C6_weights_that_call_functions(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, ("touch ran",)

    torch.save({"w": Evil()}, tmp_path / "w.pt")
    with pytest.raises(pickle.UnpicklingError):
        load_verified(tmp_path / "w.pt")


def bomb_npz(path: Path, declared: int) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (declared // 8,)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as file:
        file.write(header.getvalue())
        for _ in range(declared // 2**24):
            file.write(bytes(2**24))


def test_C6_an_archive_that_inflates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.utils.foreign.require_size.__defaults__", (2**25,))
    bomb_npz(tmp_path / "a.npz", 2**27)
    with one_line_soon("in memory"):
        read_npz(tmp_path / "a.npz", ["x"])


def test_C6_an_array_longer_than_its_file(tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**5, 10**5, 9)})
    with one_line_soon("shape"):
        read_image(tmp_path / "a.npy")


def nifti(path: Path, shape: tuple[int, ...], voxels: int) -> Path:
    header = nibabel.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(np.int16)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header.binaryblock + bytes(4))
        for _ in range(voxels // 2**22):
            file.write(bytes(2**23))
    return path


def test_C6_a_header_that_declares_more_than_a_volume(tmp_path: Path) -> None:
    with one_line_soon("in memory"):
        read_image(nifti(tmp_path / "a.nii.gz", (4096, 4096, 4096), 2**22))


def test_C6_gzip_data_beyond_the_header(tmp_path: Path) -> None:
    with one_line_soon("beyond"):
        read_image(nifti(tmp_path / "a.nii.gz", (16, 16, 16), 2**24))


@pytest.mark.parametrize("name", ["/etc/hostname", "../x.raw", "sub/../../x.raw"])
def test_C6_voxels_outside_the_folder_of_a_header(tmp_path: Path, name: str) -> None:
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "DimSize = 2 2 2",
        "ElementType = MET_UCHAR",
        f"ElementDataFile = {name}",
    ]
    (tmp_path / "a.mhd").write_text("\n".join(lines) + "\n")
    with one_line_soon("outside its folder"):
        read_image(tmp_path / "a.mhd")


def test_C6_a_header_with_a_billion_files(tmp_path: Path) -> None:
    lines = ["ObjectType = Image", "NDims = 3", "DimSize = 2 2 2", "ElementType = MET_UCHAR"]
    (tmp_path / "a.mhd").write_text("\n".join([*lines, "ElementDataFile = s%03d.raw 1 1000000000 1"]) + "\n")
    with one_line_soon("data files"):
        read_image(tmp_path / "a.mhd")


def test_C6_deflated_dicom(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    mark = b"1.2.840.10008.1.2.1.99\0\0"
    head = bytes(128) + b"DICM" + struct.pack("<HH2sH", 2, 16, b"UI", len(mark)) + mark
    (tmp_path / "series" / "a.dcm").write_bytes(head)
    with one_line_soon("deflated"):
        read_image(tmp_path / "series")


JOURNALS = {
    "deep": '{"op_code": 0, "x": ' + DEEP + "}",
    "names": '{"op_code": 0, "worker_id": "w", "study_name": ["x"], "directions": [1]}',
    "operation": '{"op_code": 99, "worker_id": "w"}',
    "directions": '{"op_code": 0, "worker_id": "w", "study_name": "a", "directions": [77]}',
    "list": "[1]",
}


@pytest.mark.parametrize("name", JOURNALS)
def test_C3_entries_of_a_journal(tmp_path: Path, name: str) -> None:
    (tmp_path / "study.log").write_text(JOURNALS[name] + "\n")
    with one_line_soon():
        Store(f"journal://{tmp_path}/study.log")
