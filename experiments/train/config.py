"""The configuration of a training: resolved once from Hydra, checked, and frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len

from experiments.config import CommandConfig
from nas.utils.annotations import MOST, Name, OneOf, PathText, Text
from nas.utils.checked import check_arguments, signature_of

Format = Annotated[str, OneOf("onnx", "openvino", "openvino_fp16")]
Rounds = Annotated[int, Ge(1), Le(MOST)]
Processes = Annotated[int, Ge(1), Le(1024)]
Resamples = Annotated[int, Ge(1), Le(100_000)]


@dataclass(frozen=True)
class BaselinesConfig:
    """Baselines of the tables; those of a task of your own are further keys.

    Args:
        volume: Logistic regression on the object's volume.
        features: Gradient boosting on shape and intensity features.
        intensity: Logistic regression on the voxel's own value.
        plain_unet: "equal_cost", "own_size" or "both"; None for none.
        random_search: The same search with random proposals.
        published: Name of a published network; None for none.
    """

    volume: bool = True
    features: bool = True
    intensity: bool = True
    plain_unet: Literal["equal_cost", "own_size", "both"] | None = "both"
    random_search: bool = True
    published: Text | None = "naslung/model-1"


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
        processes: Processes that share the trainings, each on a core or a GPU of its own.
        over_recipe: Keys of the command line that replace settings of recipes; the command fills them in.
    """

    arch: Text | Annotated[tuple[Text, ...], Len(1)]
    name: Name
    protocol: Literal["holdout", "cross_validation"] = "holdout"
    rounds: Rounds | None = None
    space_changes: Mapping[str, Any] = field(default_factory=dict)
    supernet: PathText | None = None
    baselines: Mapping[str, bool | str | None] = field(default_factory=dict)
    export: Format | tuple[Format, ...] | None = ()
    resamples: Resamples = 2000
    processes: Processes = 1
    over_recipe: tuple[Text, ...] = ()

    def __post_init__(self) -> None:
        known = {name: value for name, value in self.baselines.items() if name in signature_of(BaselinesConfig)[0]}
        check_arguments(BaselinesConfig, known, "baselines")

    def wants(self, baseline: str) -> bool:
        """Whether a baseline stands in the table.

        Args:
            baseline: Name of the baseline.

        Returns:
            The setting `baselines`; True if it does not name the baseline.
        """
        return bool(self.baselines.get(baseline, True))
