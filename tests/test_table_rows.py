"""Rows of `voxnas tables`: their data, paired differences, functions, limits of minutes."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hydra import compose, initialize_config_module

from experiments.context import write_config
from experiments.plain_settings import resolved
from experiments.sweep import register_resolvers
from experiments.tables.data import data_digest
from experiments.tables.plan import Planned, plan
from experiments.tables.results import Computed, Results
from experiments.tables.shape import logistic
from experiments.tables.spec import DataNeed, parse
from experiments.train.config import TrainConfig
from nas.retraining.result import TrainResult
from tests import paper_tables
from tests.commands import voxnas
from tests.paper_tables import SMALL

OF_DATA = """
title: t
about: a
columns: [{name: params, label: P, digits: 0}]
sizes: {quick: {seeds: [0]}, full: {seeds: [0]}}
data: {d: {folder: d, files: ["*.txt"], source: s}}
sections:
  - title: s
    id: s
    needs: [d]
    rows:
      - {name: read, call: {_target_: tests.paper_tables.read, path: "{data}/x.txt"}}
      - {name: step, steps: [{_target_: tests.paper_tables.read, path: "{data}/x.txt"}],
         call: {_target_: tests.paper_tables.read, path: "{data}/x.txt"}}
      - {name: no data, needs: [], call: {_target_: tests.paper_tables.number, value: 3}}
