"""The schemas of docs/reference/formats: they are valid, complete, accept real files and refuse damaged ones.

Files of whole runs are validated by tests/test_quick_start.py and tests/test_commands.py.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from jsonschema import Draft202012Validator

from nas.inference.model_spec import ModelFile, ModelSpec, Port, Sides
from nas.metrics.metric import Metric
from nas.planning.classification import plan_classification
from nas.planning.plan import KEYS, SECTIONS, Plan
from nas.planning.segmentation import plan_segmentation
from nas.provenance import DataFacts, Provenance, Replication, SearchRecord, SplitFacts
from nas.retraining.result import COSTS, TrainResult
from nas.task_spec import TaskSpec
from nas.trials_table import TrialsTable
from tests.conftest import REPO
from tests.formats import FORMATS, NAMES, check, check_files, schema, study_content, table_content
from tests.plans import MACHINE, Computed, case, classification, segmentation

TABLES = sorted((REPO / "benchmarks/tables").glob("*.h5"))


def fields(cls: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(cls)}


def properties(name: str, *path: str) -> set[str]:
    found = schema(name)
    for key in path:
        found = found[key]
    return set(found["properties"])


@pytest.mark.parametrize("name", NAMES)
def test_schemas_are_valid_and_have_a_page(name: str) -> None:
    Draft202012Validator.check_schema(schema(name))
    page = FORMATS / ("bundle.md" if name == "model" else f"{name}.md")
    assert f"({name}.schema.json)" in page.read_text()


def test_schemas_have_the_fields_of_the_classes() -> None:
    provenance = ("properties", "provenance")
    assert properties("arch", *provenance) == fields(Provenance)
    assert properties("arch", *provenance, "properties", "search") == fields(SearchRecord)
    replication = (*provenance, "properties", "search", "properties", "replication")
    assert properties("arch", *replication) == fields(Replication)
    for name, cls in (("task_spec", TaskSpec), ("data_facts", DataFacts), ("split_facts", SplitFacts)):
        assert properties("arch", "$defs", name) == fields(cls)
    assert properties("model") == fields(ModelSpec) | {"schema", "sha256"}
    for path, cls in ((("$defs", "port"), Port), (("$defs", "file"), ModelFile), (("properties", "sides"), Sides)):
        assert properties("model", *path) == fields(cls)
    assert properties("result") == fields(TrainResult) - {"costs"} | set(COSTS) | {"sha256"}
    assert properties("result", "$defs", "metric") == fields(Metric)
    table = properties("trials-table", "properties", "attributes") - {"format", "sha256"}
    table |= properties("trials-table", "properties", "datasets")
    assert table | {"metrics", "curves", "cases"} == {re.sub("_N.?$", "", name) for name in fields(TrialsTable)}


def test_written_files_are_valid(results: Path) -> None:
    assert check_files(results / "s")["arch"] == 1
    assert check_files(results / "bundle") == dict.fromkeys(NAMES, 0) | {"arch": 1, "model": 1}
    check("study", study_content(f"sqlite:///{results}/study.db", "one"))


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.name)
def test_published_tables_are_valid(path: Path) -> None:
    check("trials-table", table_content(path))


@pytest.fixture(scope="module")
def plans() -> list[Plan]:
    cases = [case(str(number)) for number in range(20)]
    labelled = [case(str(number), (28, 28, 28), label=number % 2) for number in range(20)]
    return [
        plan_segmentation(segmentation(cases), MACHINE, Computed()),
        plan_classification(classification(labelled), MACHINE, Computed()),
    ]


def test_plans_are_valid(plans: list[Plan], tmp_path: Path) -> None:
    for number, plan in enumerate(plans):
        plan.write(tmp_path / f"{number}/plan.yaml")
    assert check_files(tmp_path)["plan"] == 2
    sections = (*SECTIONS.values(), "reference", "fingerprint")
    assert properties("plan") == {"plan", "task", *sections} == set(KEYS)
    written = [set(plan.fingerprint) for plan in plans]
    assert set.union(*written) == set(schema("plan")["$defs"]["fingerprint"]["properties"])
    content = yaml.safe_load((tmp_path / "0/plan.yaml").read_text())
    for change in (
        lambda one: one.pop("decisions"),
        lambda one: one.update(plan=2),
        lambda one: one["search"].update({"training..epochs": 1}),
        lambda one: one["fingerprint"]["shape"].pop("median"),
    ):
        changed = copy.deepcopy(content)
        change(changed)
        with pytest.raises(AssertionError, match="plan"):
            check("plan", changed)


def test_damaged_files_are_refused(results: Path) -> None:
    arch = json.loads((results / "s/arch.json").read_text())
    card = json.loads((results / "bundle/model.json").read_text())
    study = study_content(f"sqlite:///{results}/study.db", "one")
    table = table_content(TABLES[0])
    for name, content, change in (
        ("arch", arch, lambda one: one.pop("genes")),
        ("arch", arch, lambda one: one.update(id="abc")),
        ("arch", arch, lambda one: one["task"].update(dims=4)),
        ("arch", arch, lambda one: one["provenance"]["search"].pop("data")),
        ("model", card, lambda one: one["inputs"][0].update(axes="XYZ")),
        ("model", card, lambda one: one["weights"].update({"weights.pt": "0"})),
        ("study", study, lambda one: one["study"]["voxnas:spec"].update(schema=2)),
        ("study", study, lambda one: one["trials"].append({"voxnas:genes": [0.5]})),
        ("trials-table", table, lambda one: one["datasets"]["genes"].update(dtype="float64")),
        ("trials-table", table, lambda one: one["attributes"].pop("sha256")),
    ):
        changed = copy.deepcopy(content)
        check(name, changed)
        change(changed)
        with pytest.raises(AssertionError, match=name):
            check(name, changed)


def test_the_code_of_the_pages_runs(
    results: Path, plans: list[Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder with the files that the pages name."""
    (tmp_path / "outputs/demo").mkdir(parents=True)
    source = f"sqlite:///{results}/study.db"
    optuna.copy_study(
        from_study_name="one", from_storage=source, to_storage=f"sqlite:///{tmp_path}/outputs/demo/study.db",
        to_study_name="demo",
    )  # fmt: skip
    shutil.copy(results / "s/arch.json", tmp_path / "outputs/demo/arch.json")
    shutil.copy(TABLES[0], tmp_path / "trials.h5")
    plans[0].write(tmp_path / "plan.yaml")
    for path in FORMATS.glob("*.schema.json"):
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    for page in ("arch", "plan", "study", "trials-table"):
        code = re.findall(r"^```python\n(.*?)^```", (FORMATS / f"{page}.md").read_text(), re.M | re.S)[-1]
        names: dict[str, Any] = {}
        exec(compile(code, page, "exec"), names)
        assert "jsonschema" in names
