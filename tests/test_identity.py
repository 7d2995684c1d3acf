"""Every setting of conf/ is part of an identity, or on a short list of those that decide no result."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest

from experiments.build import build
from experiments.config import LOCAL, SearchConfig
from experiments.plain_settings import resolved
from experiments.train.config import TrainConfig
from experiments.train.job import UNIDENTIFYING
from nas.data.source import Source
from nas.errors import NASError
from nas.strategies.partial_order.strategy import PartialOrderPruning
from nas.tracking.base import NoTracking
from nas.training.loop import training_identity
from nas.training.settings import TrainingSettings
from nas.utils.hashing import digest
from nas.utils.identity import described, identity_of, public_path
from search_spaces.unet_flexible import FlexibleUNetSpace
from tests.test_conformance import composed, names

OF_THE_DATA = {"in_channels": 1, "outputs": 2, "dims": 3}  # arguments of a task that the data give
WORDS = (
    "adam", "sgd", "fp32", "cosine", "constant", "soft_dice", "accuracy", "resample_first", "mediastinum", "valid",
    "image", "volume", "mean", "max", "early", "woo2018", "softmax", "group", "resize", "batch", "none", "refuse",
    "skip", "t1", "transposed", "synapsemnist3d", "search_spaces.naslung.NASLungSpace", "balanced", "other",
    "relative", "leaky_relu", "linear", "snip", "bf16",
)  # fmt: skip
# settings that decide no result, each with its reason
NO_RESULT = {
    "strategy.checkpointing": "activations computed again are the same",
    "data.msd.patches_per_volume": "counts with a patch only",
    "space.unet_flexible.depths": "changes only together with widths; see test_depths_and_widths",
    "strategy.pop.repeats": "counts with margin=auto only; see test_repeats_of_pruning",
    "training.warmup_epochs": "not with every schedule; tests/training/test_training_options.py",
    "evaluator.settings.warmup_epochs": "",
    "strategy.settings.warmup_epochs": "",
    "training.restarts": "changes only together with the schedule; see test_restarts",
    "evaluator.settings.restarts": "",
    "strategy.settings.restarts": "",
    "space.backbone": "changes only together with its settings; tests/spaces/test_detector.py",
    "evaluator.path": "a table counts by its content",
    "evaluator.batch_size": "",
}


def candidates(value: Any) -> Iterator[Any]:
    """Other values of the same kind; at least one of them is valid for every setting."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, value + 2, 2 * value, value // 2, value - 1, 0.5, 64, 100)
    elif isinstance(value, float):
        yield from (value / 2, value + 0.1, 2 * value, value + 1)
    elif isinstance(value, str):
        yield from (*WORDS, 1.5)
    elif value is None:
        yield from (1, 2, 8, 0.5, 40, True, [8, 8, 8], [8, 8], [0.0, 1.0])
        yield from ("other", "brats2023", "DHW", ["skip", "3x3x3"], ["a", "b"], [1, 0.5])
        for halvings in (2, 3, 4):  # strides and flat kernels of U-Nets
            yield from ([[1, 2, 2], *[[2, 2, 2]] * (halvings - 1)], [[0], *[[]] * halvings])
    elif isinstance(value, Mapping):
        yield {"edge_entropy": 2.0}
    elif isinstance(value, list):
        yield from (value[:-1], [*value, *value[-1:]], [1, 2], [2, 1], [0], ["HW"], [0.25, 0.5], [0.5, 0.25, 0.25])
        for position, item in enumerate(value):
            for other in candidates(item):
                yield [*value[:position], other, *value[position + 1 :]]


def leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        elif key != "_target_":
            yield f"{prefix}{key}"


def changed(config: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    copied = copy.deepcopy(dict(config))
    *path, last = key.split(".")
    inner = copied
    for name in path:
        inner = inner[name]
    inner[last] = value
    return copied


def identity(group: str, config: Mapping[str, Any]) -> str:
    """The digest of what a study, a checkpoint or a store records of a part."""
    part = build(config, group, object, **(OF_THE_DATA if group == "task" else {}))
    if group == "space":
        return part.fingerprint
    if isinstance(part, Source):
        return digest([type(part).__name__, part.arguments(), part.patches])
    if isinstance(part, TrainingSettings):
        return digest(identity_of(part))
    return digest(identity_of(part))


def identity_if_valid(group: str, config: Mapping[str, Any]) -> str | None:
    """The identity, or None if the candidate value is no valid setting."""
    try:
        return identity(group, config)
    except NASError:
        return None


GROUPS = ("space", "strategy", "evaluator", "task", "training", "data")


@pytest.mark.parametrize("group", GROUPS)
def test_every_setting_of_a_part_changes_its_identity(group: str) -> None:
    for name in names(group):
        if (group, name) == ("evaluator", "tabular"):
            continue  # needs a table; tests/test_tabular.py
        override = [] if (group, name) == ("training", "default") else [f"{group}={name}"]
        override += ["evaluator.score=width"] if name == "zero_cost" else []
        composed_config = composed(*override, "data_root=/data")
        composed_config.study.name = "s"  # by default it needs a running job
        config = resolved(composed_config)[group]
        own = identity(group, config)
        ignored = build(config, group, Source).UNIDENTIFYING if group == "data" else {}  # each with its reason
        for key in leaves(config):
            if {f"{group}.{key}", f"{group}.{name}.{key}"} & set(NO_RESULT) or (
                key in ignored and key not in ("patch", "patches_per_volume")
            ):
                continue
            value = config[key.split(".")[0]]
            for inner in key.split(".")[1:]:
                value = value[inner]
            others = (identity_if_valid(group, changed(config, key, other)) for other in candidates(value))
            assert any(other not in (own, None) for other in others), (
                f"{group}={name}: {key} is no part of the identity"
            )


class OneStep:
    """A part with one argument."""

    def __init__(self, steps: int) -> None:
        self.steps = steps


class OtherStep(OneStep):
    """Another part with the same argument."""


def test_classes_with_equal_arguments_differ() -> None:
    assert identity_of(OneStep(1)) == {"class": "tests.test_identity.OneStep", "steps": 1}
    assert identity_of(OneStep(1)) != identity_of(OtherStep(1))
    assert identity_of({"a": OneStep(1)}) != identity_of({"a": OneStep(2)})
    assert identity_of({2, 1}) == [1, 2]


class Level(IntEnum):
    """A number with a name."""

    HIGH = 3


class Colour(Enum):
    """A name."""

    RED = 1


@dataclass
class Step:
    """A field that is computed is no argument."""

    width: int
    area: int = field(init=False, default=0)


class Named:
    """A part that describes itself, with more arguments than names."""

    def __init__(self, name: str, *others: int, **settings: int) -> None:
        self.name, self.identity = name, {"called": (name,)}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (Level.HIGH, 3),
        (Colour.RED, "Colour.RED"),
        (PurePosixPath("a/b"), "a/b"),
        ({1: (2.5, "x")}, {"1": [2.5, "x"]}),
        (frozenset("hgfedcba"), list("abcdefgh")),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (Step(4), {"class": "tests.test_identity.Step", "width": 4}),
        (Named("n"), {"called": ["n"]}),
        ([Named("n")], [{"called": ["n"]}]),
    ],
)
def test_values_become_json(value: Any, expected: Any) -> None:
    found = identity_of(value)
    assert (found, type(found)) == (expected, type(expected))


