"""Whether a store can be used, and whether it holds a study, without writing to it."""

from __future__ import annotations

from nas.errors import NASError, first_line
from nas.study.password import with_password
from nas.study.reader import StudyReader
from nas.study.storage import Store
from nas.study.store_errors import unusable
from nas.study.url import file_of, store_url
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


def study_of_store(store: str, name: str | None = None) -> StudyReader:
    """Open a study of an existing store for reading.

    Args:
        store: Output folder, file or URL of the store.
        name: Name of the study; None for the only one.

    Returns:
        The study.

    Raises:
        NASError: If the store cannot be used, has no such study, or has several and none is named.
    """
    url = store_url(store)
    opened = Store(url, read_only=True)
    chosen = name_in(opened, name)
    opened.close()
    return StudyReader.open(url, chosen)


def name_in(store: Store, name: str | None) -> str:
    """Return the given name of a study, else that of the only study of a store.

    Args:
        store: The store.
        name: Name of a study, or None.

    Returns:
        The name.

    Raises:
        NASError: If the store has no such study, or has several and none is named.
    """
    names = store.names()
    if name is None and len(names) == 1:
        return names[0]
    if name not in names:
        got = "no name of a study" if name is None else f"no study {name!r}"
        raise NASError(f"{got} in {store.url}", f"one of {', '.join(names) or 'none'}", "check the name")
    return name


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
