"""Opening of an Optuna storage by its URL: a journal file, a database, or Optuna's proxy."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from pathlib import Path
from typing import Any, cast

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage

from nas.errors import NASError
from nas.study.database import TrialDatabase
from nas.study.journal import JournalFile
from nas.study.password import with_password
from nas.study.sqlite_reader import TABLES, SqliteReader
from nas.study.store_errors import of_another_optuna, unusable
from nas.study.url import PROXY, SQLITE, bad_url, database_path, no_driver
from nas.utils.files import locked


def open_storage(url: str, *, read_only: bool = False) -> BaseStorage:
    """Open an Optuna storage. Errors of the driver while it connects are not caught.

    Args:
        url: URL of the store, see `nas.study.url.FORMS`.
        read_only: Whether to open an SQLite file without writing to it.

    Returns:
        The storage.

    Raises:
        NASError: If the URL has none of the forms, or the driver is missing.
    """
    scheme, separator, rest = str(url).partition("://")
    if not separator or not rest.strip("/"):
        raise bad_url(url)
    try:
        if scheme == "journal":
            return _open_journal(url, rest)
        if scheme == "grpc":
            return _open_proxy(url, rest)
        path = database_path(url) if read_only else None
        if path is not None:
            with suppress(optuna.exceptions.StorageInternalError):  # tables of another version: Optuna reports them
                return cast("BaseStorage", SqliteReader(path))
        return _open_database(url, scheme, rest)
    except ImportError as error:
        raise no_driver(url, error) from error


def _open_journal(url: str, path: str) -> BaseStorage:
    file = JournalFile(_with_folder(url, path))
    try:
        return JournalStorage(file)
    except (AssertionError, KeyError, TypeError, AttributeError) as error:  # an operation that Optuna does not know
        raise of_another_optuna(url, error) from error


def _open_proxy(url: str, rest: str) -> BaseStorage:
    match = PROXY.fullmatch(rest)
    if match is None:
        raise bad_url(url)
    return optuna.storages.GrpcStorageProxy(host=match[1], port=int(match[2]))


def _open_database(url: str, scheme: str, rest: str) -> BaseStorage:
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    options: dict[str, Any] = {"pool_pre_ping": True}  # a server may have closed the connection
    turn: AbstractContextManager[None] = nullcontext()
    path = database_path(url)
    if path is not None:
        turn = _creation_lock(Path(_with_folder(url, str(path))))
        options = {"connect_args": {"timeout": 60}}
        if "%" in rest:  # versions of SQLAlchemy differ in what they unquote
            url = f"{SQLITE}study.db"
            options = {"creator": lambda: sqlite3.connect(path, timeout=60, check_same_thread=False)}
        options["pool_use_lifo"] = True  # one connection, which knows its pages, while no other thread needs one

    try:
        if path is not None:
            _require_version(url, path)
        with turn:
            return optuna.storages.get_storage(TrialDatabase(with_password(url), engine_kwargs=options))
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise bad_url(url, error) from error
    except RuntimeError as error:  # Optuna raises it for tables of another version
        raise unusable(url, error) from error


def _require_version(url: str, path: Path) -> None:
    """Let Optuna look at a copy of a database of another version, as it adds tables before it refuses a store."""
    try:
        if not path.is_file() or SqliteReader.version(path) in TABLES:
            return
    except optuna.exceptions.StorageInternalError:  # no tables yet, or damaged, which is found below
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        original = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        with closing(original), closing(sqlite3.connect(copy)) as target:
            original.backup(target)
        options = {"creator": lambda: sqlite3.connect(copy, check_same_thread=False)}
        RDBStorage(f"{SQLITE}study.db", engine_kwargs=options).engine.dispose()


def _creation_lock(database: Path) -> AbstractContextManager[None]:
    """Return a lock under which one worker makes the tables while the others wait.

    The creator makes the lock file before the database, so a database without a lock file is complete.
    """
    lock = database.with_name(f".{database.name}.lock")
    if not os.access(database.parent, os.W_OK) or (database.is_file() and not lock.is_file()):
        return nullcontext()
    return locked(lock, remove=True)


def _with_folder(url: str, path: str) -> str:
    """Make the missing folder of a file and return the file's path."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise NASError(
            f"study.url={url} ({reason})",
            "a folder that can be written",
            "set study.url to a file in a writable folder",
        ) from error
    return path
