"""Deadlines of trainings, and of a block of a program."""

from __future__ import annotations

import _thread
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from nas.training.loop import EndTraining
from nas.utils.importing import is_importing

LEAST_S = 1.0  # time of an interrupted block, so that its signal never comes before it is entered
AGAIN_S = 0.1  # until a signal is repeated that came in the middle of an import


@dataclass
class StopAt:
    """Ends trainings whose next epoch would end too late; they keep their best epoch.

    Args:
        deadline: In seconds of `time.time`, which all processes of a machine share.
    """

    deadline: float
    _last: dict[str, float] = field(default_factory=dict)

    def __call__(self, fold: str, epoch: int, epochs: int, metrics: Mapping[str, float]) -> None:
        """See `nas.training.loop.OnEpoch`.

        Args:
            fold: Name of the fold.
            epoch: Epochs done.
            epochs: Epochs planned.
            metrics: Validation metrics.

        Raises:
            EndTraining: If the next epoch would end after the deadline.
        """
        now = time.time()
        took = now - self._last.get(fold, now)
        self._last[fold] = now
        if epoch < epochs and now + took > self.deadline:
            raise EndTraining


class Stopwatch:
    """Measures the time from the first to the last epoch of a training."""

    def __init__(self) -> None:
        self.started = self.ended = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds from the begin to the end of the last epoch."""
        return self.ended - self.started

    def __call__(self, fold: str, epoch: int, epochs: int, metrics: Mapping[str, float]) -> None:
        """Note the end of an epoch; arguments as for `StopAt`."""
        self.ended = time.monotonic()


@dataclass
class Both:
    """Two callbacks of epochs.

    Args:
        first: Called last, as it may end the training.
        second: Called first.
    """

    first: StopAt
    second: Stopwatch

    def __call__(self, fold: str, epoch: int, epochs: int, metrics: Mapping[str, float]) -> None:
        """Call both; arguments as for `StopAt`."""
        self.second(fold, epoch, epochs, metrics)
        self.first(fold, epoch, epochs, metrics)


class TimeIsUp(KeyboardInterrupt):
    """The time of a block is over; the block ends as after Ctrl-C."""


@contextmanager
def interrupted_after(seconds: float) -> Iterator[threading.Event]:
    """Interrupt a block of the main thread as Ctrl-C does after some time, and go on behind it.

    A signal is used, as it also wakes a thread that waits; not that of Ctrl-C, which a shell may have ignored.

    Args:
        seconds: Time of the block.

    Yields:
        An event that is set if the block was interrupted for its time.
    """
    fired, ended, main = threading.Event(), threading.Event(), threading.main_thread().ident
    number = getattr(signal, "SIGALRM", signal.SIGINT)

    def handle(_: int, frame: FrameType | None) -> None:
        if not ended.is_set() and not is_importing(frame):
            ended.set()
            fired.set()
            raise TimeIsUp

    def fire() -> None:
        while not ended.is_set() and main is not None:
            if hasattr(signal, "pthread_kill"):
                signal.pthread_kill(main, number)
            else:  # Windows
                _thread.interrupt_main(number)
            ended.wait(AGAIN_S)

    before = signal.signal(number, handle)
    timer = threading.Timer(max(seconds, LEAST_S), fire)
    timer.daemon = True
    timer.start()
    try:
        try:
            yield fired
        except TimeIsUp:
            pass
        finally:
            ended.set()
    except TimeIsUp:  # the signal came between the end of the block and `ended.set`
        pass
    finally:
        timer.cancel()
        timer.join()  # its signal, if it is on its way, finds the handler
        signal.signal(number, before)
