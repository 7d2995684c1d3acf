"""Where studies are kept: an Optuna storage opened by its URL, that waits while the store is out of reach."""

from __future__ import annotations

import logging
import os
import random
import re
import sqlite3
import time
import warnings
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas.errors import NASError
from nas.study.journal import JournalFile
from nas.study.sqlite_reader import SqliteReader
from nas.study.url import SQLITE, database_path
from nas.utils.files import locked

PATIENCE_S = 120.0
OPENING_PATIENCE_S = 10.0  # a wrong address should not take minutes to be told
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 3.0
FORMS = (
    "sqlite:///study.db, sqlite:////absolute/study.db, journal:///absolute/study.log, "
    "postgresql+psycopg://user:password@host/database, or grpc://host:port"
)
RACES = ("already exists", "UNIQUE constraint", "duplicate key")  # of several workers that create one study
LASTING = ("malformed", "not a database", "disk image", "authentication failed", "does not exist", "no password")
log = logging.getLogger(__name__)
T = TypeVar("T")


class Store:
    """One study in one store. Every call is repeated with growing pauses while the store cannot be reached (network,
    a restarted server, a full disk), for `patience_s` seconds; then it raises NASError. What is repeated is safe to
    repeat.

    url: see FORMS. Raises NASError for a URL of another form, a missing driver, and a store that is damaged or of
    another version of Optuna.
    """

    def __init__(self, url: str, patience_s: float = PATIENCE_S, *, read_only: bool = False) -> None:
        self.url, self.patience_s = url, min(patience_s, OPENING_PATIENCE_S)
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # else every trial is a line
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        self._storage: BaseStorage = self._patiently(lambda: open_storage(url, read_only=read_only))
        self._patiently(self._storage.get_all_studies)
        self.patience_s = patience_s
        self._study_id = -1

    def create_or_attach(self, name: str, directions: Sequence[str]) -> None:
        """Several workers may do this at once on a new store: the losers of the race attach."""
        found = [StudyDirection[direction.upper()] for direction in directions]
        self._study_id = self._patiently(lambda: self._create_or_find(name, found))

    def _create_or_find(self, name: str, directions: list[StudyDirection]) -> int:
        try:
            return self._storage.create_new_study(directions, name)
        except optuna.exceptions.DuplicatedStudyError:
            return self._storage.get_study_id_from_name(name)

    def attach(self, name: str) -> None:
        """Raises NASError where the store holds no such study."""
        try:
            self._study_id = self._patiently(lambda: self._storage.get_study_id_from_name(name))
        except KeyError as error:
            raise NASError(
                f"no study {name!r} in {self.url}", f"one of {', '.join(self.names()) or 'none'}", "check the name"
            ) from error

    def names(self) -> list[str]:
        return sorted(study.study_name for study in self._patiently(self._storage.get_all_studies))

    def delete(self) -> None:
        self._patiently(lambda: self._storage.delete_study(self._study_id))

    def attrs(self) -> Mapping[str, Any]:
        """What is recorded of the study itself."""
        return self._patiently(lambda: self._storage.get_study_user_attrs(self._study_id))

    def set_attr(self, key: str, value: Any) -> None:
        self._patiently(lambda: self._storage.set_study_user_attr(self._study_id, key, value))

    def set_metric_names(self, names: Sequence[str]) -> None:
        """What Optuna's dashboard calls the objectives."""
        self._patiently(lambda: self._storage.set_study_system_attr(self._study_id, "study:metric_names", list(names)))

    def trials(self, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """In order of number; not to be changed."""
        return self._patiently(lambda: self._storage.get_all_trials(self._study_id, deepcopy=False, states=states))

    def trial(self, trial_id: int) -> FrozenTrial:
        """As it is in the store now."""
        return self._patiently(lambda: self._storage.get_trial(trial_id))

    def add(self, template: FrozenTrial, key: str) -> FrozenTrial:
        """Creates a trial in one write and returns it. `key`: a user attribute of the template with a value of its own,
        by which an attempt that was cut off after the write is recognised, so that repeating makes no second trial."""
        mark, attempts = template.user_attrs[key], 0

        def create() -> FrozenTrial:
            nonlocal attempts
            attempts += 1
            if attempts > 1:
                written = self._storage.get_all_trials(self._study_id, deepcopy=False)
                for trial in reversed(written):
                    if trial.user_attrs.get(key) == mark:
                        return trial
            return self._storage.get_trial(self._storage.create_new_trial(self._study_id, template))

        return self._patiently(create)

    def set_trial_attr(self, trial_id: int, key: str, value: Any) -> bool:
        """False where the trial is finished, and so cannot be changed any more."""
        return self._unless_finished(lambda: self._storage.set_trial_user_attr(trial_id, key, value))

    def finish(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """False where the trial was finished already (also by a first attempt that was cut off after the write)."""
        return self._unless_finished(lambda: self._storage.set_trial_state_values(trial_id, state, values))

    def _unless_finished(self, write: Callable[[], Any]) -> bool:
        try:
            self._patiently(write)
        except optuna.exceptions.UpdateFinishedTrialError:
            return False
        return True

    def leave_thread(self) -> None:
        """Lets go of the connection that the calling thread holds."""
        self._storage.remove_session()

    def close(self) -> None:
        """Lets go of all connections."""
        self._storage.remove_session()
        engine = getattr(getattr(self._storage, "_backend", None), "engine", None)
        if engine is not None:
            engine.dispose()
        closing = getattr(self._storage, "close", None)
        if closing is not None:
            closing()

    def _patiently(self, call: Callable[[], T]) -> T:
        end, pause = time.monotonic() + self.patience_s, FIRST_PAUSE_S
        while True:
            try:
                return call()
            except Exception as error:
                if not is_passing(error):
                    if is_of_store(error):
                        raise unusable(self.url, error) from error
                    raise
                if time.monotonic() + pause > end and not (is_race(error) and time.monotonic() < end + PATIENCE_S):
                    raise unusable(self.url, error) from error
                log.warning("the store does not answer (%s); trying again", first_line(error))
            time.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(2 * pause, LONGEST_PAUSE_S)


def open_storage(url: str, *, read_only: bool = False) -> BaseStorage:
    """Raises NASError for a URL that is none of FORMS, and what the driver raises where it cannot connect."""
    scheme, separator, rest = str(url).partition("://")
    if not separator or not rest.strip("/"):
        raise _bad_url(url)
    try:
        if scheme == "journal":
            return JournalStorage(JournalFile(_with_folder(url, rest)))
        if scheme == "grpc":
            return _open_proxy(url, rest)
        path = database_path(url) if read_only else None
        if path is not None:
            with suppress(optuna.exceptions.StorageInternalError):  # tables of another version: Optuna reports them
                return cast("BaseStorage", SqliteReader(path))
        return _open_database(url, scheme, rest)
    except ImportError as error:
        extra = "grpc" if scheme == "grpc" else "postgres"
        raise NASError(
            f"study.url={url} ({first_line(error)})", "the store's driver", f"pip install 'voxnas[{extra}]'"
        ) from error


def _open_proxy(url: str, rest: str) -> BaseStorage:
    match = re.fullmatch(r"([^:/]+|\[[0-9a-fA-F:]+\]):(\d+)/?", rest)
    if match is None:
        raise _bad_url(url)
    return optuna.storages.GrpcStorageProxy(host=match[1], port=int(match[2]))


def _open_database(url: str, scheme: str, rest: str) -> BaseStorage:
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    options: dict[str, Any] = {"pool_pre_ping": True}
    turn: AbstractContextManager[None] = nullcontext()
    path = database_path(url)
    if path is not None:
        turn = _creation_lock(Path(_with_folder(url, str(path))))
        options["connect_args"] = {"timeout": 60}
        if "%" in rest:  # versions of SQLAlchemy differ in what they unquote
            url = f"{SQLITE}study.db"
            options = {"creator": lambda: sqlite3.connect(path, timeout=60, check_same_thread=False)}

    try:
        with turn:
            return optuna.storages.get_storage(RDBStorage(url, engine_kwargs=options))
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise _bad_url(url, error) from error
    except RuntimeError as error:  # Optuna raises it for tables of another version
        raise unusable(url, error) from error


def _creation_lock(database: Path) -> AbstractContextManager[None]:
    """Return a lock under which one worker makes the tables while the others wait.

    The creator makes the lock file before the database, so a database without a lock file is complete.
    """
    lock = database.with_name(f".{database.name}.lock")
    if not os.access(database.parent, os.W_OK) or (database.is_file() and not lock.is_file()):
        return nullcontext()
    return locked(lock, remove=True)


def _with_folder(url: str, path: str) -> str:
    """Makes the folder of a file that is to be created; returns the file's path."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise NASError(f"study.url={url} ({reason})", "a folder that can be written", "mend study.url") from error
    return path


def _bad_url(url: str, error: Exception | None = None) -> NASError:
    reason = f" ({first_line(error)})" if error is not None else ""
    return NASError(f"study.url={url}{reason}", FORMS, "mend study.url")


def is_of_store(error: Exception) -> bool:
    """Whether the store failed, and not what was asked of it."""
    from sqlalchemy.exc import SQLAlchemyError  # here, as it takes as long to import as Optuna

    known = (SQLAlchemyError, optuna.exceptions.StorageInternalError, OSError, ValueError)
    return isinstance(error, known) or _grpc_code(error) != ""


def is_race(error: Exception) -> bool:
    """Whether another worker made the same thing at the same time; the next try finds it made."""
    return any(word in str(error) for word in RACES)


def is_passing(error: Exception) -> bool:
    """Whether the same call may succeed later: no connection, a lock, a full disk, a lost race."""
    from sqlalchemy.exc import SQLAlchemyError

    code = _grpc_code(error)
    if code:
        return code in ("UNAVAILABLE", "UNKNOWN", "INTERNAL", "DEADLINE_EXCEEDED", "CANCELLED")
    if isinstance(error, SQLAlchemyError | optuna.exceptions.StorageInternalError):
        text = str(error)
        return is_race(error) or not any(word in text for word in LASTING)
    return isinstance(error, OSError)


def _grpc_code(error: Exception) -> str:
    code = getattr(error, "code", None)
    if type(error).__module__.startswith("grpc") and callable(code):
        return str(getattr(code(), "name", ""))
    return ""


def unusable(url: str, error: Exception) -> NASError:
    return NASError(
        f"the study store {url} ({first_line(error)})",
        "a store that answers, whole, and made by this version of Optuna",
        "check study.url, the server and the disk; move a damaged file aside and start again",
    )


def first_line(error: Exception) -> str:
    details = getattr(error, "details", None)  # of gRPC
    text = str(details() if callable(details) else error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
