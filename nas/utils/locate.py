"""Import of classes that files name by dotted paths, only from trusted packages and by their present names."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from nas.errors import NASError, first_line
from nas.utils.plugins import plugin_of, plugin_packages

T = TypeVar("T")
TRUSTED = ("nas", "search_spaces", "experiments")
LONGEST_PATH = 300  # characters
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

    A package that is not trusted is not imported at all. Installed plug-ins (`voxnas.plugins`) are trusted.

    Args:
        path: Dotted path of a class, or a path of an earlier version (see `RENAMED`).
        base: The class has to be a subclass of this one.
        packages: Top-level packages of VoxNAS in which the class may be defined.
        allow: Further packages that the user trusts (`allow_packages`), or None if the path is the user's own and not
            that of a file, so that any package may be named.

    Returns:
        The class.

    Raises:
        NASError: If the package is not trusted, the class is missing, abstract, defined in another package or no such
            subclass, or `base` is `object` for the path of a file.
    """
    path = RENAMED.get(path, path)
    if allow is not None:
        _require_declared(path, base)
    package, trusted = path.partition(".")[0], (*packages, *(allow or ()))
    if allow is not None and package not in trusted:
        trusted = (*trusted, *plugin_packages())
    if allow is not None and package not in trusted:
        raise NASError(
            f"the class {path!r}",
            f"a {base.__name__} of the packages {', '.join(trusted)}",
            f"allow_packages=[{package}], or --allow-package {package}, if you trust that package",
        )
    value = _imported(path, package)
    if not inspect.isclass(value):
        raise NASError(f"{path!r}", f"a subclass of {_full_name(base)}", "name such a class")
    lacking = [name for name in sorted(getattr(base, "__abstractmethods__", ())) if _lacks(value, name)]
    if not issubclass(value, base):
        raise NASError(
            f"the class {path!r}, which is no {base.__name__}{' and lacks ' if lacking else ''}{', '.join(lacking)}",
            f"a subclass of {_full_name(base)}",
            f"from {base.__module__} import {base.__name__}; class {value.__name__}({base.__name__})"
            + (f" with {', '.join(lacking)}" if lacking else ""),
        )
    if inspect.isabstract(value):
        missing = ", ".join(sorted(getattr(value, "__abstractmethods__", ())))
        raise NASError(
            f"the abstract class {path!r}, which lacks {missing}",
            f"a subclass of {_full_name(base)} with all of its abstract methods",
            f"define {missing}, or name such a class",
        )
    defined_in = value.__module__.partition(".")[0]
    if allow is not None and defined_in not in trusted:
        raise NASError(
            f"the class {path!r}, which is defined in {value.__module__}",
            f"a subclass of {_full_name(base)} of the packages {', '.join(trusted)}",
            f"allow_packages=[{defined_in}], or --allow-package {defined_in}, if you trust that package",
        )
    return value


def _require_declared(path: str, base: type) -> None:
    """Refuse what a file may never name: any object at all, the programs of packages, and odd paths."""
    parts = path.split(".")
    if base is object:
        raise NASError(f"the class {path!r}", "a value, as no class is declared here", "leave it out")
    if len(path) > LONGEST_PATH or len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise NASError(f"the class {path[:LONGEST_PATH]!r}", "a dotted path of a class", "take an unedited file")
    if any(part.startswith("__") for part in parts):
        raise NASError(f"the class {path!r}", "a class that a package exports", "take an unedited file")


def _imported(path: str, package: str) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise NASError(f"the class {path!r} ({error})", "a class that can be imported", "check the path") from error
    except Exception as error:
        if package in TRUSTED:  # a defect of VoxNAS, which keeps its traceback
            raise
        plugin = plugin_of(package)
        owner = f" of the plug-in {plugin.title}" if plugin else ""
        raise NASError(
            f"the class {path!r}{owner}, which cannot be imported ({type(error).__name__}: {first_line(error)})",
            "a package that can be imported",
            f"correct the package, see: python -c 'import {module}'",
        ) from error


def _lacks(cls: type, name: str) -> bool:
    own = getattr(cls, name, None)
    return own is None or getattr(own, "__isabstractmethod__", False)


def _full_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


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
