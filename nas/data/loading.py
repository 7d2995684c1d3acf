"""A part of a volume store as batches on the device: resident where it fits, else read one batch ahead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np
import torch

from nas.data.store import VolumeStore
from nas.errors import NASError


def plan_batches(n: int, batch_size: int, generator: torch.Generator | None = None) -> list[np.ndarray]:
    """The positions 0..n-1 cut into the fewest batches of at most batch_size, in order or shuffled.

    Sizes differ by one at most: no tiny last batch disturbs BatchNorm's statistics, leaves a rank of a data-parallel
    run without samples, or (batch 1, fp32) falls into the slow path of 3D convolutions on the CPU.
    """
    order = np.arange(n) if generator is None else torch.randperm(n, generator=generator).numpy()
    return np.array_split(order, -(-n // batch_size)) if n else []


class VolumeSet:
    """Rows of a store, on a device. Only the named rows are ever read.

    indices: (N,) rows of the store. device: where batches are made. max_resident_mb: a set of at most that many
    10^6 bytes, in its stored type, stays on the device after the first use; a larger one is read from the file.
    Attributes: labels (N,) int64, indices (N,) int64, shape (C, D, H, W), of slices (C, H, W), resident (bool).
    """

    def __init__(
        self,
        store: VolumeStore,
        indices: Sequence[int] | np.ndarray,
        device: torch.device | str,
        max_resident_mb: float = 2048,
    ) -> None:
        self.store, self.device = store, torch.device(device)
        self.indices = np.asarray(indices, dtype=np.int64).reshape(-1)
        wrong = self.indices[(self.indices < 0) | (self.indices >= len(store))]
        if len(wrong):
            raise NASError(
                f"row {wrong[0]} of {store.name}", f"rows 0 to {len(store) - 1}", "take rows from a split of it"
            )
        self.labels: np.ndarray = store.labels[self.indices]
        self.shape: tuple[int, ...] = store.input_shape
        mask_bytes = int(np.prod(self.shape[1:])) if store.kind == "segmentation" else 0
        sample_bytes = int(np.prod(self.shape)) * store.dtype.itemsize + mask_bytes
        self.resident = len(self) * sample_bytes <= max_resident_mb * 1e6

    def __len__(self) -> int:
        return len(self.indices)

    @cached_property
    def _volumes_NCDHW(self) -> torch.Tensor:
        return torch.from_numpy(self.store.read(self.indices)).to(self.device)

    @cached_property
    def targets(self) -> np.ndarray:
        """Labels (N,) int64 or masks (N, D, H, W) uint8, of slices (N, H, W)."""
        return self.store.targets(self.indices)

    @cached_property
    def _targets_N(self) -> torch.Tensor:
        return torch.from_numpy(self.targets).to(self.device)

    def batches(
        self, batch_size: int, *, generator: torch.Generator | None = None, rank: int = 0, world: int = 1
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """One pass: (x_BCDHW float32, y int64) on the device, x = stored value times scale plus offset, y = labels (B,)
        or masks (B, D, H, W); of slices x_BCHW and masks (B, H, W).

        generator: shuffles; None: in order. rank, world: this process's share of every batch of batch_size.
        """
        plan = [rows[rank::world] for rows in plan_batches(len(self), batch_size, generator)]
        plan = [rows for rows in plan if len(rows)]
        if plan:
            yield from self._resident(plan) if self.resident else self._streamed(plan)

    def _resident(self, plan: list[np.ndarray]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        order = torch.from_numpy(np.concatenate(plan)).to(self.device)  # one transfer for the whole pass
        for rows_B in order.split([len(rows) for rows in plan]):
            yield self._scaled(self._volumes_NCDHW[rows_B]), self._targets_N[rows_B].long()

    def _streamed(self, plan: list[np.ndarray]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        pin = self.device.type == "cuda"

        def read(rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
            x, y = map(torch.from_numpy, (self.store.read(self.indices[rows]), self.store.targets(self.indices[rows])))
            return (x.pin_memory(), y.pin_memory()) if pin else (x, y)

        with ThreadPoolExecutor(1, thread_name_prefix="volumes") as thread:
            ahead = thread.submit(read, plan[0])
            for number in range(len(plan)):
                x, y = ahead.result()
                if number + 1 < len(plan):
                    ahead = thread.submit(read, plan[number + 1])
                yield self._scaled(x.to(self.device, non_blocking=pin)), y.to(self.device, non_blocking=pin).long()

    def _scaled(self, stored_BCDHW: torch.Tensor) -> torch.Tensor:
        x_BCDHW = stored_BCDHW.to(torch.float32)
        if self.store.scale != 1.0:
            x_BCDHW = x_BCDHW * self.store.scale
        if self.store.offset != 0.0:
            x_BCDHW = x_BCDHW + self.store.offset
        return x_BCDHW.view(-1, *self.shape)
