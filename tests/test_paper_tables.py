"""`voxnas tables`: files of conf/table, published values, and a small table from its file to LaTeX."""

from __future__ import annotations

import csv
import json
import re
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest

from experiments.brain_tumor.command import parser as brats_parser
from experiments.conf_files import tables, text_of
from experiments.tables.counts import closed_form, naslung, nearest_naslung, network
from experiments.tables.latex import escaped
from experiments.tables.plan import data_folders, plan
from experiments.tables.spec import SIZES, Table, load, parse
from nas.errors import NASError
from nas.retraining.pooled import read_pooled
from search_spaces import NASLungSpace
from tests import paper_tables
from tests.commands import refused, voxnas

SEVEN = {"naslung", "naslung_params", "dints", "lung_screening", "brain_tumor", "lung_detector", "medmnist"}
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


def test_every_table_of_conf_loads_and_all_seven_are_there() -> None:
    assert set(tables()) >= SEVEN
    for name in tables():
        assert text_of(f"table/{name}.yaml").startswith(f"# voxnas tables {name}"), name
        _, table = load(name)
        assert any(row.is_ours for section in table.sections for row in section.rows)
        assert all(not row.values or row.source for section in table.sections for row in section.rows)


@pytest.mark.parametrize("name", sorted(SEVEN))
def test_every_step_is_a_command_with_known_settings_or_a_function_with_its_arguments(name: str) -> None:
    _, table = load(name)
    everything = {key: Path("/data") / key for key in table.data}
    seen: set[str] = set()
    with hydra.initialize_config_module("conf", version_base="1.3"):
        for size in SIZES:
            for row in plan(table, size, everything, [], float("inf")):
                if re.search(r"list-([2-9]|10)$", row.key):
                    continue  # as list-1, with another network
                for step in row.steps:
                    if isinstance(step, tuple):
                        _compose(step, seen)
                    else:
                        _bind(dict(step))


def _compose(words: tuple[str, ...], seen: set[str]) -> None:
    command, *settings = [re.sub(r"\{[^}]*\}", "0", word) if "{" in word else word for word in words]
    if command == "brats":
        brats_parser().parse_args(settings)
    elif (text := " ".join(settings)) not in seen:
        seen.add(text)
        assert command in ("search", "train")
        own = [word for word in settings if not word.startswith("hydra.")]
        config = hydra.compose(command, overrides=own)
        assert config.data is not None


def _bind(step: dict[str, Any]) -> None:
    module, _, name = str(step.pop("_target_")).rpartition(".")
    function = getattr(import_module(module), name)
    given = {key: None for key in ("folder", "seed") if key in signature(function).parameters}
    signature(function).bind(**{**given, **step})


def published(name: str, section: str) -> dict[str, dict[str, float | str]]:
    _, table = load(name)
    (found,) = (one for one in table.sections if one.id == section)
    return {row.name: dict(row.values) for row in found.rows if row.values}


def test_published_rows_of_nas_lung_are_those_of_its_readme() -> None:
    first, second = published("naslung", "published"), published("naslung", "models")
    assert len(first) + len(second) == 16
    assert first["NASLung"] == {
        "accuracy": 90.77,
        "sensitivity": 85.37,
        "specificity": 95.04,
        "f1": 89.29,
        "para": 16.84,
    }
    assert first["DeepLung"] == {"accuracy": 90.44, "sensitivity": 81.42, "para": 141.57}
    assert first["AE-DPN"]["para"] == 678.69
    columns = ("accuracy", "sensitivity", "specificity", "f1", "para")
    rows = """88.83 87.20 90.12 87.50 0.14
        88.42 84.38 91.46 86.67 2.61
        88.17 84.44 91.60 86.50 3.90
        88.13 83.20 92.28 86.30 2.54
        87.97 83.72 91.31 86.22 0.43
        87.77 83.67 91.00 86.03 0.22
        87.76 84.14 89.79 85.98 0.86
        88.00 82.43 92.69 85.97 4.02
        88.04 78.01 96.09 85.36 4.06
        87.22 82.70 90.92 85.32 0.24"""
    expected = [dict(zip(columns, map(float, line.split()), strict=True)) for line in rows.splitlines()]
    assert list(second.values()) == expected
    _, table = load("naslung")
    notes = {row.name: row.note for section in table.sections[:2] for row in section.rows}
    assert "0.14 is a file size in MB, 16,128 parameters are 0.016 M" in notes["Model-1"]
    assert "no parameter count of any of the 42 networks" in notes["NASLung"]
    assert all("best test epoch, folds 1 to 5" in notes[f"Model-{number}"] for number in range(1, 11))


