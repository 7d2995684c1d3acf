"""Errors of study stores: which are worth a retry, and the message of a store that cannot be used."""

from __future__ import annotations

import re

import optuna

from nas.errors import NASError, first_line
from nas.utils.environment import DISK_ERRNOS

RACES = ("already exists", "UNIQUE constraint", "duplicate key")  # several workers that create one study
DISK_WORDS = ("is full", "readonly database", "disk I/O error", "unable to open database")  # of SQLite
OTHER_OPTUNA = "no longer compatible with the table schema"  # of Optuna, which names no class of its own
LASTING = ("malformed", "not a database", "disk image", "authentication failed", "does not exist", "no password")


def is_of_store(error: Exception) -> bool:
    """Whether an error is a failure of the store, not of the request.

    Args:
        error: The error of a call.

    Returns:
        True for errors of the database, the file system and gRPC.
    """
    from sqlalchemy.exc import SQLAlchemyError  # here, as it takes as long to import as Optuna

    known = (SQLAlchemyError, optuna.exceptions.StorageInternalError, OSError, ValueError)
    return isinstance(error, known) or _grpc_code(error) != ""


def is_race(error: Exception) -> bool:
    """Whether another worker created the same object at the same time, so that the next attempt finds it.

    Args:
        error: The error of a call.

    Returns:
        True for a violated uniqueness.
    """
    return any(word in str(error) for word in RACES)


def is_passing(error: Exception) -> bool:
    """Whether the same call may succeed later: no connection, a lock, a full disk, a lost race.

    Args:
        error: The error of a call.

    Returns:
        True if the call is worth repeating.
    """
    from sqlalchemy.exc import SQLAlchemyError

    code = _grpc_code(error)
    if code:
        return code in ("UNAVAILABLE", "UNKNOWN", "INTERNAL", "DEADLINE_EXCEEDED", "CANCELLED")
    if isinstance(error, SQLAlchemyError | optuna.exceptions.StorageInternalError):
        text = str(error)
        return is_race(error) or not any(word in text for word in LASTING)
    return isinstance(error, OSError)


def is_of_disk(error: Exception) -> bool:
    """Whether a file of the store cannot be written: full disk, quota, limit, rights, read-only.

    Args:
        error: The error of a call.

    Returns:
        True if the machine has to be changed before the call can succeed.
    """
    return _of_disk(error) is not None


def _of_disk(error: BaseException) -> BaseException | None:
    """Return the error of the disk behind an error; Optuna's own only states that a commit failed."""
    cause: BaseException | None = error
    while cause is not None:
        if getattr(cause, "errno", None) in DISK_ERRNOS or any(word in str(cause) for word in DISK_WORDS):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def _grpc_code(error: Exception) -> str:
    code = getattr(error, "code", None)
    if type(error).__module__.startswith("grpc") and callable(code):
        return str(getattr(code(), "name", ""))
    return ""


def of_another_optuna(url: str, error: Exception) -> NASError:
    """Make the error of a store that an older or newer version of Optuna wrote.

    Args:
        url: URL of the store.
        error: Error of Optuna.

    Returns:
        The error to raise.
    """
    writer = re.search(r"set up by optuna ([^)]+)\)", str(error))
    name = f"Optuna {writer[1]}" if writer else "another version of Optuna"
    expected = f"a store of the installed Optuna {optuna.__version__}"
    if "storage upgrade" in str(error):
        fix = f"copy the store, then run `optuna storage upgrade --storage {url}`, or install {name}"
    else:
        fix = f"install {name}, or the latest one by `pip install -U optuna`; the store was not changed"
    return NASError(f"the study store {url}, written by {name}", expected, fix)


def unusable(url: str, error: Exception, *, removed: bool = False) -> NASError:
    """Make the error of a store that cannot be used.

    Args:
        url: URL of the store.
        error: The cause.
        removed: Whether the file of the store has been removed.

    Returns:
        The error to raise.
    """
    if removed:
        return NASError(
            f"the study store {url}, which has been removed", "a store that exists", "repeat the command to start again"
        )
    if OTHER_OPTUNA in str(error):
        return of_another_optuna(url, error)
    if (cause := _of_disk(error)) is not None:
        return NASError(
            f"the study store {url} ({first_line(cause)})",
            "a disk with room and a file that can be written",
            "make room or correct the rights, then repeat the command, which continues",
        )
    return NASError(
        f"the study store {url} ({first_line(error)})",
        "a store that answers, whole, and made by this version of Optuna",
        "check study.url, the server and the disk; move a damaged file aside and start again",
    )
