"""Settings of a call of `voxnas auto`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.errors import NASError
from nas.planning.plan import Plan


@dataclass(frozen=True)
class Request:
    """The options of the command.

    Args:
        data: Folder with masks, or a csv of labelled volumes.
        seconds: Running time of everything.
        out: The output folder.
        task: "segmentation" or "classification"; None for that of the data.
        max_params: Most parameters of one network; None for no limit.
        max_latency_ms: Longest latency of one network in ms on this device; None for no limit.
        folds: Folds of the split; None for those of the plan.
        joint: Whether settings of the training are searched with the network, see conf/recipe.
        strategy: Search strategy, a file of conf/strategy; None for the default.
        device: Name of the device, or "auto".
        seed: Seed of everything.
    """

    data: Path
    seconds: float
    out: Path
    task: str | None = None
    max_params: float | None = None
    max_latency_ms: float | None = None
    folds: int | None = None
    joint: bool = False
    strategy: str | None = None
    device: str = "auto"
    seed: int = 0

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings that decide the run, for its file; a run is continued by the same settings only."""
        named = {
            "FOLDER": str(self.data.resolve()),
            "--time": f"{self.seconds:g}s",
            "--max-params": self.max_params,
            "--max-latency-ms": self.max_latency_ms,
            "--folds": self.folds,
            "--joint": self.joint or None,
            "--strategy": self.strategy,
            "--seed": self.seed,
        }
        return {name: value for name, value in named.items() if value is not None}

    def folds_of(self, plan: Plan) -> int | None:
        """Return the folds of the split of a plan.

        Args:
            plan: The plan.

        Returns:
            Their number; None if the csv states the parts.

        Raises:
            NASError: If another number is asked for and the csv states the parts.
        """
        planned = plan.value("split.folds")
        if self.folds is not None and planned is None:
            raise NASError(
                f"--folds {self.folds} with a csv that states the parts of its split",
                "no --folds",
                "leave it out, or remove the column `split` of the csv and make another plan",
            )
        return self.folds or planned

    @property
    def most_params(self) -> float:
        """Most parameters of one network; infinity for no limit."""
        return math.inf if self.max_params is None else self.max_params

    @property
    def constraints(self) -> list[str]:
        """The limits as constraints of a search."""
        params = [] if self.max_params is None else [f"params<={math.floor(self.max_params)}"]
        return params + ([] if self.max_latency_ms is None else [f"latency_ms<={self.max_latency_ms!r}"])
