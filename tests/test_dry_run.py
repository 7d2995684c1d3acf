"""Dry runs: what is checked, what the table says, and that nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest

import run_search
import run_train
from experiments.dry_run import is_dry_run
from experiments.estimates import COLUMNS, JobEstimate, estimate_table
from nas.budget import Estimate
from nas.errors import NASError
from nas.evaluators.train import Train
from nas.study.probe import existing_study, require_writable
from nas.study.url import sqlite_url
from nas.utils.annotations import duration_text
from tests.commands import SMALL, Command, refused, voxnas
from tests.problems import study_of
from tests.tables import OBJECTIVES
from tests.tables import SPACE as GRID


def written(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.slow
def test_a_search(command: Command) -> None:
    """The jobs that can run have a row, the others a line; the same command without dry_run is not affected."""
    words = ["dry_run=true", "-m", "seed=0,1", "split.folds=3,9999", "strategy=random", "constraints=['macs<=1e7']"]
    code, out, err = command.search(*words)
    assert code == 2
    assert "2 of 4 jobs can run; nothing was started" in out
    rows = [line.split() for line in out.splitlines() if line.startswith("outputs/s/")]
    assert [row[0] for row in rows] == ["outputs/s/seed=0,split.folds=3", "outputs/s/seed=1,split.folds=3"]
    assert all(row[1:3] == ["3", "3"] for row in rows)
    total = next(line for line in out.splitlines() if line.startswith("total")).split()
    assert total[1:3] == ["6", "6"]
    assert max(map(len, out.splitlines())) <= COLUMNS
    failures = [line for line in err.splitlines() if line.startswith("error: ")]
    assert [line.split(": ")[1] for line in failures] == ["seed=0,split.folds=9999", "seed=1,split.folds=9999"]
    assert written(command.folder) == []


def test_constraints_that_no_network_keeps(command: Command) -> None:
    answer = command.search("dry_run=true", "constraints=['params<=10']")
    refused(answer, "params<=10", "no network that keeps", "params from ")
    assert written(command.folder) == []


@pytest.mark.slow
def test_a_search_by_a_supernet(command: Command) -> None:
    words = ["experiment=dints_demo", "split.folds=3", "dry_run=true"]
    code, out, err = command(run_search.main, *words)
    assert code == 0, err
    assert "outputs/dints_demo" in out
    assert written(command.folder) == []


@pytest.mark.slow
def test_what_is_finished_takes_no_time(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.search("study.trials=1", "study.confirm=1")[0] == 0
    code, out, err = command.search("dry_run=true", "study.trials=1", "study.confirm=1")  # the race ended early
    assert code == 0, err
    assert next(line for line in out.splitlines() if line.startswith("outputs/s ")).split()[2:5] == ["0", "0", "ms"]
    name, complete, failed, running, asked, confirmation, state = (
        voxnas(capsys, "study", "list", "outputs/s")[1].splitlines()[1].split()
    )
    assert (name, complete, failed, running, asked, state) == ("s", "1", "0", "0", "1", "finished")
    assert int(confirmation) >= 1
    before = written(command.folder)
    for trials, left in ((1, "0"), (3, "2")):
        code, out, err = command.search("dry_run=true", f"study.trials={trials}")
        assert code == 0, err
        row = next(line for line in out.splitlines() if line.startswith("outputs/s ")).split()
        assert row[1:3] == [str(trials), left]
        assert (row[3:5] == ["0", "ms"]) == (left == "0")
    refused(command.search("dry_run=true", "seed=1"), "seed")
    assert written(command.folder) == before


def test_a_confirmation_has_the_largest_budget(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """One second per epoch: three steps of 2 epochs on average, and four trainings of 9 epochs."""
    monkeypatch.setattr(Train, "estimate", lambda self, proposal, *_: Estimate(float(proposal.budget)))
    words = ["fidelity=asha", "fidelity.min_budget=1", "training.epochs=9", "training.schedule=constant"]
    for confirm, seconds in (([], "6"), (["study.confirm=2", "study.confirm_replicates=2"], "42")):
        code, out, err = command.search("dry_run=true", *words, *confirm)
        assert code == 0, err
        row = next(line for line in out.splitlines() if line.startswith("outputs/s ")).split()
        assert row[3:5] == [seconds, "s"]


def test_a_training(command: Command) -> None:
    words = [*SMALL, "name=t", "split.folds=3", "arch=naslung/model-1", "dry_run=true"]
    code, out, err = command(run_train.main, *words)
    assert code == 0, err
    row = next(line for line in out.splitlines() if line.startswith("outputs/train/t ")).split()
    assert row[1:3] == ["2", "2"]
    refused(command(run_train.main, *words, "arch=nowhere.json"), "nowhere.json")
    assert written(command.folder) == []


def test_only_true_and_false() -> None:
    assert is_dry_run(["-m", "seed=0,1", "dry_run=true"])
    assert not is_dry_run(["dry_run=false"])
    assert not is_dry_run(["seed=1"])
    for wrong in ("dry_run=true,false", "dry_run=maybe", "dry_run=1"):
        with pytest.raises(NASError, match="true or false"):
            is_dry_run([wrong])


def test_the_table_fits_and_merges_workers() -> None:
    long = Path("outputs") / ("x" * 90) / "worker"
    plans = [
        JobEstimate(long, 12, 12, Estimate(7300.0, 2.5e9)),
        JobEstimate(long, 12, 12, Estimate(7300.0, 2.5e9)),
        JobEstimate(Path("outputs/b"), 3, 0, Estimate()),
        JobEstimate(Path("outputs/c"), 3, 3, None),
    ]
    lines = estimate_table(plans).splitlines()
    assert max(map(len, lines)) == COLUMNS
    assert len(lines) == 1 + 3 + 1 + 2
    assert lines[1].split()[-6:] == ["12", "12", "2.0", "h", "2.5", "GB"]
    assert "(2 workers)" in lines[1]
    assert lines[4].split() == ["total", "18", "15", "?", "?"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0949, "95 ms"), (40, "40 s"), (119, "119 s"), (120, "2 min"), (7300, "2.0 h"), (3e5, "3.5 d"), (3e6, "35 d")],
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_a_store_is_probed_without_writing(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "new")
    assert existing_study(url, "s") is None
    assert existing_study(f"journal://{tmp_path}/x/study.log", "s") is None
    assert written(tmp_path) == []
    (tmp_path / "new").mkdir()
    study_of(url, "s", GRID, OBJECTIVES, {"data": "a"}).close()
    before = written(tmp_path)
    study = existing_study(url, "s")
    assert study is not None
    assert study.spec["data"] == "a"
    study.close()
    assert existing_study(url, "other") is None
    assert written(tmp_path) == before
    (tmp_path / "file").write_text("x")
    with pytest.raises(NASError, match="can be written"):
        require_writable(tmp_path / "file" / "below")


def test_help_and_configuration_name_it(command: Command) -> None:
    code, out, _ = command(run_search.main, "--help", cache=False)
    assert code == 0
    assert "dry_run=true" in out
    code, out, _ = command(run_search.main, "--cfg=job")
    assert code == 0
    assert "dry_run: false" in out


@pytest.mark.slow
def test_D_a_training_of_two_steps_is_timed(command: Command) -> None:
    """The schedule of a tiny training part is shorter than the steps that are timed."""
    data = ["data=nodule_phantoms", "data.patients=12", "data.size=64", "data.slices=1", "split.folds=3"]
    tiny = ["study.trials=1", "training.epochs=1", "dry_run=true"]
    code, out, err = command(run_search.main, "space=detector", "task=detection", *data, *tiny)
    assert (code, err) == (0, "")
    assert "outputs/" in out
