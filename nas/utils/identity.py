"""Identity of parts: everything that decides a result, as JSON values made of classes and their arguments."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from pathlib import PurePath
from typing import Any

from nas.errors import NASError
from nas.utils.hashing import digest


def public_path(cls: type) -> str:
    """Return the dotted path under which users import a class.

    Args:
        cls: A class that is defined at the top of a module.

    Returns:
        The path through the outermost package that exports the class, which survives a move of the module; else the
        defining module and the qualified name.
    """
    packages = cls.__module__.split(".")
    for length in range(1, len(packages)):
        package = sys.modules.get(".".join(packages[:length]))
        if package is not None and cls.__name__ in getattr(package, "__all__", ()):
            return f"{package.__name__}.{cls.__name__}"
    return f"{cls.__module__}.{cls.__qualname__}"


def arguments_of(part: object) -> dict[str, Any]:
    """Return the constructor's arguments of an object that keeps each as an attribute of the same name.

    Args:
        part: An instance of a plain class, such as a strategy or a task.

    Returns:
        Argument name -> value of the attribute.

    Raises:
        NASError: If an argument is not kept as an attribute.
    """
    parameters = inspect.signature(type(part).__init__).parameters.values()
    names = [p.name for p in parameters if p.name != "self" and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    missing = [name for name in names if not hasattr(part, name)]
    if missing:
        raise NASError(
            f"{type(part).__name__} without the attribute {missing[0]!r}",
            "every constructor argument kept as an attribute of the same name",
            f"write self.{missing[0]} = {missing[0]} in __init__",
        )
    return {name: getattr(part, name) for name in names}


def identity_of(value: Any) -> Any:
    """Describe a value by everything that decides it.

    Args:
        value: JSON values, dataclasses, paths, enumerations, and objects whose class keeps its constructor's arguments
            as attributes; nested as deeply as needed.

    Returns:
        JSON values. An object becomes a mapping of its arguments, with its public class path under "class". An object
        that has an `identity` describes itself.

    Raises:
        NASError: If an object does not keep an argument as an attribute.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, Mapping):
        return {str(key): identity_of(item) for key, item in value.items()}
    if isinstance(value, AbstractSet):
        return sorted(identity_of(item) for item in value)
    if isinstance(value, Sequence):
        return [identity_of(item) for item in value]
    if isinstance(value, PurePath | Enum):
        return str(value)
    if hasattr(value, "tolist"):  # arrays and numbers of numpy
        return identity_of(value.tolist())
    own = getattr(value, "identity", None)
    if isinstance(own, Mapping):
        return identity_of(own)
    return described(value)


def described(part: object) -> dict[str, Any]:
    """Describe an object by its class and arguments, ignoring an `identity` of its own.

    Args:
        part: A dataclass instance, or an object that keeps its constructor's arguments as attributes.

    Returns:
        Argument name -> JSON value, and the public class path under "class".

    Raises:
        NASError: If the object does not keep an argument as an attribute.
    """
    if dataclasses.is_dataclass(part):
        arguments = {field.name: getattr(part, field.name) for field in dataclasses.fields(part) if field.init}
    else:
        arguments = arguments_of(part)
    return {"class": public_path(type(part)), **{name: identity_of(item) for name, item in arguments.items()}}


@dataclasses.dataclass(frozen=True)
class Identity:
    """Everything that decides a result. Two results with equal identities are equal."""

    def parts(self) -> dict[str, Any]:
        """Describe each part.

        Returns:
            Part -> JSON value; a message about a difference names the part.
        """
        return {field.name: identity_of(getattr(self, field.name)) for field in dataclasses.fields(self)}

    def digest(self) -> str:
        """Hash the parts.

        Returns:
            64 hexadecimal digits.
        """
        return digest(self.parts())


@dataclasses.dataclass(frozen=True)
class TrainingIdentity(Identity):
    """Facts that decide the weights of a training.

    Args:
        network: Fingerprint of space and architecture, and of inherited weights.
        task: Loss, inference and metrics; the metrics decide which epoch is kept.
        training: Settings of the training.
        seed: Seed of initial weights, batches and augmentation.
        train: Training samples.
        valid: Validation samples, which decide which epoch is kept.
    """

    network: str
    task: Any
    training: Any
    seed: int
    train: Any
    valid: Any


@dataclasses.dataclass(frozen=True)
class PredictionIdentity(Identity):
    """Facts that decide the prediction of a trained network.

    Args:
        training: Facts that decide its weights.
        test: The samples that are predicted.
    """

    training: Any
    test: Any


@dataclasses.dataclass(frozen=True)
class ResultIdentity(Identity):
    """Facts that decide the result of a training: its table, its report and its predictions.

    Args:
        trainings: Facts that decide the predictions of every network on every fold, as digests.
        networks: Provenance of the networks; their searches are repeated at random.
        settings: Settings of the command, with those of baselines and intervals.
        data: Hash of the prepared data set.
        split: Hash of the split.
        versions: Installed versions.
    """

    trainings: Any
    networks: Any
    settings: Any
    data: str
    split: str
    versions: Any


@dataclasses.dataclass(frozen=True)
class StudyIdentity(Identity):
    """Facts that decide the trials of a study beside its space and objectives.

    Args:
        data: Hash of the prepared data set.
        split: Hash of the split.
        cost: The deterministic cost.
        strategy: Proposes architectures.
        constraints: Hard limits.
        evaluator: Scores architectures.
        task: Loss, inference and metrics.
        seed: Seed of the search.
    """

    data: str
    split: str
    cost: Any
    strategy: Any
    constraints: Any
    evaluator: Any
    task: Any
    seed: int


@dataclasses.dataclass(frozen=True)
class StoreIdentity(Identity):
    """Facts that decide the content of a prepared data set.

    Args:
        source: Class of the source.
        arguments: Its arguments, without those that decide nothing.
        files: Digests of the source files.
        code: Digest of the code that reads them.
    """

    source: str
    arguments: Any
    files: Any
    code: str

    def digests(self) -> tuple[str, str]:
        """Hash what is asked for, and what it is made of.

        Returns:
            Of class and arguments, and of files and code; 64 hexadecimal digits each.
        """
        parts = self.parts()
        return digest([parts["source"], parts["arguments"]]), digest([parts["files"], parts["code"]])
