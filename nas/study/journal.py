"""A journal file that survives a writer killed in the middle of a line, or a disk that filled up under it."""

from __future__ import annotations

import fcntl
import json
import os
from typing import Any

from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock

TAIL = 4096  # bytes read at once when looking for the end of the last whole line


class FileLock(BaseJournalFileLock):
    """flock on a file beside the journal: the kernel lets go of it when its holder dies, on whatever machine.

    (Optuna's own locks are files that a killed holder leaves behind for 30 seconds.) Works on local disks and on NFS
    from version 3; Lustre must be mounted with `flock`.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._handle: int | None = None

    def acquire(self) -> bool:
        handle = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except BaseException:
            os.close(handle)
            raise
        self._handle = handle
        return True

    def release(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


class JournalFile(JournalFileBackend):
    """Optuna's journal in a file, mended: a line that was never finished is cut off before the next is written.

    Such a line was never acknowledged to anyone; left in place, it would join the next one and make the whole journal
    unreadable. Only the holder of the lock writes. Raises OSError where the file system refuses.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path, lock_obj=FileLock(f"{path}.lock"))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self._lock.acquire()
        try:
            self._cut_unfinished_line()
            size = os.path.getsize(self._file_path)
            try:
                self._write(logs)
            except OSError:
                os.truncate(self._file_path, size)
                raise
        finally:
            self._lock.release()

    def _write(self, logs: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        with open(self._file_path, "ab") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    def _cut_unfinished_line(self) -> None:
        with open(self._file_path, "rb") as file:
            end = file.seek(0, os.SEEK_END)
            keep = 0
            for start in range(end - TAIL, -TAIL, -TAIL):
                file.seek(max(start, 0))
                newline = file.read(TAIL).rfind(b"\n")
                if newline >= 0:
                    keep = max(start, 0) + newline + 1
                    break
        if keep < end:
            os.truncate(self._file_path, keep)
