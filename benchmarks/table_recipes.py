"""Recipes of the benchmark tables: space, networks, data, loss and training of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from nas.architecture import Architecture
from nas.cost.model import CostModel
from nas.data.source import Source
from nas.data.sources.msd import Msd
from nas.data.transforms.augment import Augment
from nas.space import SearchSpace
from nas.tasks.segmentation import Segmentation
from nas.training.settings import TrainingSettings
from search_spaces.dints.space import DiNTSSpace
from search_spaces.unet_flexible import FlexibleUNetSpace

# Dice + cross entropy without the background's Dice, Dice over the batch, class weights: no class is left out
FOREGROUND: Mapping[str, Any] = {"include_background": False, "batch_dice": True, "class_weights": (0.2, 1.0, 1.0)}
HIPPOCAMPUS: Mapping[str, Any] = {"spacing_mm": 2.0, "crop": (16, 24, 16)}
LEFT_AND_RIGHT = Augment(flip=(2,), shift=1)  # front and back are classes of their own
LICENCE = (
    "Medical Segmentation Decathlon, Task04 Hippocampus: CC-BY-SA 4.0 (Antonelli et al., Nature Communications 13, "
    "2022, 4128). The table holds results of networks trained on it, no images."
)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a table.

    Attributes:
        name: Name of the table.
        space: The space.
        networks: Networks of the full table.
        replicates: Trainings of each, with other seeds.
        settings: Training of each network.
        macs: Edges of the bands of MACs that networks are drawn from in turn, ascending.
        data: Arguments of the source beside its folder.
        loss: Arguments of the task.
        seed: Seed of networks, split and trainings.
        licence: Licence of the data.
    """

    name: str
    space: SearchSpace
    networks: int
    replicates: int
    settings: TrainingSettings
    macs: tuple[float, ...] = (0.0, float("inf"))
    data: Mapping[str, Any] = field(default_factory=lambda: HIPPOCAMPUS)
    loss: Mapping[str, Any] = field(default_factory=lambda: FOREGROUND)
    seed: int = 0
    licence: str = LICENCE

    def source(self, root: Path, cache: Path) -> Source:
        """Return the data set.

        Args:
            root: Folder of the data.
            cache: Folder of the prepared store.

        Returns:
            The source.
        """
        return Msd(root, cache, **self.data)

    def task(self, channels: int, outputs: int) -> Segmentation:
        """Return the task.

        Args:
            channels: Channels of the images.
            outputs: Number of classes.

        Returns:
            The task.
        """
        return Segmentation(channels, outputs, **self.loss)

    def networks_in_order(self, cost: CostModel) -> Iterator[Architecture]:
        """Draw the networks: random ones of the space, from each band of MACs in turn, none twice.

        The n-th network depends on the seed alone, so that a longer table begins with a shorter one.

        Args:
            cost: MACs of the space's networks.

        Yields:
            Networks without end, or until 10,000 draws in a row gave none.
        """
        rng, seen, bands = np.random.default_rng([self.seed, 2018]), set[str](), list(pairwise(self.macs))
        missed = 0
        while missed < 10_000:
            low, high = bands[len(seen) % len(bands)]
            arch = self.space.sample(rng)
            missed += 1
            if arch.id not in seen and low <= cost.of(arch) <= high:
                seen.add(arch.id)
                missed = 0
                yield arch


def around(macs: float, share: float = 0.2) -> tuple[float, float]:
    """Return the band of MACs around a value.

    Args:
        macs: The middle.
        share: Largest relative distance from it.

    Returns:
        Lower and upper end.
    """
    return macs * (1 - share), macs * (1 + share)


def _training(epochs: int, lr: float) -> TrainingSettings:
    return TrainingSettings(epochs=epochs, batch_size=4, lr=lr, channels_last=False, augment=LEFT_AND_RIGHT)


def recipes() -> dict[str, Recipe]:
    """Return the recipes of all tables.

    Returns:
        Name -> recipe.
    """
    four = DiNTSSpace(num_blocks=4, num_depths=3, channel_mul=0.25, use_downsample=False, out_channels=3)
    eight = DiNTSSpace(num_blocks=8, num_depths=3, channel_mul=0.125, use_downsample=False, out_channels=3)
    unet = FlexibleUNetSpace(out_channels=3)
    by_cost = (2e7, 5e7, 1.2e8, 3e8, 7e8)  # a front of Dice against cost needs networks of all costs
    made = (
        Recipe("dints_hippocampus", four, 400, 3, _training(8, 0.005), macs=around(79.7e6)),
        Recipe("dints_hippocampus_8", eight, 100, 3, _training(8, 0.005), macs=around(34e6)),
        Recipe("unet_hippocampus", unet, 150, 3, _training(12, 0.01), macs=by_cost),
        Recipe(
            "unet_hippocampus_long", unet, 60, 2, _training(60, 0.01), macs=by_cost
        ),  # the first networks of the other
    )
    return {recipe.name: recipe for recipe in made}