def test_a_description_has_all_named_arguments_under_the_public_path() -> None:
    assert described(Named("n")) == {"class": "tests.test_identity.Named", "name": "n"}
    assert identity_of(TrainingSettings())["class"] == "nas.training.TrainingSettings"
    assert public_path(NoTracking) == "nas.NoTracking"  # the outermost package that exports it


def test_an_argument_that_is_not_kept_is_named() -> None:
    part = OneStep(1)
    del part.steps
    with pytest.raises(NASError, match=r"OneStep without the attribute 'steps'.*self.steps = steps"):
        identity_of(part)


def test_repeats_of_pruning() -> None:
    one, other = (digest(identity_of(PartialOrderPruning(margin="auto", repeats=count))) for count in (5, 6))
    assert one != other


def test_restarts() -> None:
    settings = [TrainingSettings(schedule="warm_restarts", restarts=ends) for ends in ((2, 6), (2, 8))]
    assert len({digest(identity_of(one)) for one in settings}) == 2


def test_depths_and_widths() -> None:
    three = FlexibleUNetSpace(depths=(1, 2), widths=((4, 8), (8, 16), (16, 32)))
    two = FlexibleUNetSpace(depths=(2,), widths=((4, 8), (8, 16), (16, 32)))
    assert three.fingerprint != two.fingerprint


def test_the_top_settings_of_a_search() -> None:
    """Each is part of the spec of a study, or decides no result."""
    of_the_study = {
        "objectives",
        "constraints",
        "cost",
        "seed",
        "space",
        "strategy",
        "evaluator",
        "data",
        "split",
        "task",
    }
    through_others = {
        "training": "strategies and evaluators hold it",
        "fidelity": "the strategy holds it",
        "warm_start": "the strategy holds it",
        "recipe": "the space holds it; its priors are a part of the spec",
    }
    no_result = {
        "study": "its name chooses the study; trials and times decide when it ends",
        "worker": "every worker of a study has its own",
        "device": "hardware",
        "tracking": "a picture",
        "allow_packages": "permission",
        "data_root": "a path",
        "data_cache": "a path",
    }
    assert set(SearchConfig.__dataclass_fields__) == of_the_study | set(through_others) | set(no_result)


def test_the_top_settings_of_a_training() -> None:
    """Each is part of the identity of a result, or decides no number."""
    by_content = {"arch": "the networks", "supernet": "the weights", "space_changes": "the networks too"}
    by_content["over_recipe"] = "the trainings"
    no_result = {
        "name": "the folder",
        "processes": "the same trainings, side by side",
        "export": "files of the same networks; a training with exports is never skipped",
        "tracking": "a picture",
        "allow_packages": "permission",
        "data_root": "a path",
        "data_cache": "a path",
    }
    of_the_result = {
        "data",
        "split",
        "task",
        "training",
        "seed",
        "device",
        "protocol",
        "rounds",
        "baselines",
        "resamples",
    }
    assert set(TrainConfig.__dataclass_fields__) == of_the_result | set(by_content) | set(no_result)
    left_out = {*UNIDENTIFYING, *LOCAL} - {"worker", "device"}  # the device itself is added, not its name
    assert left_out == {*by_content, *no_result} - {"space_changes"}


def test_a_training_is_known_by_its_task(tmp_path: Any) -> None:
    """The same network, data and settings with another loss or window is another training."""
    from nas.tasks.segmentation import Segmentation
    from tests.training.test_segmentation_training import ball_parts

    train, valid = ball_parts(tmp_path, 2)
    digests = {
        training_identity(
            "network", Segmentation(dims=2, **changes), TrainingSettings(), False, 0, train, valid
        ).digest()
        for changes in ({}, {"loss": "soft_dice"}, {"window": (8, 8)}, {"flips": (1,)}, {"tolerance": 2.0})
    }
    assert len(digests) == 5
