"""Application of an architecture's recipe: its settings of training, task and data replace those of the command."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from nas.context import TaskSetup
from nas.data.loading import VolumeSet
from nas.data.store import VolumeStore
from nas.data.transforms.patches import Patches
from nas.errors import NASError, TrialFailed
from nas.space import SearchSpace
from nas.tasks.base import Task
from nas.training.settings import TrainingSettings
from nas.utils.checked import check_arguments
from nas.utils.identity import arguments_of

PATCH = ("patch", "patches_per_volume")  # settings of the data that a recipe may have: how a store is read
T = TypeVar("T")
Recipe = Mapping[str, Any]  # dotted key of a setting -> value, as of `SearchSpace.recipe`


@dataclass(frozen=True)
class Prepared:
    """Settings with which a network is trained.

    Attributes:
        settings: Settings of the training.
        task: The task.
        train: Training samples.
        valid: Validation samples.
    """

    settings: TrainingSettings
    task: Task
    train: VolumeSet
    valid: VolumeSet


def prepared(recipe: Recipe, settings: TrainingSettings, task: Task, train: VolumeSet, valid: VolumeSet) -> Prepared:
    """Apply a recipe.

    Args:
        recipe: The settings that replace others.
        settings: Settings of the training.
        task: The task, with the names of classes resolved.
        train: Training samples.
        valid: Validation samples.

    Returns:
        The parts of the training; without a recipe those that were given.

    Raises:
        NASError: If a setting does not exist or its value is out of range.
    """
    if not recipe:
        return Prepared(settings, task, train, valid)
    store = with_patches(train.store, recipe)
    own_task = with_task(task, recipe, store.classes)
    return Prepared(with_settings(settings, recipe), own_task, train.of_store(store), valid.of_store(store))


def prepared_or_failed(
    recipe: Recipe, settings: TrainingSettings, task: Task, train: VolumeSet, valid: VolumeSet
) -> Prepared:
    """Apply the recipe of a trial, see `prepared`; choices that do not fit together make the trial fail.

    Args:
        recipe: The settings that replace others.
        settings: Settings of the training.
        task: The task.
        train: Training samples.
        valid: Validation samples.

    Returns:
        The parts of the training.

    Raises:
        TrialFailed: If the settings cannot be used together.
    """
    try:
        return prepared(recipe, settings, task, train, valid)
    except NASError as error:
        raise TrialFailed(f"the recipe does not fit together: {error.got}; {error.expected}") from error


def prepared_setup(recipe: Recipe, setup: TaskSetup) -> TaskSetup:
    """Apply the settings of task and data to the parts of a retraining.

    Args:
        recipe: The settings that replace others.
        setup: Data, split, task and device.

    Returns:
        The setup of the network; without such settings the one that was given.

    Raises:
        NASError: If a setting does not exist or its value is out of range.
    """
    if not any(key.partition(".")[0] in ("task", "data") for key in recipe):
        return setup
    split = copy.copy(setup.split)
    split.store = with_patches(setup.store, recipe)
    return TaskSetup(split, with_task(setup.task, recipe, setup.store.classes), setup.device)


def with_settings(settings: TrainingSettings, recipe: Recipe) -> TrainingSettings:
    """Replace settings of the training.

    Args:
        settings: Settings of the training.
        recipe: Settings by key; only those of `training` are read.

    Returns:
        The settings of the recipe.

    Raises:
        NASError: If a setting does not exist or its value is out of range.
    """
    return _changed(settings, _of_part(recipe, "training"), "training")


def with_task(task: Task, recipe: Recipe, classes: Sequence[str]) -> Task:
    """Replace settings of the task, which keeps its metrics.

    Args:
        task: The task.
        recipe: Settings by key; only those of `task` are read.
        classes: Names of the classes of the data.

    Returns:
        The task of the recipe.

    Raises:
        NASError: If a setting does not exist, its value is out of range, or it would change the metrics.
    """
    changes = _of_part(recipe, "task")
    if not changes:
        return task
    spec = {"in_channels": task.spec.in_channels, "outputs": task.spec.outputs, "dims": task.spec.dims}
    cls = type(task)
    found = cls(**check_arguments(cls, {**spec, **task.settings, **changes}, "task")).for_classes(classes)
    scale = (found.metrics, found.settings.get("tolerance"), found.positive_class(classes))
    if scale != (task.metrics, task.settings.get("tolerance"), task.positive_class(classes)):
        raise NASError(
            f"a recipe with {', '.join(f'task.{name}' for name in changes)}, which changes the metrics",
            "settings with which networks are compared by the same metrics",
            "leave them out of the recipe",
        )
    return found


def with_patches(store: VolumeStore, recipe: Recipe) -> VolumeStore:
    """Replace the patches that a training draws.

    Args:
        store: The prepared data.
        recipe: Settings by key; only those of `data` are read: patch and patches_per_volume.

    Returns:
        A copy of the store that draws other patches; the store itself without such settings.

    Raises:
        NASError: If there is another setting of the data, which would make other samples, or the patch does not fit.
    """
    changes = _of_part(recipe, "data")
    if not changes:
        return store
    if unknown := [name for name in changes if name not in PATCH]:
        raise NASError(
            f"data.{unknown[0]} in a recipe, with which the samples would differ",
            "data.patch or data.patches_per_volume",
            f"leave out recipe.data.{unknown[0]}",
        )
    own = store.patches
    patch = changes.get("patch", own.size_DHW if own else None)
    found = copy.copy(store)
    found.patches = None
    if patch is not None:
        if store.located_NKM is None:
            raise NASError(
                f"data.patch={list(patch)} in a recipe for {store.name}, which was not prepared for patches",
                "a store of volumes of different sizes with masks",
                "set data.patch for the whole search, or leave it out of the recipe",
            )
        per_volume = changes.get("patches_per_volume", own.per_volume if own else 1)
        found.draw_patches(Patches.of(patch, per_volume, own.foreground if own else None))
    return found


def check_recipes(space: SearchSpace, settings: TrainingSettings, task: Task, store: VolumeStore) -> None:
    """Check every choice of a recipe before a search.

    Args:
        space: The space.
        settings: Settings of the training.
        task: The task.
        store: The data.

    Raises:
        NASError: For the first setting that does not exist or whose value is out of range.
    """
    for arch in space.recipe_examples():
        recipe = space.recipe(arch)
        try:
            with_settings(settings, recipe)
            with_task(task, recipe, store.classes)
            with_patches(store, recipe)
        except NASError as error:
            raise NASError(f"{error.got} in the recipe", error.expected, f"correct recipe=...; {error.fix}") from error


def _of_part(recipe: Recipe, part: str) -> dict[str, Any]:
    return {key.partition(".")[2]: value for key, value in recipe.items() if key.partition(".")[0] == part}


def _changed(part: T, changes: Mapping[str, Any], key: str) -> T:
    """Return an object with other arguments, at any depth: `augment.rotate` changes the argument of an argument."""
    if not changes:
        return part
    own: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        first, _, rest = name.partition(".")
        if rest:
            nested.setdefault(first, {})[rest] = value
        else:
            own[first] = value
    if dataclasses.is_dataclass(part):
        arguments = {one.name: getattr(part, one.name) for one in dataclasses.fields(part) if one.init}
    else:
        arguments = arguments_of(part)
    for name, inner in nested.items():
        value = own.get(name, arguments.get(name))
        if value is None or isinstance(value, str | int | float | list | tuple):
            raise NASError(
                f"{key}.{name}.{next(iter(inner))} with {key}.{name}={value!r:.40}",
                f"settings of {key}.{name}",
                f"set {key}.{name} for the whole search, or leave the setting out of the recipe",
            )
        own[name] = _changed(value, inner, f"{key}.{name}")
    cls = type(part)
    return cls(**check_arguments(cls, {**arguments, **own}, key))
