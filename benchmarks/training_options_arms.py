"""Recipes of bench_training_options: data, network, task and training, with changes written as `training.ema=0.99`."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from experiments.build import build
from nas.data.source import Source
from nas.data.store import VolumeStore
from nas.errors import NASError
from nas.space import SearchSpace
from nas.tasks.base import Task
from nas.training.settings import TrainingSettings
from nas.utils.hashing import digest

BASE = "off"
PARTS = ("data", "space", "task", "training")
CLASSIFICATION: Mapping[str, Any] = {
    "data": {"_target_": "nas.data.MedMNIST3D", "flag": "adrenalmnist3d", "size": 28},
    "space": {
        "_target_": "search_spaces.ResNet3DSpace",
        **{"widths": [8], "depths": [[1], [1], [1]], "stems": [3], "strides": [2], "kernels": [3], "se": [False]},
        "block_kinds": ["basic"],
    },
    "task": {"_target_": "nas.tasks.Classification"},
    "training": {
        "_target_": "nas.training.TrainingSettings",
        **{"epochs": 20, "batch_size": 32, "lr": 0.003, "schedule": "cosine", "precision": "fp32"},
        "augment": {"_target_": "nas.data.Augment", "flip": [0, 1, 2], "shift": 2},
    },
}
SEGMENTATION: Mapping[str, Any] = {
    "data": {"_target_": "nas.data.Msd", "spacing_mm": 2.0, "crop": [16, 24, 16]},
    "space": {
        "_target_": "search_spaces.UNetSpace",
        **{"depths": [2], "widths": [8], "block_counts": [2], "kernels": [3], "norms": ["instance"]},
        **{"ups": ["transposed"], "down": "stride", "activation": "leaky_relu"},
    },
    "task": {"_target_": "nas.tasks.Segmentation", "batch_dice": True, "include_background": False},
    "training": {
        "_target_": "nas.training.TrainingSettings",
        **{"epochs": 20, "batch_size": 4, "lr": 0.01, "schedule": "cosine", "precision": "fp32"},
        **{"channels_last": False},
        "augment": {"_target_": "nas.data.Augment", "flip": [2], "shift": 1},
    },
}


@dataclass(frozen=True)
class Arm:
    """One of the compared recipes.

    Attributes:
        name: The changes as they were written, or "off".
        recipe: Settings of data, space, task and training.
    """

    name: str
    recipe: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Hash of the recipe, by which finished trainings are found again."""
        return digest(json.loads(json.dumps(self.recipe)))[:12]

    def prepared(self, cache: Path) -> VolumeStore:
        """Return the prepared data of this recipe, with its patches."""
        return build({**self.recipe["data"], "cache_dir": str(cache)}, "data", Source).prepare()

    def task(self, store: VolumeStore) -> Task:
        """Return the task for the data."""
        of_data = {"in_channels": store.shape[0], "outputs": len(store.classes), "dims": store.dims}
        task = build(self.recipe["task"], "task", Task, **of_data)
        task.require_data(store)
        return task.for_classes(store.classes)

    @property
    def settings(self) -> TrainingSettings:
        """Settings of the training."""
        return build(self.recipe["training"], "training", TrainingSettings)

    def network(self, task: Task, seed: int) -> nn.Module:
        """Return the network with weights that depend on the seed only: recipes of one network have the same."""
        space = build(self.recipe["space"], "space", SearchSpace)
        torch.manual_seed(seed)
        return space.build(space.architecture([0] * len(space.genes)), task.spec)


def base_recipe(data: Path) -> dict[str, Any]:
    """Return the recipe for a folder: of segmentation if it holds dataset.json, else of AdrenalMNIST3D."""
    recipe = copy.deepcopy(dict(SEGMENTATION if (data / "dataset.json").is_file() else CLASSIFICATION))
    recipe["data"]["root"] = str(data)
    return recipe


def arms_of(data: Path, base: Sequence[str], options: Sequence[str]) -> list[Arm]:
    """Make the recipe without options, and one for each option.

    Args:
        data: Folder of the data.
        base: Changes of every recipe.
        options: Changes of one recipe each; several are joined by "+".

    Returns:
        The recipe "off" first.

    Raises:
        NASError: If a change names no part of a recipe.
    """
    off = base_recipe(data)
    for change in base:
        _apply(off, change)
    arms = [Arm(BASE, off)]
    for option in options:
        recipe = copy.deepcopy(off)
        for change in option.split("+"):
            _apply(recipe, change)
        arms.append(Arm(option, recipe))
    return arms


def _apply(recipe: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    part, *path = key.split(".")
    if part not in PARTS or not path or not equals:
        raise NASError(f"the option {change}", f"{', '.join(PARTS)} with a setting", "training.ema=0.99, for example")
    inner = recipe[part]
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = yaml.safe_load(text)


def development_rows(store: VolumeStore) -> np.ndarray:
    """Return the rows that a comparison may use: an official test part is never read."""
    return np.flatnonzero(store.folds != "test")