"""


def _values(place: str | Path = "outputs/tables/small") -> dict[str, str]:
    rows = csv.DictReader((Path(place) / "table.csv").read_text().splitlines())
    return {row["row"]: row["text"] for row in rows}


def test_rows_of_other_data_are_computed_anew(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small.write_text(OF_DATA)
    for name, number in (("dA", 10), ("dB", 99)):
        Path(name).mkdir()
        (Path(name) / "x.txt").write_text(str(number))

    def values(*words: object) -> tuple[dict[str, str], int]:
        paper_tables.calls.clear()
        assert voxnas(capsys, "tables", "--allow-package=tests", small, *words)[0] == 0
        return _values(), len(paper_tables.calls)

    assert values("--data", "d=dA") == ({"read": "10", "step": "10", "no-data": "3"}, 4)
    assert values("--data", "d=dB") == ({"read": "99", "step": "99", "no-data": "3"}, 3)
    assert values("--data", "d=dB")[1] == 0
    assert values()[0]["read"] == "99"  # a table with its results is shown where the data are not
    shutil.copytree("dB", "moved")
    (Path("moved") / ".hidden.txt").touch()
    assert values("--data", "d=moved")[1] == 0
    (Path("moved") / "x.txt").write_text("98")
    assert values("--data", "d=moved") == ({"read": "98", "step": "98", "no-data": "3"}, 3)


def test_a_large_file_is_known_by_its_size_begin_and_end(tmp_path: Path) -> None:
    need, path = DataNeed(folder="d", files=("sub*",), source="s"), tmp_path / "subset0" / "a.bin"
    path.parent.mkdir()
    found = set()
    for content in (bytes(3 << 20), bytes(3 << 20) + b"1", b"1" + bytes(3 << 20), bytes((3 << 20) + 1)):
        path.write_bytes(content)
        found.add(data_digest(tmp_path, need))
    assert len(found) == 4
    (tmp_path / "other").touch()
    assert data_digest(tmp_path, need) in found


def _difference(row: str = "strong", place: str | Path = "outputs/tables/small") -> list[tuple[str, str]]:
    rows = csv.DictReader((Path(place) / "table.csv").read_text().splitlines())
    return [(one["column"], one["text"]) for one in rows if one["row"] == row and " minus that of " in one["column"]]


def test_differences_follow_reference_and_score(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def computed(text: str) -> list[tuple[str, str]]:
        small.write_text(text)
        paper_tables.calls.clear()
        voxnas(capsys, "tables", "--allow-package=tests", small, "--rows", "strong", "volume")
        return _difference()

    ((label, first),) = computed(SMALL)
    assert label == "AUC minus that of ours/weak"
    ((_, other),) = computed(SMALL.replace("name: weak, signal: 0.3", "name: weak, signal: 2.0"))
    assert other != first
    assert not [call for call in paper_tables.calls if "strong" in call]
    ((label, _),) = computed(SMALL.replace("score: auc", "score: accuracy"))
    assert label == "acc. (%) minus that of ours/weak"
    ((label, _),) = computed(SMALL.replace("against: weak", "against: volume"))
    assert label == "AUC minus that of ours/volume"
    assert computed(SMALL.replace("    against: weak\n", "")) == []
    assert computed(SMALL) == [("AUC minus that of ours/weak", first)]
    assert not [call for call in paper_tables.calls if "strong" in call]


def test_a_reference_that_failed_is_compared_when_it_is_there(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = "{_target_: tests.paper_tables.training, name: weak, signal: 0.3}"
    small.write_text(SMALL.replace(call, "{_target_: tests.paper_tables.fail, kind: value}"))
    assert voxnas(capsys, "tables", "--allow-package=tests", small, "--rows", "strong")[0] == 2
    assert _difference() == []
    assert "not compared in pairs: ours/weak is not finished" in Path("outputs/tables/small/table.md").read_text()
    small.write_text(SMALL)
    paper_tables.calls.clear()
    assert voxnas(capsys, "tables", "--allow-package=tests", small, "--rows", "strong")[0] == 0
    assert paper_tables.calls == ["weak 0", "weak 1"]
    assert len(_difference()) == 1
    assert "not compared" not in Path("outputs/tables/small/table.md").read_text()


def test_differences_from_elsewhere_stay_while_nothing_has_changed(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert voxnas(capsys, "tables", "--allow-package=tests", small)[0] == 0
    before = _difference()
    shutil.rmtree("outputs/tables/small/runs")
    assert voxnas(capsys, "tables", "--allow-package=tests", small)[0] == 0
    assert _difference() == before
    small.write_text(SMALL.replace("score: auc", "score: accuracy"))
    assert voxnas(capsys, "tables", "--allow-package=tests", small)[0] == 0
    assert _difference() == []
    assert "not compared in pairs: the trainings of" in Path("outputs/tables/small/table.md").read_text()


@pytest.mark.parametrize("kind", ["type", "value", "key", "os", "run"])
def test_a_function_that_fails_is_one_line(kind: str, small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = f"{{_target_: tests.paper_tables.fail, kind: {kind}}}"
    small.write_text(SMALL.replace("{_target_: tests.paper_tables.number, value: 16128}", call))
    code, _, err = voxnas(capsys, "tables", "--allow-package=tests", small, "--rows", "exact", "of-seeds")
    assert code == 2
    assert "failed: counts/exact: got tests.paper_tables.fail, which ended with" in err
    assert f"wrong {kind}" in err
    assert "second line" not in err
    assert _values()["of-seeds"] != "–"


def test_a_call_without_values_is_one_line(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small.write_text(SMALL.replace("tests.paper_tables.of_seed", "tests.paper_tables.nothing"))
    code, _, err = voxnas(capsys, "tables", "--allow-package=tests", small, "--rows", "of-seeds")
    assert code == 2
    assert "failed: counts/of-seeds: got tests.paper_tables.nothing, which returns NoneType" in err


def test_two_sizes_at_a_time_keep_the_rows_of_both(tmp_path: Path) -> None:
    def row(key: str) -> Planned:
        return cast(Planned, SimpleNamespace(key=key))

    one, other = Results(tmp_path, "quick"), Results(tmp_path, "full")
    one.put(row("s/a"), Computed("i", {}))
    other.put(row("s/a"), Computed("j", {}))
    one.put(row("s/b"), Computed("k", {}))
    assert set(json.loads((tmp_path / "table.json").read_text())["rows"]) == {"quick:s/a", "full:s/a", "quick:s/b"}
    assert [path.name for path in tmp_path.iterdir()] == ["table.json"]


def test_the_limit_is_for_the_rows_that_are_asked_for_and_open(tmp_path: Path) -> None:
    rows = "".join(
        f"      - {{name: {name}, steps: ['train seed={{seed}}'], minutes: {{quick: {minutes}}}}}\n"
        for name, minutes in (("a", 8), ("b", 20), ("c", 50), ("d", 61))
    )
    text = OF_DATA.partition("    rows:\n")[0].replace("    needs: [d]\n", "") + "    rows:\n" + rows
    table = parse(text, "x")

    def left_out(only: list[str], finished: set[str]) -> set[str]:
        planned = plan(table, "quick", {}, only, 60, lambda row: row.key in finished)
        return {row.key[-1] for row in planned if row.reason.startswith("left out")}

    assert left_out([], set()) == {"c", "d"}
    assert left_out(["c"], set()) == set()
    assert left_out([], {"s/a", "s/b"}) == {"d"}
    assert left_out([], {"s/a"}) == {"c", "d"}
    (row,) = (one for one in plan(table, "quick", {}, ["d"], 60) if one.key == "s/d")
    assert row.reason == "left out of size=quick, whose rows may take 60 minutes together (--minutes): about 61 minutes"


def _training_folder(folder: Path, *words: str) -> Path:
    """A folder of a training as far as a row beside it reads it: its configuration."""
    small = ["data.size=16", "data.spacing_mm=2.0", "device=cpu", "arch=x", "name=t", "resamples=100"]
    register_resolvers()
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("train", [*small, *words])
    write_config(folder / "config.yaml", TrainConfig.of(resolved(config)).plain())
    return folder


@pytest.mark.parametrize(
    ("words", "rounds"),
    [
        (("protocol=cross_validation", "split.folds=3"), ["fold0", "fold1", "fold2"]),
        (("split.folds=3", "rounds=1"), ["valid1"]),
    ],
)
def test_shape_numbers_have_the_rounds_of_the_training(
    words: tuple[str, ...], rounds: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    logistic(str(_training_folder(tmp_path / "like", *words)), tmp_path / "own", 0)
    result = TrainResult.load(tmp_path / "own/train/result.json")
    assert [fold["fold"] for fold in result.folds] == rounds
