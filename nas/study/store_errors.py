"""Errors of study stores: which are worth a retry, and the message of a store that cannot be used."""

from __future__ import annotations

import optuna

from nas.errors import NASError, first_line

RACES = ("already exists", "UNIQUE constraint", "duplicate key")  # several workers that create one study
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


def _grpc_code(error: Exception) -> str:
    code = getattr(error, "code", None)
    if type(error).__module__.startswith("grpc") and callable(code):
        return str(getattr(code(), "name", ""))
    return ""


def unusable(url: str, error: Exception) -> NASError:
    """Make the error of a store that cannot be used.

    Args:
        url: URL of the store.
        error: The cause.

    Returns:
        The error to raise.
    """
    return NASError(
        f"the study store {url} ({first_line(error)})",
        "a store that answers, whole, and made by this version of Optuna",
        "check study.url, the server and the disk; move a damaged file aside and start again",
    )
