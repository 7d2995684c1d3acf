"""Configurations of the commands: resolved once from Hydra, checked, and frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, TypeVar

from annotated_types import Len
from omegaconf import DictConfig

from experiments.plain_settings import resolved
from nas.errors import NASError
from nas.provenance import Replication
from nas.study.password import take_password
from nas.utils.annotations import (
    Count,
    Duration,
    Keep,
    Limit,
    Name,
    OneOf,
    Package,
    PathText,
    PositiveInt,
    Seconds,
    Seed,
    StoreUrl,
    shown,
)
from nas.utils.checked import check_arguments, signature_of

Component = Mapping[str, Any]  # `_target_` and arguments
Cost = Annotated[str, OneOf("params", "macs", "bytes", "activation_bytes", "training_bytes", "latency_ms")]
Direction = Annotated[str, OneOf("maximize", "minimize")]
T = TypeVar("T")
LOCAL = ("data_root", "data_cache", "device", "tracking", "allow_packages", "worker")  # of one machine or one worker


@dataclass(frozen=True)
class StudyConfig:
    """The study of a search.

    Args:
        name: Name of the study.
        trials: Number of ended trials that the study holds at the end.
        url: URL of the store; None for a database in the output folder.
        lease_s: Seconds after which a running trial without a sign of life is taken over.
        time_limit_s: Seconds after which a trial fails; None for no limit.
        time: Time that all trials may take together, such as "2h"; None for no limit.
        keep_checkpoints: Trials whose weights are kept: "front", "best" or "all".
        replicates: Number of evaluations of each proposed network.
        rotate_folds: Whether each replicate has another validation fold; the test fold is none of them.
        confirm: Number of networks that are trained again after the search, with other seeds; 0 for none.
        confirm_replicates: Largest number of trainings of a confirmed network.
    """

    name: Name
    trials: PositiveInt
    url: StoreUrl | None = None
    lease_s: Seconds = 60.0
    time_limit_s: Seconds | None = None
    time: Duration | None = None
    keep_checkpoints: Keep = "front"
    replicates: PositiveInt = 1
    rotate_folds: bool = False
    confirm: Count = 0
    confirm_replicates: PositiveInt = 5

    @property
    def replication(self) -> Replication:
        """How often the search evaluates its networks."""
        return Replication(self.replicates, self.rotate_folds, self.confirm, self.confirm_replicates)


@dataclass(frozen=True)
class CostConfig:
    """The deterministic cost of networks.

    Args:
        metric: Name of the cost.
        table: Path of a latency table, needed for "latency_ms".
        other_device: Whether the table may be of another device, number of threads or version of PyTorch.
    """

    metric: Cost = "macs"
    table: PathText | None = None
    other_device: bool = False


@dataclass(frozen=True, kw_only=True)
class CommandConfig:
    """Base of the configurations of `run_search.py` and `run_train.py`; see conf/common.yaml.

    Args:
        data: Source of the data.
        split: Split of the data.
        training: Settings of a training.
        tracking: Trackers, each under a key of its own.
        task: Task; None for the default task of the data.
        seed: Seed of the search or the training.
        device: Device name, or "auto".
        allow_packages: Packages beside VoxNAS whose classes files may name.
        data_root: Folder of data sets that are files.
        data_cache: Folder of prepared data sets.
    """

    data: Component
    split: Component
    training: Component
    tracking: Component
    task: Component | None = None
    seed: Seed = 0
    device: str = "auto"
    allow_packages: tuple[Package, ...] = ()
    data_root: PathText | None = None
    data_cache: PathText = "outputs/data"

    @classmethod
    def of(cls: type[T], cfg: DictConfig | Mapping[str, Any]) -> T:
        """Resolve and check a composed configuration.

        Args:
            cfg: The configuration as Hydra composed it, or plain values. Settings that the class does not know are
                left out.

        Returns:
            The configuration, with tuples for lists.

        Raises:
            NASError: For the first setting that is missing or of the wrong type or range.
        """
        declared: type = cls
        known, _ = signature_of(declared)
        values = {name: value for name, value in resolved(cfg).items() if name in known}
        arguments = check_arguments(cls, values)
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in arguments.items()})

    def plain(self) -> dict[str, Any]:
        """Return the configuration as JSON values.

        Returns:
            Setting -> value, nested as in conf/.
        """
        return as_plain(asdict(self))


@dataclass(frozen=True, kw_only=True)
class SearchConfig(CommandConfig):
    """Configuration of `run_search.py`, beside that of `CommandConfig`; see conf/search.yaml.

    Args:
        space: Search space, as `_target_` and arguments.
        strategy: Strategy.
        evaluator: Evaluator.
        study: The study.
        objectives: Metric -> "maximize" or "minimize"; "score" stands for the task's first metric.
        constraints: Hard limits such as "macs<=2e7".
        cost: The deterministic cost.
        worker: Number of this worker.
        fidelity: Rule that decides how long networks are trained; None for the same for all.
        warm_start: Trials of another study: a table, or a store and the name of a study; None for none.
        recipe: Settings of the training that are searched with the network, with their choices; None for none.
    """

    space: Component
    strategy: Component
    evaluator: Component
    study: StudyConfig
    objectives: Annotated[Mapping[str, Direction], Len(1)]
    constraints: tuple[Limit, ...] = ()
    cost: CostConfig = field(default_factory=CostConfig)
    worker: Count = 0
    fidelity: Component | None = None
    warm_start: PathText | None = None
    recipe: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, cfg: DictConfig | Mapping[str, Any]) -> SearchConfig:
        """Resolve and check a composed configuration, see `CommandConfig.of`; objectives that are null are left out.

        Args:
            cfg: The configuration as Hydra composed it, or plain values.

        Returns:
            The configuration.

        Raises:
            NASError: For the first setting that is missing or of the wrong type or range.
        """
        plain = resolved(cfg)
        if isinstance(wanted := plain.get("objectives"), Mapping):
            plain["objectives"] = {name: direction for name, direction in wanted.items() if direction is not None}
        if isinstance(start := plain.get("warm_start"), str):
            plain["warm_start"] = take_password(start)
        study = plain.get("study")
        if isinstance(study, Mapping) and isinstance(url := study.get("url"), str):
            plain["study"] = {**study, "url": take_password(url)}  # no file holds it
        return super().of(plain)


def require_dry_run(plain: Mapping[str, Any]) -> None:
    """Check `dry_run`, which is a setting of the command and not of its job.

    Args:
        plain: The settings.

    Raises:
        NASError: If it is neither true nor false.
    """
    if not isinstance(value := plain.get("dry_run", False), bool):
        raise NASError(f"dry_run={shown(value)}", "true or false", "set dry_run to true or false")


def shareable(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a search that arch.json records, without those of one machine or worker.

    Args:
        plain: The configuration as plain values.

    Returns:
        The settings by which the search can be understood and repeated elsewhere.
    """
    kept = {key: value for key, value in plain.items() if key not in (*LOCAL, "study")}
    kept["data"] = {key: value for key, value in plain["data"].items() if key not in ("root", "cache_dir")}
    return kept


def as_plain(value: Any) -> Any:
    """Return nested mappings and tuples as dictionaries and lists.

    Args:
        value: Nested values.

    Returns:
        JSON values.
    """
    if isinstance(value, Mapping):
        return {str(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(item) for item in value]
    return value
