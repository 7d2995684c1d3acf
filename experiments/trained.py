"""Networks as run_train.py left them: the architecture, the weights, and the data on whose grid they were trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from experiments.build import build
from nas.artifact import Artifact, load
from nas.data.source import Source
from nas.errors import NASError
from nas.tasks.base import Task
from nas.training.loop import BEST

FIX = "give the folder outputs/train/<name> of run_train.py, or train the network with it"


@dataclass(frozen=True)
class Trained:
    """One architecture and the networks of its training, one a round of the split, best validation score first.

    source: as the training was given it; it cuts and scales a new scan as its samples were. folder: of the training.
    """

    folder: Path
    artifact: Artifact
    task: Task
    source: Source
    models: Sequence[nn.Module]
    device: torch.device

    @classmethod
    def load(cls, folder: str | Path, arch: str | Path | None = None, device: str = "cpu", most: int = 0) -> Trained:
        """From the folder of a training; arch: its arch.json where the training is of several architectures or where
        one wants to be sure. most: so many networks, the best; 0: all.

        Raises NASError for a folder that is none, for an architecture that was not trained there, and for weights
        that are missing or broken.
        """
        folder = Path(folder)
        result, config = folder / "result.json", folder / "config.yaml"
        try:
            arch_id = json.loads(result.read_text())["arch_id"]
            settings = OmegaConf.to_container(OmegaConf.load(config))
        except (OSError, ValueError, KeyError, TypeError, OmegaConfBaseException) as error:
            raise NASError(f"{folder}, which holds no finished training ({error})", "result.json", FIX) from error
        assert isinstance(settings, dict)
        allow = tuple(settings.get("allow_packages") or ())
        if arch is not None:
            arch_id = load(arch, allow).arch.id
        place = folder / "checkpoints" / arch_id
        if not (place / "arch.json").is_file():
            raise NASError(f"no network {arch_id} in {folder}", "a training of that architecture", FIX)
        artifact = load(place / "arch.json", allow)
        source = build(settings["data"], "data", Source, allow)
        spec = artifact.task
        task = build(
            settings["task"],
            "task",
            Task,
            allow,
            in_channels=spec.in_channels,
            outputs=spec.outputs,
            dims=spec.dims,
        )
        states = sorted(
            (_weights(path) for path in place.glob(f"*/{BEST}")),
            key=lambda state: -state["metrics"][task.score],
        )
        if not states:
            raise NASError(f"no {BEST} below {place}", "the weights of a training", FIX)
        models = []
        for state in states[: most or None]:
            model = artifact.build()
            try:
                model.load_state_dict(state["model"])
            except RuntimeError as error:
                raise NASError(f"weights of another network below {place}", f"those of {arch_id}", FIX) from error
            models.append(model.eval().to(device))
        return cls(folder, artifact, task, source, models, torch.device(device))

    def prob(self, stored_BCDHW: torch.Tensor) -> torch.Tensor:
        """Mean probabilities over the networks, (B, K) or (B, K, H, W), of stored values as `source` cuts them."""
        x_BCDHW = stored_BCDHW.to(self.device, torch.float32) * self.source.scale + self.source.offset
        return torch.stack([self.task.predict(model, x_BCDHW) for model in self.models]).mean(dim=0).cpu()

    @property
    def facts(self) -> dict[str, Any]:
        return {"architecture": self.artifact.arch.id, "training": str(self.folder), "networks": len(self.models)}


def _weights(path: Path) -> dict[str, Any]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever torch says of a file that is cut short or no checkpoint
        raise NASError(f"{path}, which cannot be read ({str(error).splitlines()[0]})", "weights", FIX) from error
