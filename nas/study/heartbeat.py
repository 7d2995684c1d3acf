"""Signs of life while a trial is evaluated, and the end of a trial that takes too long."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from nas.errors import NASError, TrialFailed
from nas.study.study import Study, Ticket

BEATS_PER_LEASE = 4
log = logging.getLogger(__name__)


class Heartbeat:
    """Renews a ticket from a thread of its own, so that long epochs and a slow store do not stop each other.

    Use as a context. `lost` turns True where another worker has taken the trial over; `epoch` is told to the store with
    the next beat. Beats end after `limit_s`, so that a trial that hangs beyond all signals is taken over at last.
    """

    def __init__(self, study: Study, ticket: Ticket, lease_s: float, limit_s: float | None = None) -> None:
        self.lost, self.epoch = False, 0
        self._study, self._ticket = study, ticket
        self._pause_s, self._limit_s = lease_s / BEATS_PER_LEASE, limit_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"heartbeat of trial {ticket.number}", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        beat, told, end = 0, 0, None if self._limit_s is None else time.monotonic() + self._limit_s
        try:
            while not self._stop.wait(self._pause_s) and (end is None or time.monotonic() < end):
                beat, told = beat + 1, self.epoch
                if not self._study.renew(self._ticket, beat, told):
                    self.lost = True
                    return
        except NASError as error:
            log.warning("no sign of life for trial %d: %s", self._ticket.number, error)
        finally:
            self._study.store.leave_thread()


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Limit the run time of the body. Native code is interrupted when it returns to Python.

    Args:
        seconds: Maximum run time. If None, there is no limit.

    Yields:
        None.

    Raises:
        TrialFailed: If the body takes longer.
        NASError: If a limit is set outside of a main thread on Unix.
    """
    if seconds is None:
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise TrialFailed(f"not done within {seconds:g} s")

    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        raise NASError(
            f"study.time_limit_s={seconds:g} outside of a main thread on Unix",
            "no time limit there",
            "set study.time_limit_s to null",
        )
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
