"""Every key of every yaml of conf/ with a dozen wrong values, and what the declared types make of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import yaml
from omegaconf import open_dict

from experiments.build import build
from experiments.config import SearchConfig, require_dry_run
from experiments.parts import PARTS, check_parts
from experiments.plain_settings import resolved
from experiments.plan_settings import settings_of_plan
from experiments.spaces import space_of
from experiments.train.config import TrainConfig
from nas.errors import NASError
from nas.training.recipe import with_settings
from nas.training.settings import TrainingSettings
from tests.conftest import REPO
from tests.test_conformance import composed

# name -> value, and as a command line writes it
WRONG: dict[str, tuple[Any, str]] = {
    "null": (None, "null"),
    "text": ("qqq", "qqq"),
    "list": (["qqq"], "[qqq]"),
    "mapping": ({"qqq": 1}, "{qqq:1}"),
    "NaN": (math.nan, "nan"),
    "infinity": (math.inf, "inf"),
    "negative": (-1, "-1"),
    "zero": (0, "0"),
    "fraction": (0.5, "0.5"),
    "huge": (10**30, "1" + "0" * 30),
    "huge number": (1e300, "1e300"),
    "empty": ("", "''"),
    "path": ("../qqq", "../qqq"),
    "true": (True, "true"),
}
NEVER = ("NaN", "infinity", "negative", "huge", "huge number", "empty")  # no setting takes them
NULLABLE = {
    "command", "root", "data_root", "given", "augment", "settings", "task", "spacing_mm", "negatives", "patch", "crop",
    "class_weights",
    "window", "scale_weights", "regularisers", "target", "budget", "score", "macs", "subjects", "rounds",
    "plain_unet", "published", "export", "path", "temperature", "prior", "when",
}  # fmt: skip
NAMES = ("name", "study.name", "brain_tumor.name")
FLOATS = (
    "gamma",
    "contrast",
    "brightness",
    "noise",
    "rotate",
    "edge_entropy",
    "temperature",
    "operation_entropy",
    "lease_s",
    "weight_decay",
    "grad_clip",
    "scale",
    "shift_mm",
    "ema",
    "mixup",
)
LISTS = ("arch", "subjects", "allow_packages", "backgrounds", "subgroups")
NEEDED = {
    "manifest": {"data.path": "a.csv"},
    "prepared": {"data.path": "a.h5"},
    "tabular": {"evaluator.path": "a.h5"},
    "zero_cost": {"evaluator.score": "width"},
}


@dataclass(frozen=True)
class Key:
    """One key of a file of conf/.

    Attributes:
        file: Path of the file within conf/, without `.yaml`.
        name: Dotted key as typed.
        command: "search", "train" or "brain_tumor".
        choice: Setting that chooses the file; empty for the files of commands.
        default: Its value in the file.
    """

    file: str
    name: str
    command: str
    choice: str
    default: Any

    @property
    def words(self) -> list[str]:
        """Settings of the command line beside that of the key."""
        needed = NEEDED.get(self.file.rpartition("/")[2], {})
        arch = ["arch=naslung/model-1"] if self.command == "train" else []
        return [*arch, *([self.choice] if self.choice else []), *(f"{k}={v}" for k, v in needed.items())]


def keys() -> list[Key]:
    """Every key of every yaml in conf/ but those of tables, which are no settings of Hydra."""
    found = []
    for path in sorted((REPO / "conf").rglob("*.yaml")):
        file = str(path.relative_to(REPO / "conf").with_suffix(""))
        group, _, option = file.rpartition("/")
        if group == "table":
            continue
        settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        above = "" if group in ("", "experiment") else f"{group}."
        if "@package" in path.read_text(encoding="utf-8") and group == "tracking":
            above = f"tracking.{option}."
        command = file if file in ("train", "brain_tumor") else "search"
        choice = f"{group}={option}" if group else ""
        for name, default in _dotted(settings, above):
            of_train = group == "experiment" and name.partition(".")[0] in ("arch", "name", "rounds")
            found.append(Key(file, name, "train" if of_train else command, choice, default))
    return found


def _dotted(settings: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if key in ("defaults", "hydra", "callbacks") or "." in key:  # a condition names the key of another setting
            continue
        yield f"{above}{key}", value
        if isinstance(value, dict):
            yield from _dotted(value, f"{above}{key}.")


@cache
def _settings(command: str, words: tuple[str, ...]) -> dict[str, Any]:
    name = ["study.name=s"] if command == "search" else []  # by default made of what Hydra knows in a job
    cfg = composed(*words, *name, config=command)
    with open_dict(cfg):
        cfg.pop("hydra", None)
    return resolved(cfg)


def refusal(key: Key, value: Any) -> str | None:
    """The message with which a command refuses a value before a job starts; None if it is accepted."""
    plain = copy.deepcopy(_settings(key.command, tuple(key.words)))
    place, parts = plain, key.name.split(".")
    for part in parts[:-1]:
        place = place[part]
    place[parts[-1]] = value
    try:
        _check(key.command, plain, parts[0])
    except NASError as error:
        return str(error)
    return None


def is_sensible(key: Key, name: str) -> bool:
    """Whether a wrong value may be accepted, by the kind of the value in conf/ and not by the declared types."""
    default = _settings(key.command, tuple(key.words))
    for part in key.name.split("."):
        default = default[part]
    last = key.name.rpartition(".")[2]
    if name == "null":
        not_searched = key.name.startswith("recipe.") and (key.name.count(".") <= 2 or ".choices." in key.name)
        removed = key.name.startswith("objectives.")  # as long as another objective is left
        return default is None or last in NULLABLE or not_searched or removed
    if name == "list":
        return last in LISTS or key.name.startswith("recipe.task.")  # choices, which need the data to be checked
    if name == "mapping":
        return last in ("regularisers", "space_changes")
    if name == "true":
        return isinstance(default, bool) or last == "given"
    if name == "zero":
        return default is None or isinstance(default, int | float)
    if name == "fraction":
        return default is None or isinstance(default, float) or last in FLOATS
    if name in ("text", "path"):
        return (default is None or isinstance(default, str)) and not (name == "path" and key.name in NAMES)
    return False


def _check(command: str, plain: dict[str, Any], part: str) -> None:
    if command == "brain_tumor":
        check = import_module("experiments.brain_tumor.config").check_brain_tumor
        check(plain)
        return
    require_dry_run(plain)
    config = (SearchConfig if command == "search" else TrainConfig).of(plain)
    check_parts(config, (part,) if part in PARTS else ())
    if part == "recipe":  # with data also those of the task, see nas.training.recipe.check_recipes
        space, settings = space_of(config.space, config.recipe), build(plain["training"], "training", TrainingSettings)
        for arch in space.recipe_examples():
            with_settings(settings, space.recipe(arch))
    if part == "plan" and plain["plan"] is not None:
        settings_of_plan(plain["plan"], command, ())
