"""The configuration of a training: resolved once from Hydra, checked, and frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from experiments.config import CommandConfig
from nas.utils.annotations import PositiveInt


@dataclass(frozen=True, kw_only=True)
class TrainConfig(CommandConfig):
    """Configuration of `run_train.py`, beside that of `CommandConfig`; see conf/train.yaml.

    Args:
        arch: File or published name of a network, or several of them.
        name: Name of the training.
        protocol: "holdout" (the fold that the search never saw) or "cross_validation" (each fold is tested once).
        rounds: Number of rounds of the holdout; None for all.
        space_changes: Arguments of the network's space that differ from those of its search.
        supernet: last.pt of a differentiable search, whose weights the network starts from; None for random weights.
        baselines: Name -> whether it stands in the table; "published" names a network, or is None.
        export: Formats in which the trained networks are exported, a name or several.
        resamples: Number of bootstrap samples of patients.
    """

    arch: str | tuple[str, ...]
    name: str
    protocol: Literal["holdout", "cross_validation"] = "holdout"
    rounds: int | None = None
    space_changes: Mapping[str, Any] = field(default_factory=dict)
    supernet: str | None = None
    baselines: Mapping[str, bool | str | None] = field(default_factory=dict)
    export: str | tuple[str, ...] | None = ()
    resamples: PositiveInt = 2000

    def wants(self, baseline: str) -> bool:
        """Whether a baseline stands in the table.

        Args:
            baseline: Name of the baseline.

        Returns:
            The setting `baselines`; True if it does not name the baseline.
        """
        return bool(self.baselines.get(baseline, True))
