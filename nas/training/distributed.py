"""Data-parallel training under torchrun. Without torchrun, all functions work as in a single process.

Each rank computes its share of every batch, and gradients are averaged over samples, so that n processes take the same
steps as one. The exception is batch normalisation: its statistics are synchronised on GPUs only (SyncBatchNorm).
PyTorch has no such layer for the CPU: each rank normalises by its own share, and the running statistics of rank 0 are
used.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


def initialise(device: torch.device) -> torch.device:
    """Join the processes started by torchrun (WORLD_SIZE in the environment).

    Args:
        device: Requested device.

    Returns:
        The device of this rank.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device


def shutdown() -> None:
    """Leave the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def world() -> int:
    """Return the number of processes.

    Returns:
        The world size, 1 without torchrun.
    """
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return the rank of this process.

    Returns:
        The rank, 0 without torchrun.
    """
    return dist.get_rank() if dist.is_initialized() else 0


def is_main() -> bool:
    """Return whether this is the process that writes files.

    Returns:
        True on rank 0.
    """
    return rank() == 0


def wrap(model: nn.Module) -> nn.Module:
    """Wrap a network for data-parallel training, starting from the weights of rank 0.

    Args:
        model: Network to train.

    Returns:
        The module to call in training.
    """
    return DistributedDataParallel(model) if world() > 1 else model


def synchronised_norm(model: nn.Module) -> nn.Module:
    """Replace batch normalisation by SyncBatchNorm if several GPUs train. Call before making the optimiser.

    Args:
        model: Network on its device.

    Returns:
        The network.
    """
    on_gpu = any(parameter.is_cuda for parameter in model.parameters())
    return nn.SyncBatchNorm.convert_sync_batchnorm(model) if world() > 1 and on_gpu else model


def share_buffers(model: nn.Module) -> None:
    """Copy the buffers of rank 0 (running statistics, annealing counters) to every rank.

    Args:
        model: Network, changed in place.
    """
    if world() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def total(values: torch.Tensor) -> torch.Tensor:
    """Sum a tensor over ranks.

    Args:
        values: Tensor of the same shape on every rank, changed in place.

    Returns:
        `values`.
    """
    if world() > 1:
        dist.all_reduce(values)
    return values


def add_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its sum over ranks, in one message.

    Args:
        parameters: Parameters; those without a gradient are skipped.
    """
    if world() > 1:
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = total(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, summed in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(summed.view_as(gradient))


def gather(value: T) -> list[T]:
    """Collect a value from every rank.

    Args:
        value: Any value that can be pickled.

    Returns:
        The values in the order of ranks, on every rank.
    """
    if world() == 1:
        return [value]
    out: list[Any] = [None] * world()
    dist.all_gather_object(out, value)
    return out


def from_main(value: T) -> T:
    """Broadcast a value from rank 0.

    Args:
        value: Value that can be pickled; ignored on the other ranks.

    Returns:
        The value of rank 0.
    """
    if world() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]
