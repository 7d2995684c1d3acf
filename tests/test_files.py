"""Atomic writing of files and folders, locks, hashes and seeds."""

from __future__ import annotations

import ast
import errno
import fcntl
import hashlib
import multiprocessing
import os
import shlex
import subprocess
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pytest

from nas.artifact import load
from nas.errors import NASError
from nas.report.search_files import next_command as next_of_search
from nas.report.train import next_command
from nas.utils.files import (
    atomic_folder,
    atomic_path,
    file_lock,
    for_shell,
    locked,
    read_json,
    temporary_path,
    write_text,
)
from nas.utils.hashing import digest, file_digest

REPO = Path(__file__).resolve().parents[1]
PROCESSES = multiprocessing.get_context("spawn")


def test_a_new_folder_takes_the_old_ones_place(tmp_path: Path) -> None:
    for content in ("first", "second"):
        with atomic_folder(tmp_path / "out") as folder:
            (folder / content).write_text(content)
            assert folder != tmp_path / "out"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["second"]


def test_a_stated_command_can_be_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert for_shell(Path("outputs/train/x")) == "outputs/train/x"
    folder = tmp_path / "outputs/auto/Zwei Bälle"
    assert shlex.split(next_command("segmentation", folder))[:3] == ["voxnas", "predict", "outputs/auto/Zwei Bälle"]
    assert shlex.split(next_of_search(folder))[2:] == ["arch=outputs/auto/Zwei Bälle/arch.json"]


def broken_off(folder: Path, end: type[BaseException]) -> None:
    with atomic_folder(folder) as temporary:
        (temporary / "half").touch()
        raise end


@pytest.mark.parametrize("end", [ValueError, KeyboardInterrupt])
def test_what_ends_the_writing_leaves_the_old_folder(tmp_path: Path, end: type[BaseException]) -> None:
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "old").touch()
    with pytest.raises(end):
        broken_off(tmp_path / "out", end)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["old"]


def test_temporary_names_of_two_containers_with_one_process_number_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with atomic_path(tmp_path / "file") as first, atomic_path(tmp_path / "file") as second:
        first.write_text("first")
        second.write_text("second")
        assert first != second
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "first"  # the inner context ended before the outer one


def test_leftovers_of_ended_processes_are_removed(tmp_path: Path) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    alive = temporary_path(tmp_path / "file")
    dead = alive.with_name(alive.name.replace(f".{os.getpid()}.", f".{process.pid}."))
    for path in (alive, dead):
        path.touch()
    write_text(tmp_path / "file", "content")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["file", alive.name])


def hold(path: Path, ready: Event) -> None:
    with locked(path):
        ready.set()
        time.sleep(60)


def test_a_lock_ends_with_its_holder(tmp_path: Path) -> None:
    ready = PROCESSES.Event()
    holder = PROCESSES.Process(target=hold, args=(tmp_path / "lock", ready))
    holder.start()
    assert ready.wait(30)
    assert not free(tmp_path / "lock")
    holder.kill()
    holder.join(30)
    with locked(tmp_path / "lock"):
        assert not free(tmp_path / "lock")
    assert free(tmp_path / "lock")


def free(path: Path) -> bool:
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path / "lock"):
        (tmp_path / "written").touch()
    with pytest.raises(OSError, match="No locks available"):
        file_lock(tmp_path / "lock").acquire()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), locked(tmp_path / "file" / "lock"):
        pytest.fail("the block must not run")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"a": 1, "b": (1, 2)}, {"b": [1, 2], "a": 1}),
        (np.float64(0.5), 0.5),
        (np.arange(3), [0, 1, 2]),
        (Path("a/b"), "a/b"),
        ({"x"}, ["x"]),
    ],
)
def test_equal_values_have_one_digest(first: object, second: object) -> None:
    assert digest(first) == digest(second)


def test_other_values_have_other_digests() -> None:
    values = [1, "1", 1.5, None, True, [], {}, {"a": 1}, {"a": "1"}, [1, 2], [[1], 2]]
    assert len({digest(value) for value in values}) == len(values)
    with pytest.raises(TypeError, match="object has no canonical JSON"):
        digest(object())


def test_a_file_digest_is_sha256(tmp_path: Path) -> None:
    content = bytes(range(256)) * 40_000
    (tmp_path / "file").write_bytes(content)
    assert file_digest(tmp_path / "file") == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("path", sorted((REPO / "nas").rglob("*.py")), ids=lambda path: str(path.relative_to(REPO)))
def test_no_module_needs_unix_to_be_imported(path: Path) -> None:
    imported = {
        name
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert not imported & {"fcntl", "grp", "pwd", "resource", "termios"}


def test_an_old_folder_is_restored_if_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, move = tmp_path / "out", os.replace
    folder.mkdir()
    (folder / "old").touch()

    def fails_for_the_new_one(source: Path, target: Path) -> None:
        if target == folder and not (source / "old").exists():
            raise OSError(errno.EIO, "input/output error")
        move(source, target)

    monkeypatch.setattr(os, "replace", fails_for_the_new_one)
    with pytest.raises(OSError, match="input/output"), atomic_folder(folder) as temporary:
        (temporary / "new").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in folder.iterdir()] == ["old"]


@pytest.mark.parametrize("text", ["[" * 200_000, "{", "\xff"], ids=["deep", "cut", "latin"])
def test_json_that_cannot_be_read(text: str, tmp_path: Path) -> None:
    (tmp_path / "file.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError):
        read_json(tmp_path / "file.json")
    with pytest.raises(NASError, match=r"an arch\.json"):
        load(tmp_path / "file.json")
