"""A journal file that survives a writer killed in the middle of a line, or a disk that filled up under it."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from typing import Any

from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock

from nas.utils.files import file_lock
from nas.utils.foreign import require_shallow

NAMES = ("worker_id", "study_name")
TAIL = 4096  # bytes read at once when looking for the end of the last whole line


class JournalLock(BaseJournalFileLock):
    """Exclusive lock on a file beside the journal, released by the kernel when its holder dies, on whatever machine.

    Optuna's own locks are files that a killed holder leaves behind for 30 seconds. This one works on local disks and on
    NFS from version 3; Lustre must be mounted with `flock`.

    Args:
        path: The lock file, which is made and stays.
    """

    def __init__(self, path: str) -> None:
        self._lock = file_lock(path)

    def acquire(self) -> bool:
        """Wait for the lock.

        Returns:
            True.

        Raises:
            OSError: If the file system has no locks, or the file cannot be opened.
        """
        self._lock.acquire()
        return True

    def release(self) -> None:
        """Release the lock, if it is held."""
        self._lock.release()


class JournalFile(JournalFileBackend):
    """Optuna's journal file, which removes an unfinished last line before it appends.

    The write of such a line was never confirmed. If it stayed, the next line would be appended to it, and the journal
    could not be read any more. Only the holder of the lock writes.

    Args:
        path: The journal file.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path, lock_obj=JournalLock(f"{path}.lock"))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append entries, all or none.

        Args:
            logs: The entries, each of JSON values.

        Raises:
            OSError: If the file system refuses the write; the journal is then unchanged.
        """
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

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Read entries; the file may be from elsewhere.

        Args:
            log_number_from: Number of the first entry.

        Yields:
            The entries.

        Raises:
            ValueError: If an entry is no object, is nested too deeply, or has names that are no texts.
        """
        entries = super().read_logs(log_number_from)
        while True:
            try:
                entry = next(entries)
            except StopIteration:
                return
            except RecursionError as error:
                raise ValueError("an entry that is nested too deeply") from error
            if not isinstance(entry, dict) or not all(isinstance(entry.get(key, ""), str) for key in NAMES):
                raise ValueError("an entry of another form")
            require_shallow(entry)
            yield entry

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
