"""`voxnas tables`: a small table from its file to Markdown, csv and LaTeX; resuming, missing data, mistakes."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module

from experiments.conf_files import tables
from experiments.context import write_config
from experiments.plain_settings import resolved
from experiments.sweep import register_resolvers
from experiments.tables.command import _shown
from experiments.tables.data import data_digest
from experiments.tables.latex import escaped
from experiments.tables.plan import data_folders, plan
from experiments.tables.results import Computed, Results
from experiments.tables.shape import logistic
from experiments.tables.spec import DataNeed, Table, load, parse
from experiments.train.config import TrainConfig
from nas.errors import NASError
from nas.retraining.pooled import read_pooled
from nas.retraining.result import TrainResult
from tests import paper_tables
from tests.commands import refused, voxnas

SMALL = """
title: "A small table, 100 % made"
about: "Nothing is trained."
score: auc
columns:
  - {name: auc, label: AUC, digits: 3, interval: true}
  - {name: accuracy, label: "acc. (%)", digits: 1, scale: 100}
  - {name: params, label: "params (M)", digits: 4, scale: 1.0e-6}
sizes:
  quick: {seeds: [0, 1], words: {strong: "3.0"}, note: "Two seeds."}
  full: {seeds: [0, 1, 2], words: {strong: "3.0"}}
data:
  scans: {folder: scans_1, files: ["*.nii"], source: "example.org, by registration."}
sections:
  - title: Published
    id: published
    rows:
      - {name: "Net_1 & co", values: {auc: 0.9, params: "14"}, source: "Somebody, 2020", comparable: false,
         note: "50 % of it"}
  - title: Ours
    id: ours
    against: weak
    rows:
      - {name: weak, steps: [{_target_: tests.paper_tables.training, name: weak, signal: 0.3}], minutes: {quick: 1}}
      - {name: strong, steps: [{_target_: tests.paper_tables.training, name: strong, signal: 3.0}], minutes: {quick: 1}}
      - {name: volume, of: weak, system: volume}
      - {name: needs data, needs: [scans], steps: ["train data.root={data} seed={seed}"], minutes: {full: 90}}
      - {name: after it, call: {_target_: tests.paper_tables.number, value: 1.0, folder: "{row:needs-data}/x"}}
      - {name: large, sizes: [full], steps: ["train seed={seed}"], minutes: {full: 90}}
      - {name: long, steps: ["train seed={seed}"], minutes: {quick: 61}}
  - title: Counts
    id: counts
    columns: [params]
    rows:
      - {name: exact, values: {auc: 0.5}, source: "Somebody, 2020",
         call: {_target_: tests.paper_tables.number, value: 16128}}
      - {name: of seeds, seeds: {quick: 2}, call: {_target_: tests.paper_tables.of_seed}}
