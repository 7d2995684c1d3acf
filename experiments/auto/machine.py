"""Capacity of the machine: cores, trainings at a time, threads."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from experiments.planning import PER_WEIGHT, free_memory
from nas.artifact import Artifact
from nas.cost.profile import training_bytes
from nas.planning.rules import MEMORY_SHARE
from nas.utils.process import usable_cores

MOST_WORKERS = 8
PROCESS_BYTES = 7e8  # of a process with torch and its data


def cores() -> int:
    """Return the cores that this process may use: those that `OMP_NUM_THREADS` allows, else all.

    Returns:
        At least 1.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked):
        return int(asked)
    return usable_cores()


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