def test_published_rows_of_the_other_tables() -> None:
    assert published("medmnist", "published")["auto-sklearn"] == {"auc": 0.828, "accuracy": 0.802}
    assert published("medmnist", "published")["ResNet-18, 3D"] == {"auc": 0.827, "accuracy": 0.721, "params": "33.141"}
    assert published("lung_detector", "published")["YOLOv5s"] == {"map50": 0.824, "map": "0.35"}
    assert published("brain_tumor", "size")["published network"] == {"params": 38.192, "flops": 409.996}
    assert published("brain_tumor", "accuracy") == {
        "published, validation subjects": {"wt": 0.906, "tc": 0.844, "et": 0.784},
        "published, test subjects": {"wt": 0.878, "tc": 0.795, "et": 0.720},
    }
    sizes = published("lung_screening", "size")
    assert sizes["stage 1, published"] == {"params": 34.526, "published_g": "261.901"}
    assert sizes["stage 2, published"] == {"params": ".050", "published_g": "0.002796"}
    assert published("lung_screening", "published") == {"stage 1": {"dice": ".979"}, "stage 2": {"accuracy": "98"}}
    assert published("dints", "released")["arch_code_cvpr.pth, MONAI"] == {"params": "152.36", "macs": "334.4"}
    pancreas = published("dints", "pancreas")
    assert pancreas["MONAI bundle, now"] == {"dice": "0.62"}
    assert pancreas["MONAI bundle, before 2022-11"] == {"dice": "0.72"}


def test_42_networks_by_formula_have_the_counts_of_the_authors_code() -> None:
    _, table = load("naslung_params")
    by_id = {section.id: section for section in table.sections}
    rows = [*by_id["list"].rows, *by_id["two"].rows]
    assert len(rows) == 42
    for row in rows:
        assert row.call is not None
        space, arch = NASLungSpace.from_name(str(row.call["name"]))
        assert isinstance(space, NASLungSpace)
        assert closed_form(space, arch) == row.values["authors"] == row.call["authors"], row.name
    assert len({str(row.call["name"]) for row in rows if row.call}) == 42


def test_rows_of_the_first_readme_table_are_four_bytes_a_parameter() -> None:
    _, table = load("naslung_params")
    (section,) = (one for one in table.sections if one.id == "first")
    rows = [row for row in section.rows if row.call]
    assert [row.values["readme"] for row in rows] == [7.99, 8.05, 8.05, 0.63, 7.79, 11.28, 11.33, 11.28, 11.33]
    for row in rows:
        assert row.call is not None
        found = naslung(str(row.call["name"]), readme=float(row.call["readme"]))
        assert found["agrees"] == "formula; README, in MB", row.name
    wrong = naslung("model-1", authors=16129, readme=0.14)
    assert wrong["agrees"] == "formula; authors' code: no, +1; README: no, 0.06 MB here"
    assert nearest_naslung(16.84)["agrees"] == "of none of the 42 networks, in M or in MB"
    assert "model-1" in nearest_naslung(0.02)["agrees"]


def test_both_conventions_of_the_lung_screening_are_exact() -> None:
    small = network("search_spaces.NodulePatchSpace", "lung-screening", (1, 64, 64))
    assert (small["params"], small["macs"], small["old_thop"]) == (50_162, 2_721_768, 2_796_448)
    large = network("search_spaces.UNetSpace", "lung-screening", (1, 512, 512), {"old_thop": 261_901_254_656})
    assert (large["params"], large["macs"]) == (34_525_954, 261_103_812_608)
    assert large["agrees"] == "old_thop: exactly"


