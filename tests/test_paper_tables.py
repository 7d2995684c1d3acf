"""`voxnas tables`: a small table from its file to Markdown, csv and LaTeX; resuming, missing data, mistakes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from experiments.conf_files import tables
from experiments.tables.command import _shown
from experiments.tables.latex import escaped
from experiments.tables.plan import data_folders, plan
from experiments.tables.spec import Table, load, parse
from nas.errors import NASError
from nas.retraining.pooled import read_pooled
from tests import paper_tables
from tests.commands import refused, voxnas
from tests.paper_tables import SMALL


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
