"""Files from elsewhere name only classes of VoxNAS, of plug-ins, and of packages that the user names (C1, C2)."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.build import build
from experiments.tables.allowed import table_function
from experiments.tables.spec import parse
from experiments.train.search_defaults import with_search_defaults
from nas.artifact import Artifact, load
from nas.data.source import Source
from nas.errors import NASError
from nas.evaluators.base import Evaluator
from nas.provenance import DataFacts, Provenance, SearchRecord, SplitFacts
from nas.space import SearchSpace
from nas.study.storage import Store
from nas.task_spec import TaskSpec
from nas.tasks.base import task_of
from nas.utils.locate import locate
from nas.utils.named import require_named
from search_spaces.naslung import NASLungSpace
from tests.commands import refused, voxnas
from tests.problems import study_of
from tests.tables import OBJECTIVES, SPACE

CALLS = ("os.system", "sympy.sympify", "subprocess.Popen", "builtins.eval", "builtins.exec", "hydra.utils.get_method")
OWN = (
    "nas.utils.files.write_text",
    "nas.utils.files.Path",  # imported there, defined in pathlib
    "nas.utils.process.os.system",
    "nas.data.source.json",
    "experiments.tables.__main__.main",
    "experiments.cli.Parser",
    "nas.study.storage.Store",
    "nas.__init__.x",
    "nas",
    "",
    "nas..x",
    "nas.data.Nothing",
    "../nas.data",
)
PHANTOMS = {"_target_": "nas.data.NodulePhantoms", "patients": 10}


def record(**config: Any) -> SearchRecord:
    return SearchRecord("s", 3, 0, 0, 0, DataFacts("x", "0", 1), SplitFacts("0"), config=config, patients=())


@pytest.mark.parametrize("base", [Source, Evaluator, SearchSpace])
@pytest.mark.parametrize("path", CALLS + OWN)
def test_C1_a_file_names_subclasses_of_the_expected_base_only(path: str, base: type) -> None:
    with pytest.raises(NASError):
        locate(path, base)
    with pytest.raises(NASError):
        build({"_target_": path}, "data", base, allow=())


def test_C1_a_package_that_is_not_trusted_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "strange_package.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(NASError, match="--allow-package strange_package"):
        locate("strange_package.Class", Source)
    assert "strange_package" not in sys.modules


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"mirror": {"_target_": "os.system", "command": "x"}}, "no class is declared here"),
        ({"backgrounds": [{"_target_": "nas.utils.files.write_text"}]}, "no class is declared here"),
        ({"a": {"b": [{"c": {"_target_": "nas.data.Augment"}}]}}, "no class is declared here"),
        ({"_args_": [{"_target_": "os.system"}]}, "arguments by name"),
        ({"_partial_": True}, "arguments by name"),
        ({"root": "${oc.env:HOME}"}, "no interpolations"),
        ({"root": "${hydra:runtime.cwd}"}, "no interpolations"),
        ({"${oc.env:HOME}": 1}, "no interpolations"),
        ({"x": [["a", {"b": "x${now:%Y}"}]]}, "no interpolations"),
    ],
)
def test_C1_settings_at_any_depth(part: dict[str, Any], words: str) -> None:
    hostile = {**PHANTOMS, **part}
    with pytest.raises(NASError, match=words):
        require_named(hostile, "data", Source, ())
    with pytest.raises(NASError, match=words):
        with_search_defaults({"data": {}}, [], [record(data=hostile)])
    with pytest.raises(NASError, match=words):
        build(hostile, "data", Source, allow=())


def test_C1_classes_of_arguments_are_those_that_are_declared() -> None:
    def evaluator(augment: str) -> dict[str, Any]:
        training = {"_target_": "nas.training.TrainingSettings", "augment": {"_target_": augment}}
        return {"_target_": "nas.evaluators.Train", "settings": training, "_recursive_": False, "_convert_": "all"}

    with pytest.raises(NASError, match="no Augment"):
        require_named(evaluator("nas.data.NodulePhantoms"), "evaluator", Evaluator, ())
    require_named(evaluator("nas.data.Augment"), "evaluator", Evaluator, ())


def test_C1_folders_of_a_record_are_not_used() -> None:
    data = {"_target_": "nas.data.Manifest", "file": "x.csv", "root": "/etc", "cache_dir": "/elsewhere"}
    made = with_search_defaults({"data": {}, "data_root": None, "data_cache": "mine"}, [], [record(data=data)])
    assert "root" not in made["data"]
    assert made["data"].get("cache_dir", "mine") == "mine"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    space, arch = NASLungSpace.from_name("model-1")
    Artifact(space, arch, TaskSpec(), {"auc": 0.9}, Provenance(search=record(data=PHANTOMS))).save(tmp_path / "a.json")
    return tmp_path / "a.json"


@pytest.mark.parametrize("path", CALLS + OWN)
def test_C1_the_space_of_an_arch_json(saved: Path, path: str) -> None:
    content = json.loads(saved.read_text())
    content["space"]["class"] = path
    content["allow_packages"] = content["provenance"]["allow_packages"] = [path.partition(".")[0]]
    saved.write_text(json.dumps(content))
    with pytest.raises(NASError):
        load(saved)


@pytest.mark.parametrize("path", CALLS + OWN)
def test_C1_the_task_of_a_bundle(path: str) -> None:
    spec = {"in_channels": 1, "outputs": 2, "dims": 3}
    with pytest.raises((NASError, ValueError)):
        task_of({"class": path, "spec": spec})


HOSTILE_TABLE = """
title: t
about: a
columns: [{name: auc, label: AUC}]
sizes: {quick: {seeds: [0], words: {w: "%s"}}, full: {seeds: [0]}}
sections:
  - title: s
    id: s
    rows: [{name: r, minutes: {quick: 1}, %s}]
