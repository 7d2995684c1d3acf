"""The task that a data set is for, if none is chosen."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from nas.errors import NASError
from nas.tasks.base import Task

if TYPE_CHECKING:
    from nas.data.store import VolumeStore

TASKS = {"classification": "Classification", "segmentation": "Segmentation", "detection": "Detection"}


def default_task(store: VolumeStore) -> Task:
    """Make the task of a data set's kind with default settings.

    Args:
        store: The prepared data set.

    Returns:
        The task, with the channels, classes and dimensions of the data.

    Raises:
        NASError: If there is no task of this kind in `nas.tasks`.
    """
    if store.kind not in TASKS:
        raise NASError(f"data of the kind {store.kind!r} without a task", f"one of {', '.join(TASKS)}", "pass a task")
    cls = getattr(importlib.import_module(f"nas.tasks.{store.kind}"), TASKS[store.kind])
    return cls(in_channels=store.shape[0], outputs=len(store.classes), dims=store.dims)
