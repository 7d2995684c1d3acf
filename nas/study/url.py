"""Store URLs of existing studies, given as a URL, a file or an output folder."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from nas.errors import NASError, first_line
from nas.utils.foreign import read_yaml, require_regular

SQLITE = "sqlite:///"
FORMS = (
    "sqlite:///study.db, sqlite:////absolute/study.db, journal:///absolute/study.log, "
    "postgresql+psycopg://user@host/database, or grpc://host:port"
)
PROXY = re.compile(r"([^:/]+|\[[0-9a-fA-F:]+\]):(\d+)/?")  # host and port
CONFIG, DATABASE = "config.yaml", "study.db"
SQLITE_MARK, JOURNAL_MARK = b"SQLite format 3\0", b'{"op_code"'


def sqlite_url(folder: Path) -> str:
    """Return the URL of the database that a search keeps in its output folder.

    Args:
        folder: The output folder, whose name may hold any character.

    Returns:
        The URL, escaped.
    """
    return file_url((folder / DATABASE).resolve())


def file_url(path: Path) -> str:
    """Return the URL of an SQLite database.

    Args:
        path: Absolute path of the file.

    Returns:
        The URL with all characters quoted that have a meaning in URLs; see `database_path`.
    """
    return f"{SQLITE}{quote(str(path))}"


def database_path(url: str) -> Path | None:
    """Return the file of an SQLite URL.

    Args:
        url: URL of a store.

    Returns:
        The path, or None for another kind of store.
    """
    if not url.startswith(SQLITE):
        return None
    return Path(unquote(url.removeprefix(SQLITE).partition("?")[0]))


def file_of(url: str) -> Path | None:
    """Return the file of a store.

    Args:
        url: URL of a store.

    Returns:
        The SQLite database or the journal; None for a server.
    """
    scheme, _, rest = url.partition("://")
    return Path(rest) if scheme == "journal" else database_path(url)


def require_form(url: str) -> None:
    """Check the form of a URL and its driver, without a connection, before any data are prepared.

    Args:
        url: URL of a store.

    Raises:
        NASError: If it has none of the `FORMS`, or the driver is not installed.
    """
    scheme, separator, rest = url.partition("://")
    with_host = scheme.startswith("sqlite") and not rest.startswith("/")
    if not separator or not rest.strip("/") or with_host or (scheme == "grpc" and PROXY.fullmatch(rest) is None):
        raise bad_url(url)
    if scheme in ("journal", "grpc", "sqlite"):
        return
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        make_url(url).get_dialect().import_dbapi()
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise bad_url(url, error) from error
    except ImportError as error:
        raise no_driver(url, error) from error


def bad_url(url: str, error: Exception | None = None) -> NASError:
    """Make the error of a URL without one of the `FORMS`.

    Args:
        url: The URL.
        error: The reason, if it is known.

    Returns:
        The error to raise.
    """
    reason = f" ({first_line(error)})" if error is not None else ""
    return NASError(f"study.url={url}{reason}", FORMS, "set study.url to one of these forms")


def no_driver(url: str, error: ImportError) -> NASError:
    """Make the error of a URL whose driver is not installed.

    Args:
        url: The URL.
        error: The error of the import.

    Returns:
        The error to raise.
    """
    extra = "grpc" if url.startswith("grpc:") else "postgres"
    return NASError(f"study.url={url} ({first_line(error)})", "the store's driver", f"pip install 'voxnas[{extra}]'")


def store_url(text: str) -> str:
    """Return the URL of an existing store.

    Opening a store creates missing files, so files are checked first.

    Args:
        text: URL, file or output folder.

    Returns:
        The URL.

    Raises:
        NASError: If the file or folder does not exist, or is not a store of studies.
    """
    if "://" not in text:
        return _of_path(Path(text))
    scheme, _, rest = text.partition("://")
    file = rest.partition("?")[0]
    if scheme.startswith("sqlite"):
        return _of_file(database_path(text) or Path(file), text)
    elif scheme == "journal":
        _of_file(Path(file), text)
    return text


def _of_path(path: Path) -> str:
    if not path.is_dir():
        return _of_file(path, str(path))
    if (path / CONFIG).is_file():
        url = configured(path / CONFIG).get("url")
        if isinstance(url, str) and not url.startswith(
            "sqlite"
        ):  # SQLite is next to the configuration, even if the folder was moved
            return store_url(url)
    if (path / DATABASE).is_file():
        return _of_file(path / DATABASE, str(path))
    raise NASError(
        f"the folder {path} without a {DATABASE}",
        "an output folder of run_search.py",
        "set the path to an output folder, or give the URL of the store",
    )


def _of_file(path: Path, text: str) -> str:
    """URL of a database or journal; `text` is the user's name of it."""
    try:
        require_regular(path)
        with open(path, "rb") as file:
            head = file.read(len(SQLITE_MARK))
    except (OSError, ValueError) as error:
        raise NASError(
            f"{text} ({getattr(error, 'strerror', None) or error})",
            "an existing store",
            "set the path or URL to an existing store",
        ) from error
    absolute = path.resolve()
    if head.startswith(SQLITE_MARK) and _has_studies(absolute):
        return file_url(absolute)
    if head.startswith(JOURNAL_MARK):
        return f"journal://{absolute}"
    raise NASError(
        f"{text}, a file of another kind", f"a {DATABASE} or a journal", "set the path to a store of studies"
    )


def _has_studies(path: Path) -> bool:
    """Check whether the database has Optuna's tables."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            return bool(database.execute("SELECT 1 FROM sqlite_master WHERE name = 'studies'").fetchall())
    except sqlite3.Error as error:
        raise NASError(f"{path} ({error})", "an intact database", "restore the file from a copy") from error


def configured(path: Path) -> Mapping[str, Any]:
    """Return the section `study` of the configuration of an output folder.

    Args:
        path: config.yaml.

    Returns:
        The settings; empty if the file has no such section.

    Raises:
        NASError: If the file cannot be read.
    """
    try:
        content = read_yaml(path)
    except (OSError, ValueError) as error:
        raise NASError(f"{path} ({error})", "the configuration of a search", "give the URL of the store") from error
    study = content.get("study") if isinstance(content, dict) else None
    return study if isinstance(study, dict) else {}
