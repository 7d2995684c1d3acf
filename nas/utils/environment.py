"""Errors of the machine, not of the program: full disks, limits, missing rights."""

from __future__ import annotations

import errno

NAMES_OF_DISK = ("ENOSPC", "EDQUOT", "EFBIG", "EIO", "EROFS", "EACCES", "EPERM", "EISDIR", "ENOTDIR")
NAMES = (
    *NAMES_OF_DISK,
    "EEXIST",
    "ENOENT",
    "ENAMETOOLONG",
    "EMFILE",
    "ENFILE",
    "ELOOP",
    "ESTALE",
    "ENXIO",
    "ENOTEMPTY",
)
DISK_ERRNOS, ENVIRONMENT_ERRNOS = (
    frozenset(getattr(errno, name) for name in names if hasattr(errno, name)) for names in (NAMES_OF_DISK, NAMES)
)


def is_of_environment(error: BaseException) -> bool:
    """Return whether the user has to change the machine, such as its disk, before the same command can succeed.

    Args:
        error: The error.

    Returns:
        True for operating system errors of files.
    """
    return isinstance(error, OSError) and error.errno in ENVIRONMENT_ERRNOS
