"""Whether a signal interrupted an import, which cannot be repeated in the same process once it has failed halfway."""

from __future__ import annotations

from types import FrameType

IMPORT_SYSTEM = "<frozen importlib._bootstrap>"


def is_importing(frame: FrameType | None) -> bool:
    """Report whether code is being imported.

    An exception in the middle of an import leaves some modules of a package loaded and others not; a second import may
    then find a package without its own submodules. A signal handler therefore waits until the import is done.

    Args:
        frame: The frame that a signal interrupted.

    Returns:
        True if the import system is among the callers of the frame.
    """
    while frame is not None:
        if frame.f_code.co_filename == IMPORT_SYSTEM:
            return True
        frame = frame.f_back
    return False
