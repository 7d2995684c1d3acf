"""`voxnas compare`: tables on the terminal, sweep.csv and compare.html; nothing else is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nas.comparison.record import FAILED, JobRecord
from nas.provenance import DataFacts
from tests.commands import last_line, refused, voxnas
from tests.comparisons import DAMAGED_RESULTS, rows_in, write_search, write_training
from tests.report_pages import Page, dots


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """A sweep of two strategies and two seeds, one failed job, and trainings of two networks."""
    for number, (strategy, shift) in enumerate((("random", 0.0), ("pop", 0.02))):
        for seed in (0, 1):
            folder = tmp_path / f"sweep/seed={seed},strategy={strategy}"
            scores = [0.5, 0.6 + 0.03 * seed + shift]
            write_search(folder, scores, seed, overrides={"strategy": strategy}, number=2 * number + seed)
            write_training(tmp_path / f"train/{strategy}{seed}", 0.5 + 20 * shift, seed, name=strategy)
    failed = JobRecord("search", FAILED, 9e9, 4, {"strategy": "tpe", "seed": "0"}, {"strategy": "tpe"}, "got a < b")
    failed.save(tmp_path / "sweep/seed=0,strategy=tpe")
    return tmp_path


def test_a_sweep_gets_its_table_and_its_page(outputs: Path, capsys: pytest.CaptureFixture) -> None:
    before = {path: path.read_bytes() for path in outputs.rglob("*") if path.is_file()}
    code, out, err = voxnas(capsys, "compare", outputs / "sweep")
    assert (code, err) == (0, "")
    assert "| random | 2 | 0.615 [" in out
    assert "The difference in validation AUC of pop and random is" in out or "pop is better than random" in out
    assert "seed=0,strategy=tpe: failed: got a < b" in out
    after = {path: path.read_bytes() for path in outputs.rglob("*") if path.is_file()}
    assert {path: after[path] for path in before} == before
    assert {path.relative_to(outputs).as_posix() for path in set(after) - set(before)} == {
        "sweep/sweep.csv",
        "sweep/compare.html",
    }
    rows = rows_in(outputs / "sweep/sweep.csv")
    assert [(row["strategy"], row["seed"], row["state"]) for row in rows[::2]] == [
        ("random", "0", "finished"),
        ("pop", "0", "finished"),
        ("tpe", "0", "failed"),
    ]
    assert (rows[-1]["auc"], rows[-1]["reason"], rows[-1]["folder"]) == ("", "got a < b", "seed=0,strategy=tpe")
    page = Page(outputs / "sweep/compare.html")
    page.assert_stands_alone()
    for text in ("Answer", "Paired differences", "2 pairs show large differences only", "the reference point", "tpe"):
        assert text in page.text
    assert len(dots(page.plot("Pareto fronts"))) == 8
    for title in ("AUC over trained networks", "over seconds of training", "hypervolume over trained networks"):
        assert page.plot(title) is not None


def test_searches_and_trainings_together(outputs: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["compare", outputs / "sweep", outputs / "train", "--resamples", "100"]
    code, out, _ = voxnas(capsys, *words)
    assert code == 0
    assert "| pop | 2 | " in out  # the table of trainings has a row for each network
    assert last_line(out) == "--out FOLDER also writes sweep.csv and compare.html"
    assert not list(outputs.rglob("compare.html"))
    code, out, _ = voxnas(capsys, *words, "--out", outputs / "both")
    assert code == 0
    rows = rows_in(outputs / "both/sweep.csv")
    assert [row["kind"] for row in rows] == ["search"] * 5 + ["training"] * 4
    page = Page(outputs / "both/compare.html")
    assert "4 searches and 4 trainings on nodules" in page.text
    assert "by patient" in page.text
    assert "30 patients" in page.text
    plot = page.plot("test AUC of each group")
    groups = {"random", "pop"}
    assert groups <= {text.strip() for text in plot.itertext()}
    assert len(dots(plot)) == 2 * (2 + 1)  # two seeds and their mean
    assert "AUC (higher is better): " in page.text


def test_one_seed_is_said_on_the_page(outputs: Path, capsys: pytest.CaptureFixture) -> None:
    folders = [outputs / f"sweep/seed=0,strategy={name}" for name in ("random", "pop")]
    code, out, _ = voxnas(capsys, "compare", *folders, "--out", outputs / "one")
    assert code == 0
    assert "no interval over seeds exists" in out
    page = Page(outputs / "one/compare.html")
    assert "No group has more than one seed, so no interval over seeds exists." in page.text


def test_names_of_settings_are_escaped(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for value in ("<b>a</b>", "x & y" + " and more" * 8):
        write_search(tmp_path / f"s/{len(value)}", [0.5, 0.6], overrides={"space.note": value})
    assert voxnas(capsys, "compare", tmp_path / "s")[0] == 0
    page = Page(tmp_path / "s/compare.html")
    assert not page.of_class("b")
    assert "<b>a</b>" in page.text
    assert "group 2" in page.text  # a name that is too long for a legend


def result(folder: Path, seed: int, **changes: Any) -> Path:
    return write_training(folder, 1.0, seed, name="naslung/model-1", **changes) / "result.json"


def test_the_table_of_trainings(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Systems with mean and deviation over seeds: networks, ensembles and baselines."""
    scores = {"auc": 0.7, "accuracy": 0.6, "sensitivity": 0.6, "specificity": 0.6, "f1": 0.6}
    baseline = {"volume": {**scores, "ci95": {"auc": [0.6, 0.8]}}}
    paths = [result(tmp_path / f"t{seed}", seed, baselines=baseline) for seed in (0, 1)]
    code, out, err = voxnas(capsys, "compare", *paths)
    assert (code, err) == (0, "")
    assert "nodules (aaaaaaaa), holdout, split by patient (bbbbbbbb), seeds 0, 1" in out
    assert "| naslung/model-1 | 2 | 0." in out
    assert "| volume | 2 | 0.700 ± 0.000 [0.600, 0.800] |" in out


