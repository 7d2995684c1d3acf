"""What a person calls a study (a URL, a file, an output folder) as the URL of a store that exists."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from nas.errors import NASError

CONFIG, DATABASE = "config.yaml", "study.db"
SQLITE_MARK, JOURNAL_MARK = b"SQLite format 3\0", b'{"op_code"'


def store_url(text: str) -> str:
    """The URL of an existing store: `text` itself where it is one, else that of the file or output folder it names.

    Opening a store makes what is not there; to look at one must not, so that files are looked at first. Raises
    NASError where there is no such file or folder, and where a file is no store of studies.
    """
    if "://" not in text:
        return _of_path(Path(text))
    scheme, _, rest = text.partition("://")
    file = rest.partition("?")[0]
    if scheme.startswith("sqlite"):
        _of_file(Path(file.removeprefix("/")), text)
    elif scheme == "journal":
        _of_file(Path(file), text)
    return text


def _of_path(path: Path) -> str:
    if not path.is_dir():
        return _of_file(path, str(path))
    if (path / CONFIG).is_file():
        url = _configured(path / CONFIG).get("url")
        if isinstance(url, str) and not url.startswith("sqlite"):  # a folder that was moved took its database along
            return store_url(url)
    if (path / DATABASE).is_file():
        return _of_file(path / DATABASE, str(path))
    raise NASError(
        f"the folder {path} without a {DATABASE}",
        "an output folder of run_search.py",
        "check the path, or give the URL of the store",
    )


def _of_file(path: Path, said: str) -> str:
    try:
        with open(path, "rb") as file:
            head = file.read(len(SQLITE_MARK))
    except OSError as error:
        raise NASError(f"{said} ({error.strerror})", "a store that exists", "check the path") from error
    absolute = path.resolve()
    if head.startswith(SQLITE_MARK) and _has_studies(absolute):
        return f"sqlite:///{absolute}"
    if head.startswith(JOURNAL_MARK):
        return f"journal://{absolute}"
    raise NASError(f"{said}, which is no store of studies", f"a {DATABASE} or a journal", "check the path")


def _has_studies(path: Path) -> bool:
    """Whether the database has Optuna's tables."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            return bool(database.execute("SELECT 1 FROM sqlite_master WHERE name = 'studies'").fetchall())
    except sqlite3.Error as error:
        raise NASError(f"{path} ({error})", "a whole database", "restore the file from a copy") from error


def _configured(path: Path) -> Mapping[str, Any]:
    """The part `study` of an output folder's configuration."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise NASError(f"{path} ({error})", "the configuration of a search", "give the URL of the store") from error
    study = content.get("study") if isinstance(content, dict) else None
    return study if isinstance(study, dict) else {}
