"""Rows of a volume store as batches on a device: kept there if they fit, else read one batch ahead."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np
import torch

from nas.data.store import VolumeStore
from nas.data.transforms.intensity import Intensity
from nas.data.transforms.patches import bounds, draw
from nas.errors import NASError

Batch = tuple[torch.Tensor, torch.Tensor]
Read = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def plan_batches(n: int, batch_size: int, generator: torch.Generator | None = None) -> list[np.ndarray]:
    """Divide the positions 0 to n - 1 into the fewest batches.

    Sizes differ by one at most: no tiny last batch disturbs BatchNorm's statistics, leaves a rank of a data-parallel
    run without samples, or (batch 1, fp32) uses the slow path of 3D convolutions on the CPU.

    Args:
        n: Number of samples.
        batch_size: Largest size of a batch.
        generator: Shuffles the positions. If None, they stay in order.

    Returns:
        The positions of each batch, int64.
    """
    order = np.arange(n) if generator is None else torch.randperm(n, generator=generator).numpy()
    return np.array_split(order, -(-n // batch_size)) if n else []


def balanced_order(label_N: np.ndarray, generator: torch.Generator) -> np.ndarray:
    """Draw as many positions from each class, N altogether.

    Args:
        label_N: Classes (N,) of the samples.
        generator: Source of the draws.

    Returns:
        Positions (N,), shuffled. The samples of a class occur equally often up to one; classes differ by one at most.
    """
    members = [np.flatnonzero(label_N == label) for label in np.unique(label_N)]
    drawn = []
    for number, rows in enumerate(members):
        quota = len(label_N) // len(members) + (number < len(label_N) % len(members))
        passes = [torch.randperm(len(rows), generator=generator).numpy() for _ in range(-(-quota // len(rows)))]
        drawn.append(rows[np.concatenate(passes)[:quota]])
    every = np.concatenate(drawn)
    return every[torch.randperm(len(every), generator=generator).numpy()]


def rank_share(plan: list[np.ndarray], rank: int, world: int) -> list[np.ndarray]:
    """Return the positions that one process takes of every batch.

    Args:
        plan: The positions of each batch.
        rank: Number of the process, 0 to world - 1.
        world: Number of processes that share each batch.

    Returns:
        Its positions in each batch, without the batches that leave it none.
    """
    shares = [rows[rank::world] for rows in plan]
    return [rows for rows in shares if len(rows)]


class VolumeSet:
    """Rows of a store as batches on a device. Other rows are never read.

    If the store's values are to be scaled by the training set (`store.by_training`), batches come from the set that
    `normalised_like` returns.

    Args:
        store: The store.
        indices: (N,) rows of the store.
        device: Device of the batches.
        max_resident_mb: A set of at most that many 10^6 bytes, in its stored type, stays on the device after its first
            use; a larger one is read from the file.

    Attributes:
        indices: (N,) int64 rows of the store.
        labels: (N,) int64.
        shape: (C, D, H, W) of a sample, of slices (C, H, W).
        resident: Whether the set stays on the device.
        intensity: Statistics that values are scaled by, None if they are stored scaled.

    Raises:
        NASError: If a row does not exist.
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
        self.shape: tuple[int, ...] = store.sample_shape
        mask_bytes = int(np.prod(self.shape[1:])) if store.kind == "segmentation" else 0
        sample_bytes = int(np.prod(self.shape)) * store.dtype.itemsize + mask_bytes
        self.intensity: Intensity | None = None
        self.resident = len(self) * sample_bytes <= max_resident_mb * 1e6

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def per_epoch(self) -> int:
        """Samples of a shuffled pass, several per volume if the store draws several patches."""
        return len(self) * (1 if self.store.patches is None else self.store.patches.per_volume)

    def of_store(self, store: VolumeStore) -> VolumeSet:
        """Return the same rows of another view of the store, such as one with other patches.

        Args:
            store: The store itself, or a copy with the same samples.

        Returns:
            The set, with what is on the device already; the set itself if it is of this store.
        """
        if store is self.store:
            return self
        found = copy.copy(self)
        found.store = store
        return found

    def normalised_like(self, train: VolumeSet) -> VolumeSet:
        """Scale intensities by the statistics of the training set.

        Args:
            train: The training set.

        Returns:
            A copy of this set that scales its batches; the set itself if its values are stored scaled.
        """
        if not self.store.by_training or self.intensity is not None:
            return self
        scaled = copy.copy(self)
        scaled.intensity = train.intensity or train.store.intensity(train.indices)
        return scaled

    def predicted(
        self, predict: Callable[[torch.Tensor], torch.Tensor], x_BCDHW: torch.Tensor, positions: np.ndarray, whole: bool
    ) -> np.ndarray:
        """Predict masks of a batch, with background of probability 1 in the padding of volumes.

        Args:
            predict: Maps volumes (B, C, D, H, W) to class probabilities (B, K, D, H, W).
            x_BCDHW: The batch.
            positions: (B,) positions of its samples in this set.
            whole: Whether `predict` is given padded volumes of one shape, instead of each volume without its padding.

        Returns:
            (B, K, D, H, W) float32; for a store without padding, the output of `predict`.
        """
        if self.store.extents_N3 is None:
            return predict(x_BCDHW).cpu().numpy()
        real = [
            (slice(None), *map(slice, low, high))
            for low, high in zip(*bounds(self.shape[1:], self.store.extents_N3[self.indices[positions]]), strict=True)
        ]
        if whole:
            inner = [prob_KDHW[region] for prob_KDHW, region in zip(predict(x_BCDHW), real, strict=True)]
        else:
            inner = [predict(x_CDHW[region][None])[0] for x_CDHW, region in zip(x_BCDHW, real, strict=True)]
        out = np.zeros((len(x_BCDHW), len(inner[0]), *x_BCDHW.shape[2:]), dtype=np.float32)
        out[:, 0] = 1
        for prob_KDHW, region, inner_KDHW in zip(out, real, inner, strict=True):
            prob_KDHW[region] = inner_KDHW.cpu().numpy()
        return out

    @cached_property
    def _volumes_NCDHW(self) -> torch.Tensor:
        return torch.from_numpy(self.store.read(self.indices)).to(self.device)

    @cached_property
    def targets(self) -> np.ndarray:
        """Labels, masks or boxes of all samples, see `VolumeStore.targets`."""
        return self.store.targets(self.indices)

    @cached_property
    def _targets_N(self) -> torch.Tensor:
        return torch.from_numpy(self.targets).to(self.device)

    def batches(
        self,
        batch_size: int,
        *,
        generator: torch.Generator | None = None,
        rank: int = 0,
        world: int = 1,
        balanced: bool = False,
    ) -> Iterator[Batch]:
        """Iterate over the set once.

        Args:
            batch_size: Largest size of a batch over all processes.
            generator: Shuffles the samples, and draws patches if the store has them. If None, whole samples in order.
            rank: Number of this process, 0 to world - 1.
            world: Number of processes that share each batch.
            balanced: With a generator, draw as many samples from each class, see `balanced_order`.

        Yields:
            x (B, C, D, H, W) float32, the stored value times scale plus offset, of slices (B, C, H, W); and y: labels
            (B,) or masks (B, D, H, W), of slices (B, H, W), int64, or boxes (B, M, 7), of slices (B, M, 5), float32.

        Raises:
            NASError: If values are to be scaled by the training set and `normalised_like` was not called.
        """
        if generator is not None and self.store.patches is not None:
            yield from self._patches(batch_size, generator, rank, world)
            return
        batches = plan_batches(len(self), batch_size, None if balanced else generator)
        if balanced and generator is not None and batches:
            drawn = balanced_order(self.labels, generator)
            batches = [drawn[positions] for positions in batches]
        plan = rank_share(batches, rank, world)
        if plan and self.resident:
            order = torch.from_numpy(np.concatenate(plan)).to(self.device)  # one transfer for the whole pass
            for rows_B in order.split([len(rows) for rows in plan]):
                yield self._scaled(self._volumes_NCDHW[rows_B]), _target(self._targets_N[rows_B])
        elif plan:
            yield from self._streamed(plan, self._read_whole)

    def _read_whole(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.store.read(self.indices[positions]), self.store.targets(self.indices[positions])

    def _patches(self, batch_size: int, generator: torch.Generator, rank: int, world: int) -> Iterator[Batch]:
        store, patches = self.store, self.store.patches
        assert patches is not None
        assert store.extents_N3 is not None
        assert store.located_NKM is not None
        drawn = draw(
            patches, store.shape[1:], store.extents_N3[self.indices], store.located_NKM[self.indices], generator
        )
        plan = rank_share(plan_batches(self.per_epoch, batch_size), rank, world)
        if self.resident:
            for draws in plan:
                x, y = [], []
                for row, first_3 in zip(drawn.rows_P[draws], drawn.corners_P3[draws], strict=True):
                    d, h, w = map(slice, first_3, first_3 + patches.size_DHW)
                    x.append(self._volumes_NCDHW[row, :, d, h, w])
                    y.append(self._targets_N[row, d, h, w])
                yield self._scaled(torch.stack(x)), torch.stack(y).long()
        elif plan:
            yield from self._streamed(
                plan, lambda draws: store.read_patches(self.indices[drawn.rows_P[draws]], drawn.corners_P3[draws])
            )

    def _streamed(self, plan: list[np.ndarray], read: Read) -> Iterator[Batch]:
        pin = self.device.type == "cuda"

        def load(positions: np.ndarray) -> Batch:
            x, y = map(torch.from_numpy, read(positions))
            return (x.pin_memory(), y.pin_memory()) if pin else (x, y)

        with ThreadPoolExecutor(1, thread_name_prefix="volumes") as thread:
            ahead = thread.submit(load, plan[0])
            for number in range(len(plan)):
                x, y = ahead.result()
                if number + 1 < len(plan):
                    ahead = thread.submit(load, plan[number + 1])
                yield self._scaled(x.to(self.device, non_blocking=pin)), _target(y.to(self.device, non_blocking=pin))

    def _scaled(self, stored_BCDHW: torch.Tensor) -> torch.Tensor:
        x_BCDHW = stored_BCDHW.to(torch.float32)
        if self.store.scale != 1.0:
            x_BCDHW = x_BCDHW * self.store.scale
        if self.store.offset != 0.0:
            x_BCDHW = x_BCDHW + self.store.offset
        if self.store.by_training:
            if self.intensity is None:
                raise NASError(
                    f"a set of {self.store.name} without statistics of the training set",
                    "intensities scaled by the training set",
                    "call normalised_like(train) and use the set that it returns",
                )
            x_BCDHW = self.intensity(x_BCDHW)
        return x_BCDHW if self.store.dims == 3 else x_BCDHW.flatten(1, 2)


def _target(stored: torch.Tensor) -> torch.Tensor:
    return stored if stored.is_floating_point() else stored.long()
