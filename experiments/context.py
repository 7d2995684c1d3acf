"""From a composed configuration to objects: what search and training build the same way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from experiments.build import build
from experiments.options import packaged
from nas.architecture import Architecture
from nas.cost.profile import profile
from nas.data.source import Source
from nas.data.splits import Split
from nas.data.store import VolumeStore
from nas.errors import NASError
from nas.space import SearchSpace
from nas.tasks.base import Task
from nas.utils.files import write_text

PACKAGES = ("voxnas", "torch", "numpy", "scikit-learn", "optuna", "hydra-core")


@dataclass(frozen=True)
class Setting:
    """The data, their split, the task and the device of a command. preparation: how the data's source makes its
    volumes, see nas/data/transforms/preparation.py."""

    store: VolumeStore
    split: Split
    task: Task
    device: torch.device
    preparation: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, cfg: DictConfig) -> Setting:
        """Fills in `cfg.task` where none was chosen. Raises NASError for a user's mistake."""
        if not isinstance(cfg.seed, int) or cfg.seed < 0:
            raise NASError(f"seed={cfg.seed}", "a whole number of at least 0", "mend seed")
        source = build(cfg.data, "data", Source, cfg.allow_packages)
        store = source.prepare()
        split = build(cfg.split, "split", Split, cfg.allow_packages, store=store)
        if cfg.get("task") is None:
            OmegaConf.update(cfg, "task", packaged("task", store.kind), force_add=True)
        task = build(
            cfg.task,
            "task",
            Task,
            cfg.allow_packages,
            in_channels=store.shape[0],
            outputs=len(store.classes),
            dims=store.dims,
        )
        if task.kind != store.kind:
            raise NASError(
                f"a task of {task.kind} with {store.name}, whose samples are for {store.kind}",
                "task and data of one kind",
                f"task={store.kind}, or other data",
            )
        return cls(store, split, task, pick_device(cfg.device, cfg.get("worker", 0)), source.preparation())

    @property
    def data_facts(self) -> dict[str, Any]:
        facts = {"name": self.store.name, "sha256": self.store.sha256, "n": len(self.store)}
        return {**facts, "classes": list(self.store.classes)}

    @property
    def split_facts(self) -> dict[str, Any]:
        return {"sha256": self.split.sha256, "unit": self.split.unit}


def require_window(setting: Setting, space: SearchSpace, arch: Architecture) -> None:
    """Raises NASError for a window of the task's sliding inference that the network refuses: before it is trained."""
    window = setting.task.inference.get("window")
    if window is not None:
        with torch.device("meta"):
            network = space.build(arch, setting.task.spec)
        profile(network, (1, setting.store.shape[0], *window))


def named_objectives(objectives: Mapping[str, str], task: Task) -> dict[str, str]:
    """`score` stands for the metric by which the task chooses the best epoch."""
    return {task.score if name == "score" else name: way for name, way in objectives.items()}


def pick_device(name: str, worker: int = 0) -> torch.device:
    """auto: the workers take the GPUs in turn, where there are any. Raises NASError for a device that is not there."""
    if name == "auto":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return torch.device(f"cuda:{worker % count}" if count > 1 else "cuda" if count else "cpu")
    try:
        torch.empty(1, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise NASError(f"device={name} ({reason})", "a device of this machine", "device=auto") from error


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as plain values, interpolations filled in."""
    content = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def write_config(path: Path, cfg: Mapping[str, Any]) -> None:
    write_text(path, OmegaConf.to_yaml(OmegaConf.create(dict(cfg))))


def versions() -> dict[str, str]:
    """Installed versions of what decides the numbers."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
