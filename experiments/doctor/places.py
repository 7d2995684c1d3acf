"""Checks of folders: outputs, cache, data, the store of a study, and whether file locks exclude each other."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from experiments.doctor.check import NOTE, OK, PROBLEM, Check
from nas.errors import NASError, first_line

GB = 1e9
LITTLE, TOO_LITTLE = 5 * GB, 0.2 * GB  # free bytes
CHILD_S = 20.0
# tries the lock at once, prints the result, waits for a line, and tries again
CHILD = """
import sys
from filelock import FileLock, Timeout
for turn in range(2):
    lock = FileLock(sys.argv[1], fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
        lock.release()
        print("free", flush=True)
    except Timeout:
        print("held", flush=True)
    sys.stdin.readline()
"""


def disk_check(name: str, folder: Path, setting: str) -> Check:
    """Check that a folder, or the one in which it will be made, can be written and has room.

    Args:
        name: Name of the check.
        folder: The folder.
        setting: Setting that names another folder.

    Returns:
        Free space and path.
    """
    place = existing(folder)
    try:
        with tempfile.TemporaryFile(dir=place):
            free = shutil.disk_usage(place).free
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        return Check(name, PROBLEM, f"{folder.absolute()} ({reason})", f"use a folder that can be written: {setting}")
    shown = f"{folder.absolute()}, {free / GB:.1f} GB free"
    if free < LITTLE:
        fix = f"make room, or use another disk: {setting}"
        return Check(name, PROBLEM if free < TOO_LITTLE else NOTE, shown, fix)
    return Check(name, OK, shown)


def existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists.

    Args:
        folder: A folder.

    Returns:
        A folder that exists.
    """
    folder = folder.absolute()
    return next((one for one in (folder, *folder.parents) if one.is_dir()), Path("/"))


def data_check(given: str | None) -> Check:
    """Check the folder of data sets that are files.

    Args:
        given: The folder; None for that of the environment variable VOXNAS_DATA.

    Returns:
        The folder and what it holds.
    """
    chosen = given or os.environ.get("VOXNAS_DATA")
    if not chosen:
        fix = "set VOXNAS_DATA=/folder for data sets that are files"
        return Check("data", OK, f"no folder; built-in data sets need none, {fix}")
    try:
        count = len(os.listdir(chosen))
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        return Check("data", PROBLEM, f"{chosen} ({reason})", "set VOXNAS_DATA to a folder that can be read")
    if not count:
        return Check("data", NOTE, f"{chosen}, which is empty", "put data sets there, see docs/reference/data-sets.md")
    return Check("data", OK, f"{chosen}, {count} entries")


def lock_check(folder: Path) -> Check:
    """Check with a second process that a lock that this one holds is refused, and free after its release.

    Args:
        folder: The output folder; the nearest existing one is used.

    Returns:
        Whether locks of its file system exclude each other.
    """
    try:
        from filelock import FileLock
    except Exception as error:  # a broken package
        return Check("locks", PROBLEM, f"filelock cannot be imported ({type(error).__name__})", "pip install filelock")
    place = existing(folder)
    fix = "use a folder on a local disk, and study.url for a store that workers share"
    try:
        with tempfile.TemporaryDirectory(dir=place, prefix=".voxnas-doctor-") as temporary:
            path = os.path.join(temporary, "lock")
            lock = FileLock(path, fallback_to_soft=False)
            lock.acquire(timeout=0)
            try:
                child = subprocess.Popen(
                    [sys.executable, "-c", CHILD, path],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
                assert child.stdout is not None
                first = child.stdout.readline().strip()
            finally:
                lock.release()
            second = child.communicate("\n\n", timeout=CHILD_S)[0].strip()
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return Check("locks", PROBLEM, f"a lock in {place} that is never released", fix)
    except (OSError, NotImplementedError) as error:
        reason = first_line(error).lower()
        return Check("locks", PROBLEM, f"no file locks in {place} ({reason})", fix)
    if (first, second) == ("held", "free"):
        return Check("locks", OK, f"two processes exclude each other in {place}")
    if first == "free":
        return Check("locks", PROBLEM, f"two processes hold the same lock in {place}", fix)
    return Check("locks", PROBLEM, f"a second process cannot try a lock in {place}", "repeat the command")


def store_check(given: str) -> Check:
    """Check that a store of studies opens and can be written.

    Args:
        given: URL, file or output folder.

    Returns:
        Number of studies.
    """
    try:
        from nas.study.url import database_path, store_url

        path = database_path(given)
        if path is not None and not path.exists():
            place = existing(path.parent)
            if os.access(place, os.W_OK):
                return Check("store", OK, f"{given}, which the first search will make")
            return Check("store", PROBLEM, f"{given} in {place}, which cannot be written", "name another folder")
        from nas.study.storage import Store

        store = Store(store_url(given), patience_s=2.0)
        count = len(store.names())
        store.create_or_attach(f"voxnas-doctor-{os.urandom(4).hex()}", ["maximize"])
        store.delete()
    except NASError as error:
        return Check("store", PROBLEM, error.got, f"expected {error.expected}; {error.fix}")
    except Exception as error:  # of a driver
        return Check("store", PROBLEM, f"{given} ({type(error).__name__}: {first_line(error)})", "check the address")
    return Check("store", OK, f"{given}, {count} {'study' if count == 1 else 'studies'}, can be written")