"""


@pytest.fixture(autouse=True)
def _fresh() -> None:
    paper_tables.calls.clear()
    paper_tables.interrupt_at.clear()


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VOXNAS_DATA", raising=False)
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


def test_a_size_that_a_table_lacks_is_refused(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(voxnas(capsys, "tables", "--allow-package=tests", small, "--size", "cpu"), "--size cpu", "quick, full")


def test_a_small_table_from_its_file_to_latex(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = voxnas(capsys, "tables", "--allow-package=tests", small)
    assert code == 0, err
    folder = Path("outputs/tables/small")
    text = (folder / "table.md").read_text()
    assert text in out
    assert "| Net_1 & co [1] [2] | published | 0.900 | – | 14 |" in text
    assert "waits for data: scans" in text
    assert "waits for the row ours/needs-data" in text
    assert "left out of size=quick: about 90 minutes with size=full" in text
    assert "left out of size=quick, whose rows may take 60 minutes together (--minutes): about 61 minutes" in text
    assert "example.org, by registration. Not there; waiting: ours/needs-data" in text
    assert "no data scans: example.org, by registration. Waiting: ours/needs-data." in out
    assert "higher than weak: strong" in text
    assert str(small.parent) not in text

    rows = list(csv.DictReader((folder / "table.csv").read_text().splitlines()))
    (auc,) = (row for row in rows if row["row"] == "strong" and row["column"] == "AUC")
    runs = sorted((folder / "runs/quick/ours").glob("strong-*/seed*/train"))
    per_seed = [read_pooled("x", [run]).scores.over()["auc"] for run in runs]
    assert [float(value) for value in auc["per_seed"].split()] == pytest.approx(per_seed)
    assert float(auc["value"]) == pytest.approx(np.mean(per_seed))
    assert float(auc["low"]) < float(auc["value"]) <= float(auc["high"])
    assert (auc["seeds"], auc["cases"], auc["groups"], auc["origin"]) == ("0 1", "60", "30", "ours")
    (apart,) = (row for row in rows if row["row"] == "strong" and row["column"] == "AUC minus that of ours/weak")
    (weak,) = (row for row in rows if row["row"] == "weak" and row["column"] == "AUC")
    assert float(apart["value"]) == pytest.approx(float(auc["value"]) - float(weak["value"]))
    assert float(apart["low"]) > 0
    (volume,) = (row for row in rows if row["row"] == "volume" and row["column"] == "AUC")
    assert float(volume["value"]) == 0.5
    (mean,) = (row for row in rows if row["row"] == "of-seeds" and row["column"] == "params (M)")
    assert float(mean["value"]) == pytest.approx(10.5e-6)
    assert float(mean["low"]) == pytest.approx((10.5 - 12.7062 / 2) * 1e-6, rel=1e-4)

    latex = (folder / "table.tex").read_text()
    assert r"Net\_1 \& co\textsuperscript{1,2} & published & 0.900" in latex
    assert r"A small table, 100 \% made" in latex
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 3


def test_the_same_command_again_prints_the_same_without_computing(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert voxnas(capsys, "tables", "--allow-package=tests", small)[0] == 0
    folder, first = Path("outputs/tables/small"), list(paper_tables.calls)
    before = {name: (folder / name).read_text() for name in ("table.md", "table.csv", "table.tex", "table.json")}
    assert voxnas(capsys, "tables", "--allow-package=tests", small)[0] == 0
    assert paper_tables.calls == first
    assert before == {name: (folder / name).read_text() for name in before}

    small.write_text(SMALL.replace("name: strong, signal: 3.0", "name: strong, signal: 2.0"))
    assert voxnas(capsys, "tables", "--allow-package=tests", small)[0] == 0
    assert paper_tables.calls[len(first) :] == ["strong 0", "strong 1"]


def test_an_interrupted_table_continues(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paper_tables.interrupt_at.append("strong")
    assert voxnas(capsys, "tables", "--allow-package=tests", small)[0] == 130
    assert [call for call in paper_tables.calls if "strong" in call] == ["strong 0"]
    assert "weak 1" in paper_tables.calls
    paper_tables.calls.clear()
    assert voxnas(capsys, "tables", "--allow-package=tests", small)[0] == 0
    assert [call for call in paper_tables.calls if "weak" in call] == []
    assert [call for call in paper_tables.calls if "strong" in call] == ["strong 0", "strong 1"]


def test_only_some_rows_and_other_spellings(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, _ = voxnas(
        capsys, "tables", "--allow-package=tests", small, "--rows", "exact", "out=results", "size=quick"
    )
    assert code == 0
    assert paper_tables.calls == ["number 16128"]
    assert "not asked for (--rows)" in (Path("results") / "small/table.md").read_text()
    refused(voxnas(capsys, "tables", "--allow-package=tests", small, "--rows", "nowhere"), "--rows nowhere")
    refused(voxnas(capsys, "tables", "--allow-package=tests", small, "size=huge"), "--size")


def test_a_row_that_fails_does_not_end_the_others(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small.write_text(
        SMALL.replace("[{_target_: tests.paper_tables.training, name: weak, signal: 0.3}]", '["nosuch x"]')
    )
    code, _, err = voxnas(capsys, "tables", "--allow-package=tests", small)
    assert code == 2
    assert "failed: ours/weak: got voxnas nosuch" in err
    assert "failed: ours/volume: needs ours/weak" in err
    assert {"strong 0", "strong 1", "number 16128"} <= set(paper_tables.calls)


def test_data_are_found_by_folder_or_by_name(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, table = load(str(small), ["tests"])
    assert data_folders(table, small.parent, {}) == {}
    (small.parent / "scans_1").mkdir()
    (small.parent / "scans_1/a.nii").touch()
    assert data_folders(table, small.parent, {}) == {"scans": small.parent / "scans_1"}
    (row,) = (one for one in plan(table, "full", {"scans": Path("x")}, [], 1e9) if one.key == "ours/needs-data")
    assert row.reason == ""
    assert row.commands == ("voxnas train data.root=DATA/scans_1 seed=SEED hydra.run.dir=FOLDER/train",)
    refused(voxnas(capsys, "tables", "--allow-package=tests", small, "--data", f"scans={small.parent}"), "*.nii")
    refused(
        voxnas(capsys, "tables", "--allow-package=tests", small, "--data", f"nowhere={small.parent}"), "one of scans"
    )
    refused(voxnas(capsys, "tables", "--allow-package=tests", small, "--data-root", "nowhere"), "--data-root nowhere")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("digits: 3, interval", "digits: three, interval", "columns.0.digits=three"),
        ("score: auc", "score: dice", "score=dice"),
        ("against: weak", "against: nobody", "against=nobody"),
        ("values: {auc: 0.9", "values: {auk: 0.9", "values.auk"),
        ("of: weak", "of: strength", "of=strength"),
        ("needs: [scans]", "needs: [scan]", "needs=scan"),
        (', source: "Somebody, 2020", comparable', ", comparable", "values without a source"),
        ("title: Ours", "titel: Ours", "sections.1.titel"),
        ("{name: strong, steps", "{name: weak, steps", "row weak twice"),
        ("full: {seeds: [0, 1, 2]", "fool: {seeds: [0, 1, 2]", "sizes.fool"),
        ("title: Counts", "title: [", "small.yaml"),
        ("id: published\n", "id: published\n    against: net-1-co\n", "against=net-1-co"),
        ("id: counts\n", "id: counts\n    against: exact\n", "against=exact"),
        ("id: counts\n", "id: ../../evil\n", "id='../../evil'"),
        ("{name: exact,", "{name: exact, id: ../evil,", "id='../evil'"),
        ("{name: strong,", "{name: strong, result: ../../x,", "result=../../x"),
        ("{_target_: tests.paper_tables.number, value: 16128}", "{value: 16128}", "without _target_"),
    ],
)
def test_a_wrong_file_is_one_line(
    old: str, new: str, words: str, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert old in SMALL
    small.write_text(SMALL.replace(old, new))
    refused(voxnas(capsys, "tables", "--allow-package=tests", small), words)
    assert paper_tables.calls == []


def test_unknown_words_rows_and_functions_are_named(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NASError, match=r"\{word\} in a step"):
        plan(parse(SMALL.replace("data.root={data}", "data.root={word}"), "x", ["tests"]), "quick", {}, [], 60)
    with pytest.raises(NASError, match="an earlier row of the section"):
        plan(parse(SMALL.replace("{row:needs-data}", "{row:long}"), "x", ["tests"]), "quick", {}, [], 60)
    small.write_text(SMALL.replace("tests.paper_tables.of_seed", "tests.paper_tables.nosuch"))
    code, _, err = voxnas(capsys, "tables", "--allow-package=tests", small)
    assert code == 2
    assert "failed: counts/of-seeds: got _target_=tests.paper_tables.nosuch" in err


def test_trainings_are_compared_by_another_command(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(
        voxnas(capsys, "tables", "outputs/train/a", "outputs/train/b"), "voxnas compare outputs/train/a outputs/train/b"
    )
    refused(voxnas(capsys, "tables", "outputs/train/a/result.json"), "voxnas compare")
    refused(voxnas(capsys, "tables", "nowhere"), "one of brain_tumor, dints")
    refused(voxnas(capsys, "tables"), "0 tables")


def test_lists(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = voxnas(capsys, "tables", "--list")
    assert code == 0
    assert {line.split()[0] for line in out.splitlines()} == set(tables())
    code, out, _ = voxnas(capsys, "tables", "--allow-package=tests", small, "--list")
    assert code == 0
    assert "ours/large" in out
    assert "full about 90 min" in out


def test_a_damaged_table_json_is_one_line(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("outputs/tables/small/table.json")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"rows": [1]}))
    refused(voxnas(capsys, "tables", "--allow-package=tests", small), "table.json", "delete it")


def test_latex_escapes() -> None:
    assert escaped(r"50 % of $x_1^2 & {a}#~\b – ± 3") == (
        r"50 \% of \$x\_1\textasciicircum{}2 \& \{a\}\#\textasciitilde{}\textbackslash{}b -- $\pm$ 3"
    )


def test_a_table_is_frozen() -> None:
    _, table = load("medmnist")
    assert isinstance(table, Table)
    with pytest.raises(ValueError, match="frozen"):
        table.title = "x"  # type: ignore[misc]


def test_messages_in_a_published_table_name_no_folder_of_this_machine() -> None:
    places = {"/home/me/outputs/tables/x/runs/cpu": "RUNS", "/home/me/data/scans": "DATA/scans"}
    message = "got /home/me/outputs/tables/x/runs/cpu/a/seed0 of /home/me/data/scans/1.npy"
    assert _shown(message, places) == "got RUNS/a/seed0 of DATA/scans/1.npy"


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
    one, other = Results(tmp_path), Results(tmp_path)
    one.put("quick:s/a", Computed("i", {}))
    other.put("full:s/a", Computed("j", {}))
    one.put("quick:s/b", Computed("k", {}))
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
