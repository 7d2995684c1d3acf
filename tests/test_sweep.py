"""Sweeps: the folder of each job, and names that all jobs share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import RunMode
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from experiments.callbacks import CompareJobs
from experiments.plan_settings import with_whole_objectives
from experiments.sweep import (
    LONGEST,
    Outcomes,
    job_folder,
    study_name,
    training_name,
    varied_settings,
    with_job_folders,
)
from nas.errors import NASError
from nas.provenance import DataFacts
from tests.comparisons import rows_in, write_search


def test_only_what_a_sweep_varies_names_its_folders() -> None:
    plain = ["study.trials=3", "data.size=16"]
    assert with_job_folders(plain) == plain
    words = ["-m", *plain, "worker=range(0,3)", "split.folds=3,5", "+x.y=1", "seed=0,1", "hydra/launcher=joblib"]
    *same, added = with_job_folders(words)
    assert same == words
    assert with_job_folders([*words[1:], "-m"]) == [*words[1:], added, "-m"]
    names = set(json.loads(added.partition("=")[2].replace("'", '"')))
    assert {"study.trials", "data.size", "x.y", "worker", "study.name", "name"} <= names
    assert not {"split.folds", "seed"} & names
    assert varied_settings(words) == ("worker", "split.folds", "seed")
    assert varied_settings(words[1:]) == ()
    assert varied_settings(["-m", "experiment=glob(*demo*)", "space.widths=[4,8],[8,16]"]) == (
        "experiment",
        "space.widths",
    )


@pytest.mark.parametrize("words", ["worker=1,2,1", "seed=0,0", "space.widths=[4,8],[4,8]"])
def test_two_equal_jobs_are_refused(words: str) -> None:
    with pytest.raises(NASError, match="twice"):
        with_job_folders(["-m", words])


texts = st.text(st.sampled_from("ab=,[]/:.{}' ~é"), max_size=200)


@given(st.lists(texts, unique=True, max_size=20))
def test_folders_are_short_and_differ(overrides: list[str]) -> None:
    """What Hydra deletes before it is set anew, `~key`, is no setting of the job."""
    given_settings = [text for text in overrides if "~" not in text]
    folders = [job_folder(text) for text in given_settings]
    assert all(len(folder) <= LONGEST for folder in folders)
    assert not any(set(folder) & set("/:'~") for folder in folders)
    assert len(set(folders)) == len(set(given_settings))


def test_readable_folders() -> None:
    assert job_folder("seed=0,space.widths=[4,8]") == "seed=0,space.widths=[4,8]"
    assert job_folder("+objectives={auc:maximize},~objectives").startswith("objectives=_auc_maximize_-")


def test_names_leave_out_what_the_sweep_varies() -> None:
    assert study_name("unet", "pop", 3) == "unet-pop-seed3"
    assert study_name("unet", "pop", 3, varied=("strategy", "seed")) == "unet"
    assert study_name("unet", "pop", 3, varied=("strategy", "seed", "space")) == "search"
    assert training_name("outputs/demo/arch.json", 0) == "demo-seed0"
    assert training_name(["naslung/model-1", "a.json"], 0) == "naslung_model-1+a-seed0"
    assert training_name("naslung/model-1", 0, ("seed",)) == "naslung_model-1"
    assert training_name("naslung/model-1", 0, ("seed", "arch")) == "training"


def test_objectives_are_replaced_whole() -> None:
    assert with_whole_objectives(["seed=0", "objectives={auc: maximize}", "-m"]) == [
        "seed=0",
        "~objectives",
        "+objectives={auc: maximize}",
        "-m",
    ]
    assert with_whole_objectives(["objectives.macs=null"]) == ["objectives.macs=null"]


@pytest.mark.parametrize(
    ("error", "defect"),
    [
        (NASError("a", "b", "c"), False),
        (OSError(28, "No space left on device", "study.db"), False),
        (ModuleNotFoundError("No module named 'psycopg'", name="psycopg"), False),
        (ValueError("x"), True),
    ],
    ids=repr,
)
def test_only_defects_of_jobs_have_a_traceback(
    error: Exception, defect: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(type(error)):  # gives it a traceback
        raise error
    outcomes = Outcomes()
    for number, value in enumerate((1.0, error)):
        job = JobReturn()
        job.hydra_cfg = OmegaConf.create(
            {"hydra": {"mode": RunMode.MULTIRUN, "job": {"override_dirname": f"seed={number}", "num": number}}}
        )
        job.status = JobStatus.COMPLETED if number == 0 else JobStatus.FAILED
        job.return_value = value
        assert outcomes.value_of(job) == (1.0 if number == 0 else None)
    assert outcomes.report() == 2
    said = capsys.readouterr()
    assert said.out == "1 of 2 jobs finished\n"
    assert said.err.splitlines()[-1].startswith("error: seed=1: ")
    assert ("Traceback" in said.err) == defect


@pytest.fixture
def callback(monkeypatch: pytest.MonkeyPatch) -> CompareJobs:
    monkeypatch.setattr(CompareJobs, "ended", staticmethod(lambda: []))
    return CompareJobs()


def ended(callback: CompareJobs, *folders: Path, **config: object) -> None:
    type(callback).ended = staticmethod(lambda: list(folders))
    callback.on_multirun_end(OmegaConf.create(config))


def test_the_end_of_a_sweep_compares_its_jobs(
    callback: CompareJobs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [
        write_search(tmp_path / f"outputs/s/strategy={name}", [0.5, 0.6], overrides={"strategy": name}, number=number)
        for number, name in enumerate(("tpe", "pop"))
    ]
    write_search(tmp_path / "outputs/s/strategy=before", [0.5, 0.6])  # of an earlier sweep
    ended(callback, *folders, dry_run=True)
    assert not (tmp_path / "outputs/s/sweep.csv").exists()
    ended(callback, *folders, folders[0])
    assert [row["strategy"] for row in rows_in(tmp_path / "outputs/s/sweep.csv")] == ["tpe", "pop"]
    assert (tmp_path / "outputs/s/compare.html").is_file()
    assert "no interval over seeds exists" in capsys.readouterr().out


def test_workers_of_one_search_are_no_sweep(callback: CompareJobs, tmp_path: Path) -> None:
    folder = write_search(tmp_path / "s", [0.5, 0.6])
    ended(callback, folder, folder)
    assert not (tmp_path / "sweep.csv").exists()


def test_jobs_that_cannot_be_compared_are_one_warning(
    callback: CompareJobs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sweep over data sets has its table, but no page."""
    folders = [
        write_search(tmp_path / f"s/{name}", [0.5, 0.6], data=DataFacts("d", name * 64, 9), overrides={"data": name})
        for name in "ab"
    ]
    ended(callback, *folders)
    said = capsys.readouterr()
    assert said.err.startswith("warning: no comparison of the jobs: got ")
    assert said.err.count("\n") == 1
    assert len(rows_in(tmp_path / "s/sweep.csv")) == 2
    assert not (tmp_path / "s/compare.html").exists()