"""


@pytest.mark.parametrize(
    ("word", "row"),
    [
        ("", "call: {_target_: os.system, command: x}"),
        ("", "call: {_target_: nas.utils.files.write_text, path: x, content: x}"),
        ("", "call: {_target_: experiments.tables.run.run_command, words: [new]}"),
        ("", "call: {_target_: experiments.tables.checks.json.loads, s: x}"),
        ("", 'call: {_target_: experiments.tables.shape.logistic, like: x, folder: "/etc"}'),
        ("", 'steps: ["search +hydra.callbacks.x._target_=os.system"]'),
        ("", 'steps: ["search --config-dir=/x"]'),
        ("", 'steps: ["train allow_packages=[x]"]'),
        ("", 'steps: ["train space._target_=x.Y"]'),
        ("", 'steps: ["serve x --predictor os:system"]'),
        ("", 'steps: ["study delete x --yes"]'),
        ("hydra.launcher._target_=os.system", 'steps: ["train {w}"]'),
        ("", 'steps: ["predict x y --out /home/x/victim.json"]'),
        ("", 'steps: ["predict x y --out=/home/x/victim.json"]'),
        ("", 'steps: ["predict x y --out {folder}/../../victim.json"]'),
        ("/home/x/victim.json", 'steps: ["predict x y --out {w}"]'),
        ("--out /home/x/victim.json", 'steps: ["predict x y {w}"]'),
        ("t", 'steps: ["predict x y --ou{w} /home/x/victim.json"]'),
        ("", 'steps: ["export /home/x/training"]'),
        ("", 'steps: ["brats predict x --root y --out {folder} --predictions /home/x"]'),
        ("", 'steps: ["train data_cache=/home/x"]'),
        ("", 'steps: ["train hydra.run.dir={folder}/../../x"]'),
        ("", 'steps: ["search study.url=sqlite:////home/x/study.db"]'),
        ("", 'steps: ["train tracking=tensorboard tracking.tensorboard={folder:/home/x}"]'),
        ("/etc", 'call: {_target_: experiments.tables.shape.logistic, like: x, folder: "{w}"}'),
        ("", 'id: "../../evil", call: {_target_: experiments.tables.counts.network}'),
        ("", 'result: "../x", call: {_target_: experiments.tables.counts.network}'),
    ],
)
def test_C1_tables_from_elsewhere(word: str, row: str) -> None:
    with pytest.raises(NASError):
        parse(HOSTILE_TABLE % (word, row), "table.yaml")


@pytest.mark.parametrize(
    "row",
    [
        'steps: ["predict {folder}/train x --out {folder}/{w}", "train data_cache={folder}/cache name=t"]',
        'steps: ["export {folder}/train"]',
        'steps: ["train training.augment.cutout=0 tracking=tensorboard tracking.tensorboard.folder=null"]',
    ],
)
def test_C1_tables_write_into_folders_of_their_own(row: str) -> None:
    parse(HOSTILE_TABLE % ("labels", row), "table.yaml")


def test_C1_functions_of_tables_are_defined_for_them() -> None:
    assert table_function("experiments.tables.checks.brats_regions").__name__ == "brats_regions"
    for path in ("experiments.tables.checks.build", "experiments.tables.checks.Path", "json.loads", "x", ""):
        with pytest.raises(NASError):
            table_function(path)


def study_from_elsewhere(place: Path, **config: Any) -> str:
    recorded = {
        "study": {"name": "s", "trials": 9, "url": None},
        "folder": str(place),
        "cwd": str(place),
        "data": PHANTOMS,
        "split": {"_target_": "nas.data.Split"},
        "training": {},
        "tracking": {},
        "space": {"_target_": "search_spaces.NASLungSpace"},
        "strategy": {"_target_": "nas.strategies.RandomSearch"},
        "evaluator": {"_target_": "nas.evaluators.Train"},
        "objectives": {"auc": "maximize"},
        **config,
    }
    url = f"journal://{place}/study.log"
    study_of(url, "s", SPACE, OBJECTIVES, {"data": "abc"}, config=recorded).close()
    return url


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"strategy": {"_target_": "os.system", "command": "touch ran"}}, "the class 'os.system'"),
        ({"data": {"_target_": "nas.utils.files.write_text", "path": "ran", "content": "x"}}, "write_text"),
        ({"tracking": {"x": {"_target_": "subprocess.Popen", "args": ["touch", "ran"]}}}, ""),
        ({"data": {**PHANTOMS, "root": "${oc.env:HOME}"}}, "no interpolations"),
        ({"allow_packages": ["strange"], "space": {"_target_": "strange.Space"}}, "--allow-package strange"),
        ({"cwd": 5}, ""),
    ],
)
def test_C2_a_study_from_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], config: dict[str, Any], words: str, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    url = study_from_elsewhere(tmp_path, **config)
    (tmp_path / "config.yaml").write_text("study: {name: s}\n")
    (tmp_path / "run_search.py").write_text("open('ran', 'w')\n")
    refused(voxnas(capsys, "study", "resume", url), words)
    assert not (tmp_path / "ran").exists()


def test_C2_results_go_into_no_folder_that_a_stranger_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "precious").mkdir()
    url = study_from_elsewhere(tmp_path / "store", folder=str(tmp_path / "precious"))
    refused(voxnas(capsys, "study", "resume", url), "--out FOLDER")
    assert not any((tmp_path / "precious").iterdir())
    Store(url).close()


names = st.text(st.characters(codec="utf-8"), max_size=12)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats() | names,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


def either_loads_or_one_line(read: Callable[[], object]) -> None:
    message = ""
    try:
        read()
    except NASError as error:
        message = str(error)
    assert len(message.splitlines()) <= 1
    assert "\x1b" not in message


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_C3_any_value_anywhere_in_an_arch_json_is_one_line(saved: Path, data: st.DataObject) -> None:
    content = json.loads(saved.read_text())
    place: Any = content
    for _ in range(data.draw(st.integers(0, 3))):
        inner = [key for key, value in place.items() if isinstance(value, dict) and value]
        if not inner:
            break
        place = place[data.draw(st.sampled_from(inner))]
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(json_values)
    path = saved.with_name("edited.json")
    path.write_text(json.dumps(content))
    either_loads_or_one_line(lambda: load(path))


@settings(max_examples=40, deadline=None)
@given(value=json_values)
def test_C3_any_yaml_as_a_table_is_one_line(value: Any) -> None:
    either_loads_or_one_line(lambda: parse(yaml.safe_dump(value), "table.yaml"))
