"""Work that several processes share out among themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from nas.utils.files import locked_if_free

POLL_S = 0.2
Result = TypeVar("Result")


def each_once(names: Iterable[str], work: Callable[[str], Result], locks: Mapping[str, Path]) -> list[Result]:
    """Do all pieces of a work, first those that no other process is doing.

    A piece that another process has finished is quick, because its result is read from a file. The lock of a process
    that dies is released, so that another one does its piece.

    Args:
        names: The pieces.
        work: Does a piece.
        locks: Lock file of each piece; empty if no other process takes part.

    Returns:
        The results in the order of the pieces.
    """
    names = list(names)
    if not locks:
        return [work(name) for name in names]
    found: dict[str, Result] = {}
    while len(found) < len(names):
        before = len(found)
        for name in names:
            if name not in found:
                with locked_if_free(locks[name]) as free:
                    if free:
                        found[name] = work(name)
        if len(found) == before:
            time.sleep(POLL_S)
    return [found[name] for name in names]
