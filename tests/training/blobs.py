"""A small store of volumes whose class shows: dim and bright blobs in noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from nas.data.loading import VolumeSet
from nas.data.sample import Sample
from nas.data.store import VolumeStore
from nas.data.store_writer import write_store

SIDE = 8


def blob_store(path: Path, n: int = 60, dtype: type = np.uint8) -> VolumeStore:
    """(1, 8, 8, 8) volumes; class 1 is brighter on average, with enough noise that no network is perfect."""
    rng = np.random.default_rng(0)
    samples = []
    for number in range(n):
        label = number % 2
        volume = rng.normal(90, 40, (1, SIDE, SIDE, SIDE))
        volume[:, 2:6, 2:6, 2:6] += 25 * label
        samples.append(Sample(f"s{number}", volume.clip(0, 255).astype(dtype), label, f"p{number}"))
    return write_store(
        path, samples, name="blobs", classes=("dim", "bright"), provenance={}, scale=1 / 128, offset=-1.0
    )


def halves(store: VolumeStore, device: str = "cpu") -> tuple[VolumeSet, VolumeSet]:
    cut = len(store) * 2 // 3
    return VolumeSet(store, range(cut), device), VolumeSet(store, range(cut, len(store)), device)


class Net(nn.Module):
    """Two convolutions; norm: with batch normalisation and dropout, whose states a checkpoint must keep too."""

    def __init__(self, norm: bool = True) -> None:
        super().__init__()
        middle = [nn.BatchNorm3d(4), nn.Dropout(0.2)] if norm else []
        self.body = nn.Sequential(
            nn.Conv3d(1, 4, 3, padding=1), *middle, nn.ReLU(), nn.Conv3d(4, 4, 3, stride=2, padding=1)
        )
        self.head = nn.Linear(4, 2)

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x_BCDHW).relu().mean((2, 3, 4)))


def net(seed: int = 0, norm: bool = True) -> Net:
    torch.manual_seed(seed)
    return Net(norm)
