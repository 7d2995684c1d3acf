"""The trained networks of a stage of the screening: the bundles of one training as an ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas.bundle import Bundle, bundles_of
from nas.errors import NASError


@dataclass(frozen=True)
class StageNetworks:
    """Networks of one architecture, one per fold of its training, best validation score first.

    Attributes:
        folder: Folder that they were read from.
        bundles: The bundles; preparation and classes of all are alike.
        models: The networks, in evaluation mode on `device`.
        device: Device of the networks.
    """

    folder: Path
    bundles: Sequence[Bundle]
    models: Sequence[nn.Module]
    device: torch.device

    @classmethod
    def load(
        cls,
        folder: str | Path,
        arch: str | None = None,
        device: str | torch.device = "cpu",
        most: int | None = None,
        allow: Sequence[str] = (),
    ) -> StageNetworks:
        """Read the networks of a training.

        Args:
            folder: Folder of run_train.py, or of one bundle.
            arch: Id of the architecture. If None, the one that the training names first.
            device: Device of the networks.
            most: Number of networks, the best ones. If None, all.
            allow: Further packages whose search spaces and tasks may be imported.

        Returns:
            The networks.

        Raises:
            NASError: See `nas.bundle.bundles_of`.
        """
        bundles = bundles_of(folder, arch=arch, best=most, trusted=allow)
        models = [bundle.network(device) for bundle in bundles]
        return cls(Path(folder), bundles, models, torch.device(device))

    @property
    def kind(self) -> str:
        """Kind of the task."""
        return self.bundles[0].artifact.task.kind

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.bundles[0].spec.classes

    @property
    def data(self) -> str:
        """Name of the data set that the networks were trained on."""
        trained = self.bundles[0].spec.facts.get("trained", {})
        return str(trained.get("data", {}).get("name", "unknown data"))

    def preparation(self, *names: str) -> dict[str, Any]:
        """Return the settings by which the training cut its samples out of scans.

        Args:
            *names: Settings that are required.

        Returns:
            All settings by name.

        Raises:
            NASError: If one of them is missing.
        """
        preparation = dict(self.bundles[0].spec.preparation)
        if missing := [name for name in names if name not in preparation]:
            raise NASError(
                f"{self.folder}, whose preparation has no {missing[0]}",
                f"a training whose {', '.join(names)} are recorded",
                "train again with run_train.py",
            )
        return preparation

    def prob(self, stored_BCDHW: torch.Tensor) -> torch.Tensor:
        """Return the mean probabilities over the networks.

        Args:
            stored_BCDHW: (B, C, D, H, W), in 2D (B, C, H, W), values as the data set stores them.

        Returns:
            (B, K), of a segmentation (B, K, H, W), on the CPU.
        """
        how = self.bundles[0].spec.preparation
        x_BCDHW = stored_BCDHW.to(self.device, torch.float32) * float(how.get("scale", 1)) + float(how.get("offset", 0))
        task = self.bundles[0].task
        return torch.stack([task.predict(model, x_BCDHW) for model in self.models]).mean(dim=0).cpu()

    @property
    def facts(self) -> dict[str, Any]:
        """Architecture, training and number of networks, for a report."""
        return {
            "architecture": self.bundles[0].artifact.arch.id,
            "training": str(self.folder),
            "networks": len(self.models),
        }
