"""Import of classes that files name by dotted paths, only from trusted packages and by their present names."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from nas.errors import NASError

T = TypeVar("T")
TRUSTED = ("nas", "search_spaces", "experiments")
# Class paths in files of earlier versions (arch.json of schema 1) -> the package exports that replaced them
RENAMED = {
    "experiments.lung_screening.training_data.LungSlices": "experiments.lung_screening.LungSlices",
    "experiments.lung_screening.training_data.NodulePatches": "experiments.lung_screening.NodulePatches",
    "nas.data.augment.Augment": "nas.data.Augment",
    "nas.data.brats.Brats": "nas.data.Brats",
    "nas.data.icbm_tissue.IcbmTissue": "nas.data.IcbmTissue",
    "nas.data.lidc_dicom.LidcDicom": "nas.data.LidcDicom",
    "nas.data.lidc_nodules.LidcNodules": "nas.data.LidcNodules",
    "nas.data.lidc_shapes.LidcShapes": "nas.data.LidcShapes",
    "nas.data.luna16.Luna16": "nas.data.Luna16",
    "nas.data.lung_pet_ct_dx.LungPetCtDx": "nas.data.LungPetCtDx",
    "nas.data.manifest.Manifest": "nas.data.Manifest",
    "nas.data.medmnist3d.MedMNIST3D": "nas.data.MedMNIST3D",
    "nas.data.msd.Msd": "nas.data.Msd",
    "nas.data.nodule_phantoms.NodulePhantoms": "nas.data.NodulePhantoms",
    "nas.data.prepared.PreparedStore": "nas.data.PreparedStore",
    "nas.data.splits.Split": "nas.data.Split",
    "nas.evaluators.supernet.InheritedWeights": "nas.evaluators.InheritedWeights",
    "nas.evaluators.tabular.Tabular": "nas.evaluators.Tabular",
    "nas.evaluators.train.Train": "nas.evaluators.Train",
    "nas.strategies.differentiable.Differentiable": "nas.strategies.Differentiable",
    "nas.strategies.evolution.RegularizedEvolution": "nas.strategies.RegularizedEvolution",
    "nas.strategies.halving.SuccessiveHalving": "nas.strategies.SuccessiveHalving",
    "nas.strategies.local_search.LocalSearch": "nas.strategies.LocalSearch",
    "nas.strategies.optuna_samplers.GaussianProcess": "nas.strategies.GaussianProcess",
    "nas.strategies.optuna_samplers.NSGA2": "nas.strategies.NSGA2",
    "nas.strategies.optuna_samplers.TPE": "nas.strategies.TPE",
    "nas.strategies.pop.PartialOrderPruning": "nas.strategies.PartialOrderPruning",
    "nas.strategies.predictor.Predictor": "nas.strategies.Predictor",
    "nas.strategies.random.RandomSearch": "nas.strategies.RandomSearch",
    "nas.tasks.classification.Classification": "nas.tasks.Classification",
    "nas.tasks.detection.Detection": "nas.tasks.Detection",
    "nas.tasks.segmentation.Segmentation": "nas.tasks.Segmentation",
    "nas.tracking.NoTracking": "nas.NoTracking",
    "nas.tracking.VisdomBoard": "nas.VisdomBoard",
    "nas.training.settings.TrainingSettings": "nas.training.TrainingSettings",
}


def locate(path: str, base: type[T], *, packages: Sequence[str] = TRUSTED, allow: Sequence[str] | None = ()) -> type[T]:
    """Import the class behind a dotted path.

    A package that is not trusted is not imported at all.

    Args:
        path: Dotted path of a class, or a path of an earlier version (see `RENAMED`).
        base: The class has to be a subclass of this one.
        packages: Top-level packages of VoxNAS in which the class may be defined.
        allow: Further packages that the user trusts (`allow_packages`), or None if the path is the user's own and not
            that of a file, so that any package may be named.

    Returns:
        The class.

    Raises:
        NASError: If the package is not trusted, or the class is missing, abstract, elsewhere or no such subclass.
    """
    path = RENAMED.get(path, path)
    package, trusted = path.partition(".")[0], (*packages, *(allow or ()))
    if allow is not None and package not in trusted:
        raise NASError(
            f"the class {path!r}",
            f"a {base.__name__} of the packages {', '.join(trusted)}",
            f"allow_packages=[{package}], or --allow-package {package}, if you trust that package",
        )
    module, _, name = path.rpartition(".")
    try:
        value = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise NASError(f"the class {path!r} ({error})", "a class that can be imported", "check the path") from error
    defined_in = getattr(value, "__module__", "").partition(".")[0]
    allowed, abstract = allow is None or defined_in in trusted, inspect.isabstract(value)
    if not inspect.isclass(value) or not issubclass(value, base) or abstract or not allowed:
        got = f"the abstract class {path!r}" if abstract else f"{path!r}"
        raise NASError(got, f"a subclass of {base.__module__}.{base.__qualname__}", "name such a class")
    return value


def with_present_names(config: Any) -> Any:
    """Replace class paths of earlier versions in a nested configuration.

    Args:
        config: Mappings and lists with `_target_` entries, as read from a file.

    Returns:
        A copy with the paths of this version.
    """
    if isinstance(config, Mapping):
        return {
            key: RENAMED.get(value, value)
            if key == "_target_" and isinstance(value, str)
            else with_present_names(value)
            for key, value in config.items()
        }
    if isinstance(config, list):
        return [with_present_names(item) for item in config]
    return config
