"""Opening stores by URL, and what a wrong one answers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from optuna.storages import JournalStorage
from sqlalchemy.exc import IntegrityError, OperationalError

from nas.errors import NASError
from nas.history import Proposal
from nas.study.opening import open_storage
from nas.study.reader import GENES, SPEC, StudyReader
from nas.study.storage import Store
from nas.study.store_errors import is_passing, is_race
from tests.faults.worker import OBJECTIVES, Boxes
from tests.problems import study_of as make_study


@pytest.mark.parametrize(
    "url",
    [
        "",
        "study.db",
        "sqlite://",
        "journal://",
        "nonsense://x/y",
        "grpc://host",
        "grpc://host:port",
        "postgresql+x://h/d",
    ],
)
def test_a_malformed_url(url: str) -> None:
    with pytest.raises(NASError, match=r"got study\.url=.*expected sqlite:///"):
        open_storage(url)


def test_journal_urls_are_absolute_with_three_slashes(tmp_path: Path) -> None:
    assert isinstance(open_storage(f"journal://{tmp_path}/deep/study.log"), JournalStorage)
    assert (tmp_path / "deep/study.log").exists()


def test_a_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(NASError, match=r"voxnas\[postgres\]"):
        open_storage("postgresql+psycopg://user@127.0.0.1:1/x")


def test_a_server_that_is_not_there_is_reported_soon() -> None:
    with pytest.raises(NASError, match="a store that answers"):
        Store("postgresql+psycopg://user@127.0.0.1:1/x", patience_s=0.5)
    with pytest.raises(NASError, match="a store that answers"):
        Store("grpc://127.0.0.1:1", patience_s=0.5)


def test_what_may_pass_and_what_lasts() -> None:
    assert is_race(IntegrityError("x", {}, Exception("UNIQUE constraint failed")))
    assert is_passing(OperationalError("x", {}, Exception("database is locked")))
    assert is_passing(OSError(28, "No space left on device"))
    assert not is_passing(OperationalError("x", {}, Exception("password authentication failed")))
    assert not is_passing(OperationalError("x", {}, Exception("database disk image is malformed")))
    assert not is_passing(KeyError("x"))


def test_a_repeated_write_makes_one_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is lost after the write: the trial is found again, not made twice."""
    study = make_study(f"sqlite:///{tmp_path}/s.db", "s", Boxes(), OBJECTIVES, {})
    create, calls = study.store._storage.create_new_trial, []

    def lossy(study_id: int, template: object) -> int:
        calls.append(1)
        number = create(study_id, template)
        if len(calls) == 1:
            raise OperationalError("x", {}, Exception("server closed the connection"))
        return number

    monkeypatch.setattr(study.store._storage, "create_new_trial", lossy)
    ticket = study.claim(Proposal(Boxes().repair([1, 2, 3])), "0")
    assert ticket is not None
    assert len(study.store.trials()) == 1


def test_a_study_of_another_schema_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    study = make_study(url, "s", Boxes(), OBJECTIVES, {})
    study.store.set_attr(SPEC, {**study.spec, "schema": 1})
    for attempt in (lambda: StudyReader.open(url, "s"), lambda: make_study(url, "s", Boxes(), OBJECTIVES, {})):
        with pytest.raises(NASError, match="schema 1"):
            attempt()
    with pytest.raises(NASError, match="no study 'other'"):
        StudyReader.open(url, "other")


def test_a_study_of_optuna_alone_is_refused(tmp_path: Path) -> None:
    import optuna

    url = f"sqlite:///{tmp_path}/s.db"
    optuna.create_study(study_name="s", storage=url, directions=["maximize", "minimize"]).optimize(
        lambda trial: (trial.suggest_float("x", 0, 1), 0.0), n_trials=1
    )
    with pytest.raises(NASError, match="VoxNAS did not create"):
        make_study(url, "s", Boxes(), OBJECTIVES, {})


def test_a_study_can_be_read_without_its_space(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    study = make_study(url, "s", Boxes(), OBJECTIVES, {"data": "d"}, config={"seed": 3})
    ticket = study.claim(Proposal(Boxes().repair([1, 2, 3])), "0")
    assert ticket is not None
    study.finish(ticket, {"score": 0.5, "params": 7.0})
    view = StudyReader.open(url, "s")
    assert view.records() == study.records()
    assert view.config == {"seed": 3}
    assert view.spec["data"] == "d"
    assert GENES in view.store.trials()[0].user_attrs
