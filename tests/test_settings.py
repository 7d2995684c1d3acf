"""Every setting of every class that conf/ names is checked against its declared type before anything is used."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, get_type_hints

import pytest
import yaml
from annotated_types import Ge
from omegaconf import OmegaConf

from experiments.build import build
from experiments.config import SearchConfig
from experiments.plain_settings import resolved
from experiments.train.config import TrainConfig
from experiments.train.search_defaults import announcement, require_same_data, with_search_defaults
from nas.data import Augment
from nas.data.store import VolumeStore
from nas.errors import NASError
from nas.provenance import DataFacts, SearchRecord, SplitFacts
from nas.strategies import Differentiable, RandomSearch
from nas.strategies.base import Strategy
from nas.training import TrainingSettings
from nas.utils.checked import check_arguments, checked, signature_of
from nas.utils.locate import locate
from search_spaces import DiNTSSpace, NASLungSpace, UNetSpace
from tests.conftest import REPO
from tests.test_conformance import composed

WRONG: tuple[Any, ...] = (
    None, "x", "", True, 1.5, -1, 0, math.nan, math.inf, 10**12, 1e300, [], [1.5], ["x"], [None], {}, {"a": 1},
)  # fmt: skip
SECONDS = 2.0  # of CPU for all wrong values of one key
REQUIRED = {
    "score": "width",
    "proposer": {"_target_": "nas.strategies.RandomSearch"},
    "settings": TrainingSettings(),
    "root": None,
    "path": None,
    "cache_dir": "cache",
    "store": object.__new__(VolumeStore),
}
NEED_MORE = ("Split", "Tabular", "VisdomBoard")  # classes whose constructor needs data, a file or a server


def targets(settings: Any, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping with a `_target_` in a file of conf/, with its dotted key."""
    if isinstance(settings, dict):
        if "${" not in settings.get("_target_", "${"):
            yield key, settings
        for name, value in settings.items():
            yield from targets(value, f"{key}.{name}")


def configured() -> dict[str, tuple[str, type, dict[str, Any]]]:
    """`<group>/<file> <key>` -> key, class and settings of everything that conf/ constructs."""
    found = {}
    for path in sorted((REPO / "conf").glob("*/*.yaml")):
        for key, settings in targets(yaml.safe_load(path.read_text()), path.parent.name):
            found[f"{path.parent.name}/{path.stem} {key}"] = (
                key,
                locate(settings["_target_"], object, allow=None),
                settings,
            )
    return found


CONFIGURED = configured()


def refusal(settings: Mapping[str, Any], key: str, cls: type) -> str | None:
    """The message with which settings are refused; None if they are valid and the object can be constructed."""
    try:
        if cls.__name__ in NEED_MORE:
            check_arguments(cls, settings, key)
        else:
            build({"_target_": f"{cls.__module__}.{cls.__qualname__}", **settings}, key, object)
    except NASError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", CONFIGURED)
def test_wrong_values_of_every_key_are_valid_or_refused_by_name(name: str) -> None:
    key, cls, settings = CONFIGURED[name]
    known, _ = signature_of(cls)
    valid = {arg: REQUIRED.get(arg) for arg, argument in known.items() if argument.required}
    for arg in settings.keys() & known.keys():
        began, messages = time.process_time(), []
        for value in WRONG:
            messages.append(refusal({**valid, arg: value}, key, cls))
        refused = [message for message in messages if message is not None]
        assert refused, f"{key}.{arg} accepts every value"
        assert [message for message in refused if f"{key}.{arg}" not in message.partition("; expected")[0]] == []
        assert max(map(len, refused)) < 600
        assert time.process_time() - began < SECONDS


@pytest.mark.parametrize("name", CONFIGURED)
def test_values_of_conf_and_defaults_are_valid_for_their_annotations(name: str) -> None:
    key, cls, settings = CONFIGURED[name]
    known, _ = signature_of(cls)
    if known:
        get_type_hints(cls.__init__, include_extras=True)  # type: ignore[misc]
    assert {name for name in settings if not name.startswith("_")} <= known.keys()
    for arg, argument in known.items():
        if not argument.required:
            assert argument.accepts(argument.default), f"the default of {key}.{arg}"
        value = settings.get(arg, argument.default)
        if arg in settings and not isinstance(value, dict) and not str(value).startswith(("${", "???")):
            assert argument.accepts(value), f"{key}.{arg}={value}"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NASLungSpace(max_depth=100_000), "got space.max_depth=100000; expected a whole number from 3 to 64"),
        (lambda: UNetSpace(depths=[9]), r"got space.depths=\[9\]; expected increasing whole numbers from 1 to 8"),
        (lambda: UNetSpace(widths=range(4, 40_000_000, 4)), r"got space.widths=.*; expected increasing multiples of 4"),
        (lambda: UNetSpace(widths=[1024], depths=[8]), r"got space.widths=\[1024\] with space.depths=\[8\]"),
        (lambda: DiNTSSpace(num_blocks=10**7), "got space.num_blocks=10000000; expected a whole number from 1 to 64"),
    ],
    ids=["depth", "halvings", "choices", "channels", "blocks"],
)
def test_sizes_without_end_are_refused_at_once(make: Any, message: str) -> None:
    began = time.process_time()
    with pytest.raises(NASError, match=message):
        make()
    assert time.process_time() - began < SECONDS


