"""A SQLite study read without SQLAlchemy is the one that Optuna's storage reads."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from nas.errors import NASError
from nas.study.sqlite_reader import SqliteReader
from nas.study.storage import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two studies; one has trials in every state, and values that are not finite."""
    path = tmp_path / "a folder?#%41" / "study.db"
    path.parent.mkdir()
    storage = optuna.storages.RDBStorage("sqlite://", engine_kwargs={"creator": lambda: sqlite3.connect(path)})
    study = optuna.create_study(storage=storage, study_name="one", directions=["maximize", "minimize"])
    study.set_user_attr("spec", {"schema": 3, "nested": [1, None]})
    for values in ((0.5, 2.0), (float("inf"), float("-inf")), None):
        trial = study.ask()
        trial.set_user_attr("genes", [1, 2])
        study.tell(trial, values, state=TrialState.COMPLETE if values else TrialState.FAIL)
    study.ask().set_user_attr("beat", "a\u00e4")
    optuna.create_study(storage=storage, study_name="two")
    storage.remove_session()
    storage.engine.dispose()
    return path


def test_both_readers_agree(path: Path) -> None:
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    reader = SqliteReader(path)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    storage = optuna.storages.RDBStorage("sqlite://", engine_kwargs={"creator": lambda: sqlite3.connect(path)})
    assert sorted(one.study_name for one in reader.get_all_studies()) == ["one", "two"]
    key = reader.get_study_id_from_name("one")
    assert key == storage.get_study_id_from_name("one")
    assert (
        reader.get_study_user_attrs(key)
        == storage.get_study_user_attrs(key)
        == {"spec": {"schema": 3, "nested": [1, None]}}
    )
    for states in (None, (TrialState.RUNNING,), (TrialState.COMPLETE, TrialState.FAIL)):
        mine, meant = (one.get_all_trials(key, states=states) for one in (reader, storage))
        assert len(meant) == {None: 4, 1: 1, 2: 3}[states and len(states)]
        for trial, other in zip(mine, meant, strict=True):
            for name in ("number", "state", "values", "user_attrs", "datetime_start", "datetime_complete", "_trial_id"):
                assert getattr(trial, name) == getattr(other, name), name
    with pytest.raises(KeyError):
        reader.get_study_id_from_name("three")
    reader.close()
    storage.remove_session()
    storage.engine.dispose()


def test_tables_of_another_version_are_left_to_optuna(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    store = Store(url)
    store.create_or_attach("one", ["maximize"])
    store.close()
    store = Store(url, read_only=True)
    assert isinstance(store._storage, SqliteReader)
    store.close()
    with sqlite3.connect(tmp_path / "study.db") as database:
        database.execute("UPDATE alembic_version SET version_num = 'v9.9.9.a'")
    database.close()
    with pytest.raises(optuna.exceptions.StorageInternalError, match=r"v9\.9\.9"):
        SqliteReader(tmp_path / "study.db")
    with pytest.raises(NASError, match="version"):
        Store(url, read_only=True)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("text")
    for name in ("x", "missing"):
        with pytest.raises(optuna.exceptions.StorageInternalError):
            SqliteReader(tmp_path / name)
