"""Check of the parts of a configuration, such as data and space, against the arguments of their classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from experiments.build import TARGET, check
from experiments.devices import pick_device


@dataclass(frozen=True)
class Part:
    """A part of the configuration.

    Args:
        base: Base class, as `module:Class`; imported when it is needed.
        computed: Arguments that the program computes.
        cheap: Whether the object can be constructed without data and files, so that its own checks run too.
    """

    base: str
    computed: tuple[str, ...] = ()
    cheap: bool = False


# in the order of the checks: other parts hold the settings of `training`, which the user typed there
PARTS = {
    "training": Part("nas.training.settings:TrainingSettings", cheap=True),
    "space": Part("nas.space:SearchSpace", cheap=True),
    "strategy": Part("nas.strategies.base:Strategy", cheap=True),
    "fidelity": Part("nas.strategies.fidelity.schedule:Fidelity", cheap=True),
    "evaluator": Part("nas.evaluators.base:Evaluator", cheap=True),
    "data": Part("nas.data.source:Source", cheap=True),
    "split": Part("nas.data.splits:Split", ("store",)),
    "task": Part("nas.tasks.base:Task", ("in_channels", "outputs", "dims")),
    "tracking": Part("nas.tracking.base:Tracker"),
}


def check_parts(config: Any, names: Sequence[str], allow: Sequence[str] | None = None, worker: int = 0) -> None:
    """Check parts of a configuration, and the device; nothing is read or computed.

    Args:
        config: A configuration with parts as attributes, such as `SearchConfig`.
        names: Names of the parts.
        allow: Packages whose classes the settings may name if they come from a file; None for any.
        worker: Number of the worker, which decides among several GPUs.

    Raises:
        NASError: For the first setting that is wrong, with its key as typed.
    """
    pick_device(config.device, worker)
    for name, part in PARTS.items():
        settings = getattr(config, name, None) if name in names else None
        if settings is None:
            continue
        module, _, base_name = part.base.partition(":")
        base = getattr(import_module(module), base_name)
        if name == "space":
            from experiments.spaces import PRIOR, space_of  # here, as spaces take long to import

            recipe = getattr(config, "recipe", None)
            if recipe or (isinstance(settings, Mapping) and PRIOR in settings):
                space_of(settings, recipe, allow)
                continue
        of_trackers = name == "tracking" and isinstance(settings, Mapping) and TARGET not in settings
        for key, one in settings.items() if of_trackers else ((None, settings),):
            dotted = name if key is None else f"{name}.{key}"
            check(one, dotted, base, allow, part.computed, construct=part.cheap)