def test_a_message_gives_key_range_and_fix() -> None:
    with pytest.raises(NASError) as refused:
        TrainingSettings(epochs=1.5)  # type: ignore[arg-type]
    expected = "got training.epochs=1.5; expected a whole number of at least 1; fix: set training.epochs to 1 or more"
    assert str(refused.value) == expected
    with pytest.raises(NASError, match=r"got training.optimizer=null; expected one of adamw, adam, sgd; fix: .* adamw"):
        TrainingSettings(optimizer=None)  # type: ignore[arg-type]
    with pytest.raises(NASError, match=r"got training.lr=nan; expected a finite number above 0"):
        replace(TrainingSettings(), lr=math.nan)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": None}, "got strategy.settings=null"),
        ({"settings": {"epochs": 0}}, "got strategy.settings.epochs=0; expected a whole number of at least 1"),
        ({"settings": {"augment": {"flip": [3]}}}, r"got strategy.settings.augment.flip=\[3\]; expected axes"),
        ({"betas": [0.5, 2]}, r"got strategy.betas=\[0.5, 2\]"),
        ({"regularisers": {"topology": -1}}, "got strategy.regularisers"),
        ({"warmup": 0.5}, "got strategy.warmup=0.5; expected one of .*; fix: write strategy.warm_up"),
    ],
)
def test_nested_settings_are_refused_with_the_key_as_typed(changes: dict[str, Any], message: str) -> None:
    settings = {"epochs": 3, "augment": {"_target_": "nas.data.Augment", "flip": [0]}}
    valid = {"_target_": "nas.strategies.Differentiable", "settings": settings, "betas": [0.5, 0.9]}
    strategy = build(OmegaConf.create(valid), "strategy", Differentiable)
    assert strategy.settings == TrainingSettings(epochs=3, augment=Augment(flip=(0,)))
    with pytest.raises(NASError, match=message):
        build(OmegaConf.create({**valid, **changes}), "strategy", Differentiable)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (None, "got strategy=null; expected settings with the _target_ of a Strategy"),
        ({"cost_min": 1}, "expected settings with the _target_ of a Strategy"),
        ({"_target_": "nas.data.Augment"}, "a subclass of nas.strategies.base.Strategy"),
        ({"_target_": "os.getcwd"}, "got 'os.getcwd'; expected a subclass of nas.strategies.base.Strategy"),
        ({"_target_": "nas.strategies.base.Strategy"}, "got the abstract class 'nas.strategies.base.Strategy'"),
        ({"_target_": "nas.strategies.Differentiable"}, "got no strategy.settings"),
        ({"_target_": "nas.strategies.Differentiable", "settings": "???"}, "got no strategy.settings"),
        ({"_target_": "nas.strategies.RandomSearch", "cost_min": "${none}"}, "expected values that can be filled in"),
    ],
)
def test_parts_that_name_no_such_class_are_refused(settings: Any, message: str) -> None:
    config = None if settings is None else OmegaConf.create(settings)
    with pytest.raises(NASError, match=message):
        build(config, "strategy", Strategy)


def test_settings_of_a_file_name_classes_of_allowed_packages_only() -> None:
    with pytest.raises(NASError, match="allow_packages"):
        build(OmegaConf.create({"_target_": "os.getcwd"}), "strategy", Strategy, allow=())


def test_paths_of_earlier_versions_are_built() -> None:
    old = {"_target_": "nas.strategies.random.RandomSearch", "cost_max": 2, "cost_min": None}
    assert build(old, "strategy", RandomSearch).limits.arguments == {"cost_min": None, "cost_max": 2.0}


def test_values_reach_the_constructor_unchanged() -> None:
    @checked("part")
    class Part:
        def __init__(self, sides: Annotated[tuple[int, ...], Ge], share: float, *, name: str = "") -> None:
            self.sides, self.share, self.name = sides, share, name

    sides = [1, 2]
    part = Part(sides, 1, name="x")  # type: ignore[arg-type]
    assert part.sides is sides
    assert isinstance(part.share, int)
    with pytest.raises(TypeError):
        Part(sides, 1, "x")  # type: ignore[arg-type, misc]


