"""Data-parallel training under torchrun. Without torchrun every helper is that of a single process.

Each rank computes its share of every batch, and gradients are averaged by samples, so that n processes take the steps
of one. The exception is batch normalisation: on GPUs its statistics are synchronised (SyncBatchNorm); PyTorch has no
such layer for the CPU, where each rank normalises by its own share and rank 0's running statistics are kept.
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
    """Joins the processes that torchrun started (WORLD_SIZE in the environment) and returns this rank's device."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device


def shutdown() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def is_main() -> bool:
    return rank() == 0


def wrap(model: nn.Module) -> nn.Module:
    """The module to call in training; weights start as rank 0's."""
    return DistributedDataParallel(model) if world() > 1 else model


def synchronised_norm(model: nn.Module) -> nn.Module:
    """SyncBatchNorm in place of batch normalisation where several GPUs train; call before the optimiser is made."""
    on_gpu = any(parameter.is_cuda for parameter in model.parameters())
    return nn.SyncBatchNorm.convert_sync_batchnorm(model) if world() > 1 and on_gpu else model


def share_buffers(model: nn.Module) -> None:
    """Rank 0's buffers (running statistics, annealing counters) on every rank."""
    if world() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def total(values: torch.Tensor) -> torch.Tensor:
    """The sum over ranks."""
    if world() > 1:
        dist.all_reduce(values)
    return values


def add_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Every gradient replaced by its sum over ranks, in one message."""
    if world() > 1:
        gradients = [p.grad for p in parameters if p.grad is not None]
        together = total(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, summed in zip(gradients, together.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(summed.view_as(gradient))


def gather(value: T) -> list[T]:
    """Every rank's value, on every rank."""
    if world() == 1:
        return [value]
    out: list[Any] = [None] * world()
    dist.all_gather_object(out, value)
    return out


def from_main(value: T) -> T:
    """Rank 0's value on every rank."""
    if world() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]
