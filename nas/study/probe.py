"""Whether a store can be used, and whether it holds a study, without writing to it."""

from __future__ import annotations

from nas.errors import NASError, first_line
from nas.study.password import with_password
from nas.study.reader import StudyReader
from nas.study.storage import Store
from nas.study.store_errors import unusable
from nas.study.url import file_of
from nas.utils.folders import require_writable


def existing_study(url: str, name: str) -> StudyReader | None:
    """Open a study if its store holds it. Nothing is written, and no file or table is made.

    Args:
        url: URL of the store.
        name: Name of the study.

    Returns:
        The study, or None if there is none yet.

    Raises:
        NASError: If the store cannot be opened, or its file could not be written.
    """
    scheme, file = url.partition("://")[0], file_of(url)
    if file is not None:
        require_writable(file.parent)
        if not file.is_file():
            return None
    elif scheme not in ("grpc", url) and not _has_studies(url):
        return None
    store = Store(url, read_only=True)
    if name in store.names():
        store.attach(name)
        return StudyReader(store, name)
    store.close()
    return None


def _has_studies(url: str) -> bool:
    """Whether a database server can be reached and has Optuna's tables, which opening a store would make."""
    from sqlalchemy import create_engine, inspect

    try:
        engine = create_engine(with_password(url))
        try:
            return bool(inspect(engine).has_table("studies"))
        finally:
            engine.dispose()
    except ImportError as error:
        raise NASError(
            f"study.url={url} ({first_line(error)})", "the driver", "pip install 'voxnas[postgres]'"
        ) from error
    except Exception as error:
        raise unusable(url, error) from error