@pytest.mark.parametrize("cls", [SearchConfig, TrainConfig])
def test_common_settings_of_search_and_training_have_types(cls: type) -> None:
    assert signature_of(cls)[0]["device"].hint is str
    assert Any not in {argument.hint for argument in signature_of(cls)[0].values()}


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        ((), {}),
        (("split.folds=4",), {"split.folds": 4}),
        (("+data.patch=[8,8,8]",), {"data.patch": [8, 8, 8]}),
        (("~data.spacing_mm",), {"data.spacing_mm": None}),
        (("data_root=/other", "data_cache=there"), {"data.root": "/other", "data.cache_dir": "there"}),
        (("+data.root=/other",), {"data.root": "/other"}),
        (("+task.window=[8,8,8]",), {"task.window": [8, 8, 8]}),
    ],
)
def test_a_training_changes_settings_of_its_search(words: Sequence[str], changed: dict[str, Any]) -> None:
    data = {"_target_": "nas.data.Msd", "spacing_mm": 2.0, "patch": [16, 16, 16]}
    task = {"_target_": "nas.tasks.Segmentation", "window": [16, 16, 16]}
    recorded = {"data": data, "split": {"_target_": "nas.data.Split", "folds": 3}, "task": task}
    found = resolved(composed("arch=x", *words, config="train"))
    found = with_search_defaults(found, words, [search_record(recorded)])
    expected = {f"{group}.{name}": value for group, part in recorded.items() for name, value in part.items()}
    expected |= {"data.cache_dir": "outputs/data"} | changed
    for key, value in expected.items():
        group, name = key.split(".")
        assert found[group].get(name) == value, key
    assert sum(len(found[group]) for group in recorded) == sum(value is not None for value in expected.values())


def test_a_search_on_data_without_a_folder_gets_none() -> None:
    recorded = {"data": {"_target_": "nas.data.LidcShapes", "size": 16}}
    words = ("data_root=/other",)
    found = with_search_defaults(resolved(composed("arch=x", *words, config="train")), words, [search_record(recorded)])
    assert found["data"] == {**recorded["data"], "cache_dir": "outputs/data"}


@pytest.mark.parametrize(
    ("changed", "words", "refusal"),
    [
        ({}, (), None),
        ({"split": {"folds": 3}}, (), "split.folds=5 of experiment=demo, but split.folds=3 in the search"),
        ({"split": {"folds": 3}}, ("split.folds=5",), None),
        ({"data": {"spacing_mm": 1.0}}, (), "data.spacing_mm=2 of experiment=demo, but data.spacing_mm=1"),
        ({"data": {"_target_": "nas.data.LidcDicom"}}, (), "data=nas.data.LidcShapes of experiment=demo"),
        ({"data": {"_target_": "nas.data.LidcDicom"}}, ("data=lidc_shapes",), None),
    ],
)
def test_an_experiment_has_the_data_and_split_of_the_search(
    changed: Mapping[str, Any], words: Sequence[str], refusal: str | None
) -> None:
    words = ("arch=x", "experiment=demo", *words)
    config = resolved(composed(*words, config="train"))
    recorded = {group: {**config[group], **changed.get(group, {})} for group in ("data", "split")}
    del recorded["split"]["seed"]  # as in a file of an earlier version: the default of the class
    searches = [search_record(recorded)]
    if refusal is not None:
        with pytest.raises(NASError, match=re.escape(refusal)):
            with_search_defaults(config, words, searches)
        return
    assert with_search_defaults(config, words, searches) == config


def test_the_first_line_of_a_training_names_the_origin_of_its_data() -> None:
    recorded = {
        "data": {"_target_": "nas.data.Msd", "spacing_mm": [2.0, 1.5, 1.5], "patch": None},
        "split": {"_target_": "nas.data.Split", "folds": 3},
    }
    words = ("arch=x", "+data.patch=[8,8,8]")
    searches = [search_record(recorded)]
    config = with_search_defaults(resolved(composed(*words, config="train")), words, searches)
    assert announcement(config, words, searches) == (
        "data and split from arch.json (search s): data Msd(spacing_mm=[2,1.5,1.5], patch=[8,8,8]), "
        "split Split(folds=3); changed here: data.patch"
    )
    other = [search_record({**recorded, "task": {"_target_": "nas.tasks.Segmentation"}})]
    line = announcement(config, (*words, "experiment=demo"), other)
    assert line is not None
    assert line.endswith("; task as configured")  # the experiment has another task than the search
    assert announcement(config, words, []) is None
    require_same_data("msd", words, searches)
    require_same_data("lidc_shapes", words, searches)  # the command names data
    with pytest.raises(NASError, match="data lidc_shapes for a network that was searched on msd"):
        require_same_data("lidc_shapes", ["arch=x"], searches)


def search_record(config: Mapping[str, Any]) -> SearchRecord:
    facts = DataFacts("msd", "0" * 64, 1), SplitFacts("0" * 64)
    return SearchRecord("s", 1, 0, 1, 0, *facts, config, patients=())
