"""`voxnas doctor`: what it finds on this machine, and on machines with something broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.commands.doctor import parser
from experiments.doctor import machine, places, software
from experiments.doctor.check import NOTE, OK, PROBLEM
from nas.utils import memory
from tests.conftest import REPO

COMMAND = [sys.executable, "-m", "experiments.commands.voxnas", "doctor"]
NO_TORCH = {"error": "none"}


def doctor(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {"PYTHONPATH": f"{folder}{os.pathsep}{REPO}", **environment}
    return subprocess.run([*COMMAND, *words], cwd=folder, env={**os.environ, **own}, capture_output=True, text=True)


def test_this_machine_is_fine_and_nothing_is_written(tmp_path: Path) -> None:
    done = doctor(tmp_path, "--json")
    answer = json.loads(done.stdout)
    checks = {check["name"]: check for check in answer["checks"]}
    broken = [check for check in answer["checks"] if check["status"] == PROBLEM]
    assert (done.returncode, answer["ok"], done.stderr) == (0, True, ""), broken
    assert checks["torch"]["found"]
    assert "two processes exclude each other" in checks["locks"]["found"]
    assert {"voxnas", "python", "processor", "gpu", "memory", "threads", "outputs", "cache", "data"} <= set(checks)
    assert list(tmp_path.iterdir()) == []


def test_a_torch_that_cannot_be_imported_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    for name, text in (
        ("torch", "raise OSError('libtorch.so: undefined symbol')"),
        ("monai", "raise ValueError('no')"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text)
    (tmp_path / "filelock.py").write_text("raise RuntimeError('broken')")
    done = doctor(tmp_path, "--data", str(tmp_path / "missing"))
    assert (done.returncode, done.stderr) == (2, "")
    problems = [line for line in done.stdout.splitlines() if line.startswith(PROBLEM)]
    assert [line.split()[1] for line in problems] == ["torch", "data", "locks"]
    assert "undefined symbol; pip install" in problems[0]
    assert done.stdout.endswith("\n3 problems: torch, data, locks\n")


def test_doctor_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, experiments.commands.doctor as d; from pathlib import Path;"
        "d.all_checks(Path('outputs'), None, None);"
        "print([m for m in ('torch', 'numpy', 'hydra', 'optuna', 'monai', 'visdom') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_versions_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"torch": "2.8.1+cpu", "optuna": "4.2.0", "nibabel": "5.4"}

    def version(name: str) -> str:
        if name not in known:
            raise software.PackageNotFoundError(name)
        return known[name]

    lines = ["torch>=2.8", "optuna<6,>=5", 'nibabel>=5.2; extra == "medical"', "ray; extra == 'ray'"]
    lines += ['optuna>=99; python_version < "3.10"', 'filelock>=4; python_version >= "3.10"']
    monkeypatch.setattr(software, "version", version)
    monkeypatch.setattr(software, "requires", lambda name: lines)
    found = {check.name: check for check in software.package_checks({})}
    assert found["torch"].status == OK
    assert found["optuna"].line() == ("problem  optuna            4.2.0, needed is <6,>=5; pip install 'optuna<6,>=5'")
    assert found["filelock"].found == "missing"
    extras = {check.name: check for check in software.extra_checks()}
    assert (extras["extra medical"].status, extras["extra ray"].status) == (OK, NOTE)
    assert "pip install 'voxnas[ray]' adds sweeps" in extras["extra ray"].fix


def test_a_package_used_from_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise software.PackageNotFoundError(name)

    monkeypatch.setattr(software, "version", missing)
    monkeypatch.setattr(software, "requires", missing)
    own, python = software.python_checks()
    assert (own.status, python.status) == (NOTE, OK)
    assert {check.found for check in software.package_checks({})} == {"missing"}
    assert software.extra_checks() == []


def test_folders_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*words: object, **more: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(places.tempfile, "TemporaryFile", refuse)
    monkeypatch.setattr(places.tempfile, "TemporaryDirectory", refuse)
    check = places.disk_check("outputs", tmp_path / "a/b", "hydra.run.dir=/folder")
    assert (check.status, "permission denied" in check.found) == (PROBLEM, True)
    assert places.lock_check(tmp_path).status == PROBLEM


def test_a_disk_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1e8})
    monkeypatch.setattr(places.shutil, "disk_usage", lambda place: usage)
    assert places.disk_check("outputs", tmp_path, "x").status == PROBLEM
    usage.free = 3e9
    assert places.disk_check("outputs", tmp_path, "x").status == NOTE


def test_locks_that_do_not_exclude(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system that grants every lock."""
    monkeypatch.setattr(places, "CHILD", "import sys\nfor turn in range(2):\n print('free', flush=True); input()\n")
    check = places.lock_check(tmp_path)
    assert (check.status, "hold the same lock" in check.found) == (PROBLEM, True)
    monkeypatch.setattr(places, "CHILD", "raise SystemExit")
    assert places.lock_check(tmp_path).status == PROBLEM
    assert list(tmp_path.iterdir()) == []


