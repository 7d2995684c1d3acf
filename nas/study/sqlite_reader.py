"""Reads studies of a SQLite file without SQLAlchemy, and without a chance to change the file."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Container, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from nas.utils.foreign import parse_json

TABLES = ("v3.2.0.a",)  # versions of Optuna's tables that are read here
VALUES = {"INF_POS": float("inf"), "INF_NEG": float("-inf")}


class SqliteReader:
    """The reading part of Optuna's storages, for the tables of one version.

    Opening takes a few milliseconds; Optuna's own storage imports SQLAlchemy and Alembic, which takes twice as long as
    Optuna itself.

    Args:
        path: The database.

    Raises:
        StorageInternalError: If the file cannot be read in this way, or its tables are of another version.
    """

    def __init__(self, path: Path) -> None:
        with _errors_of_storage():
            self._database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=60)
            found = _version(self._database)
        if found not in TABLES:
            self._database.close()
            raise optuna.exceptions.StorageInternalError(f"tables of version {found}")

    @staticmethod
    def version(path: Path) -> str:
        """Return the version of Optuna's tables.

        Args:
            path: The database.

        Returns:
            The version, such as "v3.2.0.a"; empty if the tables do not state it.

        Raises:
            StorageInternalError: If the file cannot be read.
        """
        with _errors_of_storage(), closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            return _version(database)

    def get_all_studies(self) -> list[SimpleNamespace]:
        """Return the studies.

        Returns:
            Objects with the attribute `study_name`.
        """
        return [SimpleNamespace(study_name=name) for (name,) in self._rows("SELECT study_name FROM studies")]

    def get_study_id_from_name(self, name: str) -> int:
        """Return the key of a study.

        Args:
            name: Name of the study.

        Returns:
            Its key.

        Raises:
            KeyError: If there is no study of this name.
        """
        for (study_id,) in self._rows("SELECT study_id FROM studies WHERE study_name = ?", name):
            return int(study_id)
        raise KeyError(name)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the attributes of a study.

        Args:
            study_id: Key of the study.

        Returns:
            Attributes by key.
        """
        rows = self._rows("SELECT key, value_json FROM study_user_attributes WHERE study_id = ?", study_id)
        return {key: parse_json(text) for key, text in rows}

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return the trials without parameters and intermediate values.

        Args:
            study_id: Key of the study.
            deepcopy: Ignored; each call makes new trials.
            states: If given, only trials in these states.

        Returns:
            The trials in order of number.
        """
        attrs: dict[int, dict[str, Any]] = defaultdict(dict)
        values: dict[int, list[float]] = defaultdict(list)
        of_trials = "JOIN trials USING (trial_id) WHERE study_id = ?"
        with _errors_of_storage(), self._database:
            self._database.execute("BEGIN")  # one state of the file for the three queries
            rows = f"SELECT trial_id, key, value_json FROM trial_user_attributes {of_trials}"
            for trial_id, key, text in self._database.execute(rows, (study_id,)):
                attrs[trial_id][key] = parse_json(text)
            rows = f"SELECT trial_id, value, value_type FROM trial_values {of_trials} ORDER BY objective"
            for trial_id, value, kind in self._database.execute(rows, (study_id,)):
                values[trial_id].append(VALUES.get(kind, value))
            rows = "SELECT trial_id, number, state, datetime_start, datetime_complete FROM trials WHERE study_id = ?"
            trials = self._database.execute(f"{rows} ORDER BY number", (study_id,)).fetchall()
        return [
            FrozenTrial(
                number=number,
                state=TrialState[state],
                value=None,
                values=values.get(trial_id),
                datetime_start=_time(start),
                datetime_complete=_time(complete),
                params={},
                distributions={},
                user_attrs=attrs[trial_id],
                system_attrs={},
                intermediate_values={},
                trial_id=trial_id,
            )
            for trial_id, number, state, start, complete in trials
            if states is None or TrialState[state] in states
        ]

    def remove_session(self) -> None:
        """Do nothing; there is one connection, which `close` closes."""

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _rows(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        with _errors_of_storage():
            return self._database.execute(query, arguments).fetchall()


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


@contextmanager
def _errors_of_storage() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, ValueError) as error:
        raise optuna.exceptions.StorageInternalError(str(error)) from error


def _version(database: sqlite3.Connection) -> str:
    versions = database.execute("SELECT version_num FROM alembic_version").fetchall()
    return str(versions[0][0]) if len(versions) == 1 else ""