def test_a_small_table_from_its_file_to_latex(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = voxnas(capsys, "tables", small)
    assert code == 0, err
    folder = Path("outputs/tables/small")
    text = (folder / "table.md").read_text()
    assert text in out
    assert "| Net_1 & co [1] [2] | published | 0.900 | – | 14 |" in text
    assert "waits for data: scans" in text
    assert "waits for the row ours/needs-data" in text
    assert "left out of size=quick: about 90 minutes with size=full" in text
    assert "left out of size=quick, which would take longer than an hour: about 61 minutes" in text
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
    assert voxnas(capsys, "tables", small)[0] == 0
    folder, first = Path("outputs/tables/small"), list(paper_tables.calls)
    before = {name: (folder / name).read_text() for name in ("table.md", "table.csv", "table.tex", "table.json")}
    assert voxnas(capsys, "tables", small)[0] == 0
    assert paper_tables.calls == first
    assert before == {name: (folder / name).read_text() for name in before}

    small.write_text(SMALL.replace("name: strong, signal: 3.0", "name: strong, signal: 2.0"))
    assert voxnas(capsys, "tables", small)[0] == 0
    assert paper_tables.calls[len(first) :] == ["strong 0", "strong 1"]


def test_an_interrupted_table_continues(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paper_tables.interrupt_at.append("strong")
    assert voxnas(capsys, "tables", small)[0] == 130
    assert [call for call in paper_tables.calls if "strong" in call] == ["strong 0"]
    assert "weak 1" in paper_tables.calls
    paper_tables.calls.clear()
    assert voxnas(capsys, "tables", small)[0] == 0
    assert [call for call in paper_tables.calls if "weak" in call] == []
    assert [call for call in paper_tables.calls if "strong" in call] == ["strong 0", "strong 1"]


def test_only_some_rows_and_other_spellings(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, _ = voxnas(capsys, "tables", small, "--rows", "exact", "out=results", "size=quick")
    assert code == 0
    assert paper_tables.calls == ["number 16128"]
    assert "not asked for (--rows)" in (Path("results") / "small/table.md").read_text()
    refused(voxnas(capsys, "tables", small, "--rows", "nowhere"), "--rows nowhere")
    refused(voxnas(capsys, "tables", small, "size=huge"), "--size")


def test_a_row_that_fails_does_not_end_the_others(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small.write_text(
        SMALL.replace("[{_target_: tests.paper_tables.training, name: weak, signal: 0.3}]", '["nosuch x"]')
    )
    code, _, err = voxnas(capsys, "tables", small)
    assert code == 2
    assert "failed: ours/weak: got voxnas nosuch" in err
    assert "failed: ours/volume: needs ours/weak" in err
    assert {"strong 0", "strong 1", "number 16128"} <= set(paper_tables.calls)


def test_data_are_found_by_folder_or_by_name(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, table = load(str(small))
    assert data_folders(table, small.parent, {}) == {}
    (small.parent / "scans_1").mkdir()
    (small.parent / "scans_1/a.nii").touch()
    assert data_folders(table, small.parent, {}) == {"scans": small.parent / "scans_1"}
    (row,) = (one for one in plan(table, "full", {"scans": Path("x")}, [], 1e9) if one.key == "ours/needs-data")
    assert row.reason == ""
    assert row.commands == ("voxnas train data.root=DATA/scans_1 seed=SEED hydra.run.dir=FOLDER/train",)
    refused(voxnas(capsys, "tables", small, "--data", f"scans={small.parent}"), "*.nii")
    refused(voxnas(capsys, "tables", small, "--data", f"nowhere={small.parent}"), "one of scans")
    refused(voxnas(capsys, "tables", small, "--data-root", "nowhere"), "--data-root nowhere")


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
        ("{_target_: tests.paper_tables.number, value: 16128}", "{value: 16128}", "without _target_"),
    ],
)
def test_a_wrong_file_is_one_line(
    old: str, new: str, words: str, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert old in SMALL
    small.write_text(SMALL.replace(old, new))
    refused(voxnas(capsys, "tables", small), words)
    assert paper_tables.calls == []


def test_unknown_words_rows_and_functions_are_named(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NASError, match="word. in a step"):
        plan(parse(SMALL.replace("data.root={data}", "data.root={word}"), "x"), "quick", {}, [], 60)
    with pytest.raises(NASError, match="an earlier row of the section"):
        plan(parse(SMALL.replace("{row:needs-data}", "{row:long}"), "x"), "quick", {}, [], 60)
    small.write_text(SMALL.replace("tests.paper_tables.of_seed", "tests.paper_tables.nosuch"))
    code, _, err = voxnas(capsys, "tables", small)
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
    code, out, _ = voxnas(capsys, "tables", small, "--list")
    assert code == 0
    assert "ours/large" in out
    assert "full about 90 min" in out


def test_a_damaged_table_json_is_one_line(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("outputs/tables/small/table.json")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"rows": [1]}))
    refused(voxnas(capsys, "tables", small), "table.json", "delete it")


def test_latex_escapes() -> None:
    assert escaped(r"50 % of $x_1^2 & {a}#~\b – ± 3") == (
        r"50 \% of \$x\_1\textasciicircum{}2 \& \{a\}\#\textasciitilde{}\textbackslash{}b -- $\pm$ 3"
    )


def test_a_table_is_frozen() -> None:
    _, table = load("medmnist")
    assert isinstance(table, Table)
    with pytest.raises(ValueError, match="frozen"):
        table.title = "x"  # type: ignore[misc]
