"""Limits of `voxnas auto`: time of a block, end of trainings, workers of a machine, networks that are small enough."""

from __future__ import annotations

import _thread
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch

from experiments.planning import PER_WEIGHT, free_memory
from nas.architecture import Architecture
from nas.artifact import Artifact
from nas.cost.model import CostModel
from nas.cost.profile import training_bytes
from nas.errors import NASError
from nas.planning.rules import MEMORY_SHARE
from nas.space import SearchSpace
from nas.task_spec import TaskSpec
from nas.training.loop import EndTraining

MOST_WORKERS = 8
PROCESS_BYTES = 7e8  # of a process with torch and its data


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

    def handle(*_: object) -> None:
        if not ended.is_set():
            ended.set()
            fired.set()
            raise TimeIsUp

    def fire() -> None:
        if not ended.is_set() and main is not None:
            if hasattr(signal, "pthread_kill"):
                signal.pthread_kill(main, number)
            else:  # Windows
                _thread.interrupt_main(number)

    before = signal.signal(number, handle)
    timer = threading.Timer(max(seconds, 0.0), fire)
    timer.daemon = True
    timer.start()
    try:
        yield fired
    except TimeIsUp:
        pass
    finally:
        ended.set()
        timer.cancel()
        timer.join()  # its signal, if it is on its way, finds the handler
        signal.signal(number, before)


def cores() -> int:
    """Return the cores that this process may use: those that `OMP_NUM_THREADS` allows, else all.

    Returns:
        At least 1.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked):
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def workers_of(network: Artifact, shape: Sequence[int], batch: int, device: torch.device) -> int:
    """Return how many trainings at a time this machine takes.

    Args:
        network: The reference network.
        shape: Shape (C, D, H, W) of an image in training.
        batch: Images of a step.
        device: The device.

    Returns:
        The number of GPUs, or as many processes as there are cores and memory for, at most eight.
    """
    if device.type == "cuda":
        return max(torch.cuda.device_count(), 1) if device.index is None else 1
    if device.type != "cpu":
        return 1
    with torch.device("meta"):
        ghost = network.space.build(network.arch, network.task)
    step = training_bytes(ghost, (batch, *shape)) + PER_WEIGHT * sum(one.numel() for one in ghost.parameters())
    room = int(MEMORY_SHARE * free_memory(device) / (2 * step + PROCESS_BYTES))
    return max(min(cores(), room, MOST_WORKERS), 1)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let this process, and those that it starts, use so many threads.

    Args:
        count: Number of threads of each.

    Yields:
        None, while it holds.
    """
    before, own = os.environ.get("OMP_NUM_THREADS"), torch.get_num_threads()
    os.environ["OMP_NUM_THREADS"] = str(count)
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(own)
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


@dataclass(frozen=True)
class Most:
    """A limit of networks.

    Args:
        option: The option that sets it.
        value: The largest value.
        cost: Value of an architecture.
    """

    option: str
    value: float
    cost: Callable[[Architecture], float]


def small_enough(network: Artifact, limits: Sequence[Most]) -> Artifact:
    """Make a reference network smaller until it keeps limits.

    One gene at a time is lowered by one choice, the one that lowers the cost most.

    Args:
        network: The network.
        limits: The limits.

    Returns:
        The network, or a smaller one of its space.

    Raises:
        NASError: If no network on the way to the smallest one keeps a limit.
    """
    space, arch = network.space, network.arch
    while (limit := next((one for one in limits if one.cost(arch) > one.value), None)) is not None:
        lower = _lowered(space, arch, limit.cost)
        if lower is None:
            raise NASError(
                f"{limit.option} {limit.value:g}",
                f"at least {limit.cost(arch):.6g}, as the smallest planned network",
                f"raise {limit.option}, or write a smaller space into plan.yaml",
            )
        arch = lower
    return network if arch == network.arch else replace(network, arch=arch)


def params_of(space: SearchSpace, arch: Architecture, task: TaskSpec) -> int:
    """Count the parameters of a network.

    Args:
        space: Its space.
        arch: The architecture.
        task: Its task.

    Returns:
        Their number.
    """
    with torch.device("meta"):
        return sum(one.numel() for one in space.build(arch, task).parameters())


def limits_of(network: Artifact, max_params: float | None, max_ms: float | None, ms: CostModel | None) -> list[Most]:
    """Return the limits of an option each.

    Args:
        network: The reference network.
        max_params: Most parameters; None for no limit.
        max_ms: Longest latency in ms; None for no limit.
        ms: Latency of a network of the space; None if it is not known.

    Returns:
        At most two limits.
    """
    found = []
    if max_params is not None:
        found.append(Most("--max-params", max_params, lambda arch: params_of(network.space, arch, network.task)))
    if max_ms is not None and ms is not None:
        found.append(Most("--max-latency-ms", max_ms, ms.of))
    return found


def _lowered(space: SearchSpace, arch: Architecture, cost: Callable[[Architecture], float]) -> Architecture | None:
    """Return the neighbour with one lower gene that has the lowest cost; None if no gene lowers it."""
    here, found = cost(arch), list[tuple[float, Architecture]]()
    for number, index in enumerate(arch.genes):
        if index:
            other = space.repair([*arch.genes[:number], index - 1, *arch.genes[number + 1 :]])
            if (value := cost(other)) < here:
                found.append((value, other))
    return min(found, key=lambda one: one[0])[1] if found else None
