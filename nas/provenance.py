"""Provenance of an architecture: the literature or a search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from nas.errors import NASError
from nas.utils.annotations import Count, PositiveInt
from nas.utils.checked import check_arguments
from nas.utils.foreign import require_modest
from nas.utils.locate import with_present_names

T = TypeVar("T")


@dataclass(frozen=True)
class DataFacts:
    """The prepared data set of a search or a training.

    Args:
        name: Name of the data set.
        sha256: Hash of its content.
        n: Number of samples.
        classes: Names of the classes.
    """

    name: str
    sha256: str
    n: int
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SplitFacts:
    """The split of a data set.

    Args:
        sha256: Hash of the assignment of samples to folds.
        unit: Name of a group of samples, for example "patient".
        overfit: Whether all samples are trained on, validated on and tested, to see that a network can learn.
    """

    sha256: str
    unit: str = "patient"
    overfit: bool = False


@dataclass(frozen=True)
class Replication:
    """How often a search evaluates its networks.

    Args:
        replicates: Number of evaluations of each proposed network.
        rotate_folds: Whether each replicate has another validation fold; the test fold is none of them.
        confirm: Number of networks that are trained again after the search, with other seeds; 0 for none.
        confirm_replicates: Largest number of trainings of a confirmed network.
    """

    replicates: PositiveInt = 1
    rotate_folds: bool = False
    confirm: Count = 0
    confirm_replicates: PositiveInt = 5


@dataclass(frozen=True)
class SearchRecord:
    """A search, as its arch.json records it.

    Args:
        study: Name of the study.
        trials: Number of trials of the study.
        trial: Number of this architecture's trial.
        budget: Training epochs of the trial; 0 for the evaluator's own.
        seed: Seed of the search.
        data: The data set.
        split: Its split.
        config: The configuration of data, split, task, training, space, strategy, evaluator, cost, objectives and
            constraints; `run_train.py` takes data, split and task from it by default.
        preparation: How a file becomes the input of a network.
        trains: Whether the networks were trained for their scores.
        limits: Costs to which the strategy kept, as arguments of a random search.
        patients: Digests of the data set and the patients that the search saw; None if unknown.
        contents: Digests of the images that the search saw; None if unknown.
        versions: Installed versions.
        config_sha256: Hash of the whole configuration.
        objectives: "maximize" or "minimize" by metric; empty in files of earlier versions.
        constraints: Hard limits, such as "params<=1e6".
        evaluations: Number of evaluations that the metrics of the architecture are means of.
        standard_error: Standard errors of these means, of metrics that differ between evaluations.
        confirmed: Whether the evaluations are those of a confirmation, by which no network was selected.
        replication: How often the search evaluates its networks.
    """

    study: str
    trials: int
    trial: int
    budget: int
    seed: int
    data: DataFacts
    split: SplitFacts
    config: Mapping[str, Any] = field(default_factory=dict)
    preparation: Mapping[str, Any] = field(default_factory=dict)
    trains: bool = True
    limits: Mapping[str, float | None] = field(default_factory=dict)
    patients: tuple[str, ...] | None = None
    contents: tuple[str, ...] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    config_sha256: str = ""
    objectives: Mapping[str, str] = field(default_factory=dict)
    constraints: tuple[str, ...] = ()
    evaluations: int = 1
    standard_error: Mapping[str, float] = field(default_factory=dict)
    confirmed: bool = False
    replication: Replication = field(default_factory=Replication)


@dataclass(frozen=True)
class Provenance:
    """Provenance of an architecture.

    Args:
        published: Name in the literature, `<space>/<name>`.
        search: The search that found it.
        searched_space: Arguments of the space in the search, if the training changed them.
    """

    published: str | None = None
    search: SearchRecord | None = None
    searched_space: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON values of arch.json.

        Returns:
            The parts that are known.
        """
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], schema: int) -> Provenance:
        """Read the provenance of an arch.json.

        Args:
            content: The JSON values.
            schema: Schema of the file; schema 1 is that of VoxNAS before version 0.2.

        Returns:
            The provenance; patients of a file of schema 1 are unknown.

        Raises:
            NASError: If a part is missing or of another type.
        """
        try:
            content = _of_schema_1(content) if schema == 1 else content
            search = content.get("search")
            record = None if search is None else _record(SearchRecord, search)
            own = {"published": content.get("published"), "searched_space": content.get("searched_space")}
            require_modest(own["searched_space"] or {}, "provenance.searched_space")
            return cls(search=record, **check_arguments(cls, own, "provenance"))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise NASError(
                f"a provenance that cannot be read ({error})", "that of an unedited arch.json", "undo the edit"
            ) from error


def _record(cls: type[T], content: Mapping[str, Any]) -> T:
    """Make a record from JSON values; keys of later versions are left out."""
    values = {item.name: content[item.name] for item in fields(cls) if item.name in content}  # type: ignore[arg-type]
    values["data"] = _facts(DataFacts, values["data"])
    values["split"] = _facts(SplitFacts, values["split"])
    return _checked(cls, values, "provenance.search")


def _checked(cls: type[T], values: Mapping[str, Any], key: str) -> T:
    """Construct a record after the types of its values have been checked."""
    return cls(**check_arguments(cls, {name: _frozen(value) for name, value in values.items()}, key))


def _facts(cls: type[T], content: Mapping[str, Any]) -> T:
    known = {item.name for item in fields(cls)}  # type: ignore[arg-type]
    return _checked(cls, {name: value for name, value in content.items() if name in known}, "provenance")


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _of_schema_1(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a provenance of schema 1, whose search was spread over the top level."""
    parts: dict[str, Any] = {name: content[name] for name in ("published", "searched_space") if name in content}
    if "study" in content:
        config = with_present_names(content.get("search", {}))
        names = ("study", "trials", "trial", "budget", "seed", "data", "split", "versions", "config_sha256")
        parts["search"] = {name: content[name] for name in names} | {
            "config": config,
            "trains": config.get("evaluator", {}).get("_target_") != "nas.evaluators.InheritedWeights",
            "limits": _limits_of_schema_1(config.get("strategy", {})),
        }
    return parts


def _limits_of_schema_1(strategy: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the cost limits of a strategy: its cost window, or those near a target and within a budget."""
    low, high, target = strategy.get("cost_min"), strategy.get("cost_max"), strategy.get("target")
    budget = strategy.get("budget")
    if target is not None:
        low, high = 0.9 * target, min(1.1 * target, budget if budget is not None else float("inf"))
        low = low if low <= high else None
    elif budget is not None:
        high = budget
    return {"cost_min": low, "cost_max": high}
