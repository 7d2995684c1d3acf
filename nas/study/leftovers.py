"""Files that a search leaves beside its study, for `voxnas study delete`."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from nas.errors import NASError
from nas.study.url import CONFIG, configured

# what `voxnas search` writes into its output folder; other files of the folder are kept
OF_SEARCH = (
    "checkpoints", "pareto", "arch.json", "trials.csv", "search.json", "curves.csv", "report.html", "data.html",
    "live.html", "job.json", "run_search.log", ".results.lock", ".results.written", ".live.lock", CONFIG,
)  # fmt: skip


def leftovers(folder: Path, name: str) -> list[Path]:
    """Return what a search has written into its output folder.

    Args:
        folder: The folder, which need not exist.
        name: Name of the study.

    Returns:
        Files and folders; none if the folder is that of another study.
    """
    try:
        own = configured(folder / CONFIG).get("name") == name
    except NASError:  # no configuration, or one that cannot be read
        return []
    return [path for path in (folder / entry for entry in OF_SEARCH) if own and path.exists() and not path.is_symlink()]


def remove(paths: Sequence[Path]) -> None:
    """Remove files and folders, and the folder that holds them if it is empty then.

    Args:
        paths: Result of `leftovers`.

    Raises:
        OSError: If one cannot be removed.
    """
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for folder in {path.parent for path in paths}:
        with suppress(OSError):
            folder.rmdir()