def test_a_machine_without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on macOS and Windows: nothing ends in a traceback."""
    for module in (machine, memory):
        monkeypatch.setattr(module, "PROC", tmp_path / "none")
    monkeypatch.setattr(machine, "CGROUP", tmp_path / "none")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for system in ("darwin", "win32x"):
        monkeypatch.setattr(sys, "platform", system)
        assert machine.processor_check({"cpu": "AVX512"}).status == OK
        assert machine.processor_check(NO_TORCH).status in (OK, NOTE)
        assert machine.memory_check().status in (OK, NOTE)
        assert machine.threads_check({"threads": 1}).status == OK


def test_limits_of_a_container(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/cgroup").write_text("0::/pod/box\n")
    (tmp_path / "meminfo").write_text("MemTotal: 16000000 kB\nMemAvailable: 9000000 kB\n")
    (tmp_path / "cpuinfo").write_text("model name : Small\nflags : sse avx\n")
    box = tmp_path / "cgroup/pod/box"
    box.mkdir(parents=True)
    (box / "memory.max").write_text("max\n")
    (box.parent / "memory.max").write_text("2000000000\n")
    (box / "cpu.max").write_text("150000 100000\n")
    for module in (machine, memory):
        monkeypatch.setattr(module, "PROC", tmp_path)
    monkeypatch.setattr(machine, "CGROUP", tmp_path / "cgroup")
    found = machine.memory_check()
    assert (found.status, "limited to 2.0 GB" in found.found) == (NOTE, True)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(8), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    threads = machine.threads_check(NO_TORCH)
    assert (threads.status, threads.found, threads.fix[:21]) == (
        NOTE,
        "1.5 of 8 cores, OMP_NUM_THREADS=8",
        "set OMP_NUM_THREADS=1",
    )
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert machine.threads_check(NO_TORCH).status == PROBLEM
    assert machine.processor_check(NO_TORCH).status == NOTE


def test_a_gpu_that_torch_cannot_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_output", lambda *command: "NVIDIA H100\n")
    check = machine.gpu_check({"gpus": [], "built_for": ""})
    assert (check.status, "built without CUDA" in check.found) == (NOTE, True)
    check = machine.gpu_check({"gpus": [["NVIDIA H100", 80e9]]})
    assert (check.status, check.found) == (OK, "NVIDIA H100 with 80 GB")


def test_stores(tmp_path: Path) -> None:
    from nas.study.storage import Store

    url = f"sqlite:///{tmp_path}/study.db"
    assert places.store_check(url).status == OK  # a search would make it
    assert list(tmp_path.iterdir()) == []
    Store(url).create_or_attach("mine", ["maximize"])
    assert places.store_check(url).found == f"{url}, 1 study, can be written"
    assert Store(url).names() == ["mine"]
    (tmp_path / "other.db").write_text("no database")
    for wrong in (str(tmp_path / "none"), "nonsense://host/x", f"sqlite:///{tmp_path}/other.db"):
        check = places.store_check(wrong)
        assert check.status == PROBLEM
        assert "\n" not in check.line()


def test_options() -> None:
    options = parser().parse_args(["--store", "x", "--json"])
    assert (options.store, options.json, options.outputs, options.data) == ("x", True, Path("outputs"), None)
