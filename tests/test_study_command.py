"""`voxnas study`: what a person sees of the studies in a store, and what is done for them."""

from __future__ import annotations

import csv
import hashlib
import io
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from nas.history import Proposal
from nas.study.reader import SPEC
from nas.study.storage import Store
from nas.trials_table import read_h5, write_h5
from tests.commands import voxnas
from tests.conftest import REPO
from tests.problems import study_of as make_study
from tests.processes import PROCESSES, run_python
from tests.tables import DATA_WORDS, OBJECTIVES, SPACE, SPACE_WORDS, records_of, table_of

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture) -> Run:
    """Runs `voxnas study` in this process: exit code, output, error text."""
    return partial(voxnas, capsys, "study")


def fill(url: str, name: str = "first", constraints: Sequence[str] = ()) -> None:
    """Four finished trials, one failed, one running."""
    spec = {"data": "abc", "cost": {"metric": "macs"}, "constraints": list(constraints)}
    study = make_study(url, name, SPACE, OBJECTIVES, spec, config={"study": {"trials": 9}})
    records = records_of()
    for record in records[:4]:
        ticket = study.claim(Proposal(record.arch), "0")
        assert ticket is not None
        study.finish(ticket, record.metrics)
    failed, running = (study.claim(Proposal(record.arch), "7") for record in records[4:6])
    assert failed is not None
    assert running is not None
    study.fail(failed, "loss became NaN")
    study.renew(running, 1, 2)
    study.close()


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one study, in both kinds of store; tests work on copies."""
    folder = tmp_path_factory.mktemp("filled")
    fill(f"sqlite:///{folder}/study.db")
    fill(f"journal://{folder}/study.log")
    return folder


@pytest.fixture(params=["sqlite", "journal"])
def place(request: pytest.FixtureRequest, filled: Path, tmp_path: Path) -> tuple[str, Path]:
    """A store with one study: its URL and its file."""
    file = tmp_path / "out" / ("study.db" if request.param == "sqlite" else "study.log")
    file.parent.mkdir()
    shutil.copy(filled / file.name, file)
    return (f"sqlite:///{file}" if request.param == "sqlite" else f"journal://{file}"), file


@pytest.fixture
def url(filled: Path, tmp_path: Path) -> str:
    """A store with one study, in SQLite."""
    shutil.copy(filled / "study.db", tmp_path / "study.db")
    return f"sqlite:///{tmp_path}/study.db"


def refused(answer: tuple[int, str, str], *said: str) -> None:
    code, out, logged = answer
    assert code == 2
    assert out == ""
    assert len(logged.strip().splitlines()) == 1
    for word in ("error: got ", "; expected ", "; fix: ", *said):
        assert word in logged


def test_looking_changes_nothing(command: Run, place: tuple[str, Path], tmp_path: Path) -> None:
    url, file = place
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    for store in (url, str(file)):
        code, out, _ = command("list", store)
        assert code == 0
        assert out.splitlines()[1].split() == ["first", "4", "1", "1", "9", "-", "1", "at", "work"]
        code, out, _ = command("show", store)
        assert code == 0
        for words in ("maximize auc, minimize macs", "1 running, 4 complete, 1 failed, of 9", "loss became NaN"):
            assert words in out
        assert "worker 7" in out
        assert "epoch 2" in out
        assert "last sign of life" in out
        code, out, _ = command("pareto", store, "first")
        assert code == 0
        best = max(records_of()[:4], key=lambda record: record.metrics["auc"])
        assert out.splitlines()[1].split()[1] == best.arch.id
    assert command("export", url, "first", "--out", str(tmp_path / "t.csv"))[0] == 0
    rows = list(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    assert [row["state"] for row in rows] == ["complete"] * 4 + ["failed", "running"]
    assert float(rows[0]["seconds"]) == records_of()[0].metrics["seconds"]
    assert command("export", url, "--out", str(tmp_path / "t.h5"))[0] == 0
    table = read_h5(tmp_path / "t.h5")
    assert table.space.build().fingerprint == SPACE.fingerprint
    assert table.spec["data"] == "abc"
    assert table.metrics["auc"][:4].tolist() == [record.metrics["auc"] for record in records_of()[:4]]
    assert hashlib.sha256(file.read_bytes()).hexdigest() == before


def claim_and_end(url: str) -> None:
    make_study(url, "s", SPACE, OBJECTIVES, {}).claim(Proposal(SPACE.sample(np.random.default_rng(0))), "3")


def test_a_dead_worker_is_reported(command: Run, tmp_path: Path) -> None:
    process = PROCESSES.Process(target=claim_and_end, args=(f"sqlite:///{tmp_path}/study.db",))
    process.start()
    process.join(400)
    assert process.exitcode == 0
    assert "its process has ended" in command("show", str(tmp_path))[1]
    assert "stopped" in command("list", str(tmp_path))[1]


def test_constraints_that_no_network_keeps(command: Run, tmp_path: Path) -> None:
    fill(f"sqlite:///{tmp_path}/study.db", constraints=["macs<=1"])
    code, out, _ = command("pareto", str(tmp_path))
    assert code == 0
    assert "no network keeps the constraints macs<=1" in out


def test_one_of_several_studies_has_to_be_named(command: Run, url: str) -> None:
    fill(url, "second")
    assert len(command("list", url)[1].splitlines()) == 3
    refused(command("show", url), "first, second")
    refused(command("show", url, "third"), "first, second")


def test_deleting(command: Run, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(url, "second")
    code, _, said = command("delete", url, "first", "--yes")
    assert (code, "1 workers on 'first' that may be alive" in said) == (2, True)  # a trial of this very process
    monkeypatch.setattr("sys.stdin", io.StringIO("something else\n"))
    assert command("delete", url, "first", "--force")[0] == 2
    assert "first" in command("list", url)[1]
    monkeypatch.setattr("sys.stdin", io.StringIO("first\n"))
    assert command("delete", url, "first", "--force")[0] == 0
    assert command("delete", url, "second", "--yes", "--force")[0] == 0
    assert len(command("list", url)[1].splitlines()) == 1


def test_a_study_of_another_schema(command: Run, url: str, tmp_path: Path) -> None:
    """It is listed beside the others, not opened, and can be deleted."""
    store = Store(url)
    store.attach("first")
    store.set_attr(SPEC, {**store.attrs()[SPEC], "schema": 77})
    store.close()
    fill(url, "second")
    code, out, _ = command("list", url)
    assert code == 0
    assert "cannot be read: schema 77" in out
    assert "at work" in out
    for verb in ("show", "pareto", "resume"):
        refused(command(verb, url, "first"), "schema 77")
    refused(command("export", url, "first", "--out", str(tmp_path / "t.csv")), "schema 77")
    assert command("delete", url, "first", "--yes")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "COMMAND"),
        (["frob", "x"], "frob"),
        (["show"], "FOLDER"),
        (["list", "nowhere"], "No such file"),
        (["list", "nonsense://x"], "sqlite:///"),
        (["list", "sqlite:///nowhere/study.db"], "No such file"),
        (["list", "journal:///nowhere/study.log"], "No such file"),
        (["list", "grpc://host"], "grpc://host:port"),
        (["show", "empty"], "study.db"),
        (["list", "text"], "a file of another kind"),
        (["list", "foreign.db"], "a file of another kind"),
        (["list", "cut.db"], "intact database"),
        (["export", "text", "--out", "t.parquet"], ".csv or .h5"),
        (["export", "text"], "--out"),
        (["resume", "text", "--trials", "many"], "many"),
    ],
)
def test_bad_words(
    command: Run, words: Sequence[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("hello")
    with sqlite3.connect(tmp_path / "foreign.db") as database:
        database.execute("CREATE TABLE t (x)")
    database.close()
    content = (tmp_path / "foreign.db").read_bytes()
    (tmp_path / "cut.db").write_bytes(content[:600])
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    refused(command(*words), said)
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_study_that_no_command_made_is_not_resumed(command: Run, place: tuple[str, Path]) -> None:
    refused(command("resume", place[0]), "voxnas search")


@pytest.mark.slow
def test_resuming(tmp_path: Path, data_cache: Path, command: Run) -> None:
    """From any folder, with the recorded configuration, and also after the output folder was moved."""
    write_h5(tmp_path / "t.h5", table_of(records_of()))
    settings = ["evaluator=tabular", "evaluator.path=t.h5", "strategy=random", "study.trials=3", "study.name=s"]
    words = [*settings, *SPACE_WORDS, *DATA_WORDS, f"data_cache={data_cache}", "worker=4"]
    done = run_python(REPO / "run_search.py", *words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    moved = tmp_path / "moved to here"
    shutil.move(tmp_path / "outputs/s", moved)
    refused(command("resume", str(moved), "--trials", "2"), "at least 3")
    resume = ["-m", "experiments.commands.voxnas", "study", "resume", moved, "--trials", "5"]
    done = run_python(*resume, folder=Path("/"))
    assert done.returncode == 0, done.stderr
    assert "Pareto front of 5 trained networks" in done.stdout
    assert len((moved / "trials.csv").read_text().splitlines()) == 6
    assert command("list", str(moved))[1].splitlines()[1].split() == ["s", "5", "0", "0", "3", "-", "finished"]
    assert not (tmp_path / "outputs/s").exists()
