"""Signs of life while a trial is evaluated, and the end of a trial that takes too long."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

from nas.errors import NASError, TrialFailed
from nas.utils.importing import is_importing

BEATS_PER_LEASE = 4
AGAIN_S = 0.05  # until a limit of time is tried again that came in the middle of an import
log = logging.getLogger(__name__)


class LeaseLost(Exception):
    """Another worker has taken this worker's trial over."""


class Heartbeat:
    """Renews a claim from a thread of its own, so that long epochs and a slow store do not stop each other.

    Use as a context manager.

    Args:
        renew: Called with a count and the number of epochs done; False if another worker has taken the trial over.
        leave_thread: Called at the end of the thread, to release its connection to the store.
        number: Number of the trial.
        lease_s: Seconds after which a trial without a sign of life is taken over.
        limit_s: Signs of life end after this number of seconds, so that another worker takes over a trial that does
            not react to signals.

    Attributes:
        lost: Whether another worker has taken the trial over.
        epoch: Epochs done, sent with the next sign of life.
    """

    def __init__(
        self,
        renew: Callable[[int, int], bool],
        leave_thread: Callable[[], None],
        number: int,
        lease_s: float,
        limit_s: float | None = None,
    ) -> None:
        self.lost, self.epoch = False, 0
        self._renew, self._leave_thread, self._number = renew, leave_thread, number
        self._pause_s, self._limit_s = lease_s / BEATS_PER_LEASE, limit_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"heartbeat of trial {number}", daemon=True)

    def on_epoch(self, epoch: int, epochs: int) -> None:
        """Note the number of epochs done for the next sign of life.

        Args:
            epoch: Epochs done.
            epochs: Epochs planned.

        Raises:
            LeaseLost: If another worker has taken the trial over.
        """
        if self.lost:
            raise LeaseLost
        self.epoch = epoch

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        beat, end = 0, None if self._limit_s is None else time.monotonic() + self._limit_s
        try:
            while not self._stop.wait(self._pause_s) and (end is None or time.monotonic() < end):
                beat += 1
                if not self._renew(beat, self.epoch):
                    self.lost = True
                    return
        except NASError as error:
            log.warning("no sign of life for trial %d: %s", self._number, error)
        finally:
            self._leave_thread()


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

    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        raise NASError(
            f"study.time_limit_s={seconds:g} outside of a main thread on Unix",
            "no time limit there",
            "set study.time_limit_s to null",
        )

    set_timer = partial(signal.setitimer, signal.ITIMER_REAL)

    def stop(number: int, frame: FrameType | None) -> None:
        if is_importing(frame):
            set_timer(AGAIN_S)
            return
        raise TrialFailed(f"not done within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    set_timer(seconds)
    try:
        yield
    finally:
        set_timer(0)
        signal.signal(signal.SIGALRM, before)