@pytest.mark.parametrize("damage", DAMAGED_RESULTS)
def test_a_damaged_result_is_one_line(damage: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = result(tmp_path / "t", 0)
    path.write_text(json.dumps({**json.loads(path.read_text()), **damage}))
    answer = voxnas(capsys, "compare", path)
    refused(answer)
    assert answer[2].count("\n") == 1


def test_a_file_that_is_no_result(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "x.json").write_text("{}")
    refused(voxnas(capsys, "compare", tmp_path / "x.json"), "x.json")
    refused(voxnas(capsys, "compare", tmp_path / "nowhere.json"), "nowhere.json")
    refused(voxnas(capsys, "compare", tmp_path), "without a finished search or training")
    refused(voxnas(capsys, "compare"))


def test_what_does_not_belong_together_is_refused(outputs: Path, capsys: pytest.CaptureFixture) -> None:
    other = DataFacts("nodules", "c" * 64, 9)
    write_training(outputs / "other", 1.0, data=other)
    refused(voxnas(capsys, "compare", outputs / "sweep", outputs / "other"), "one data set")
    write_training(outputs / "wide", 1.0, task={**task_record(), "spec": {**task_record()["spec"], "outputs": 3}})
    refused(voxnas(capsys, "compare", outputs / "sweep", outputs / "wide"), "one task")
    predictions = outputs / "train/pop1/predictions.csv"
    predictions.write_text("sample,patient\na,b\n")
    refused(voxnas(capsys, "compare", outputs / "train"), "predictions.csv")
    assert not list(outputs.rglob("compare.html"))


def task_record() -> dict[str, Any]:
    from nas.tasks.classification import Classification

    return dict(Classification(in_channels=1, outputs=2, dims=3).identity)


def test_B7_a_refused_comparison_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for name in ("a", "b"):
        write_training(tmp_path / name, 0.5, 0, name="same")
    refused(voxnas(capsys, "compare", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "o"), "equal settings")
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}
