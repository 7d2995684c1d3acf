"""nnU-Net beside networks of ours: published Dice of single cases as a test fold, and its schedule in a stated time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import nnunet as benchmark
from benchmarks.nnunet_data import split_cases, write_nnunet_folder
from benchmarks.nnunet_worker import schedule
from experiments.tables import scores
from experiments.tables.nnunet import published
from nas.data.io.segmentation_folder import read_folder
from nas.data.splits import Split
from nas.errors import NASError
from nas.retraining.pooled import cases_of_result
from tests.commands import refused, voxnas
from tests.data.written_decathlon import prepared, write_decathlon


def dice_csv(path: Path, count: int) -> dict[str, tuple[float, float]]:
    dice = {f"case_{n:03d}": (0.9 - n / 100, 0.8 - n / 50) for n in range(count)}
    lines = ["case,system,fold,dice_front,dice_back", *(f"{name},s,0,{a},{b}" for name, (a, b) in dice.items())]
    path.write_text("\n".join(lines) + "\n")
    return dice


def test_published_cases_are_compared_in_pairs_with_predictions_read_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Mean and paired difference are those of the cases of the test fold, computed by hand."""
    monkeypatch.setenv("VOXNAS_CACHE", str(tmp_path / "cache"))
    root = write_decathlon(tmp_path / "data", 10)
    dice = dice_csv(tmp_path / "dice.csv", 10)
    published(str(tmp_path / "dice.csv"), "s", "nnU-Net", str(root), tmp_path / "theirs", 1)
    store = prepared(root)
    names = sorted(str(name) for name in store.names[Split(store, test_fold=1).test])
    assert cases_of_result(tmp_path / "theirs/test") == names
    words = ("evaluate", "--predictions", root / "labelsTr", root, "--cases-of", tmp_path / "theirs/test")
    code, _, err = voxnas(capsys, *words, "--out", tmp_path / "ours/test", "--resamples", 20)
    assert code == 0, err
    theirs, ours = (scores.draws_of([tmp_path / name / "test"], [1]) for name in ("theirs", "ours"))
    mean = float(np.mean([dice[name] for name in names]))
    assert scores.means(theirs)["dice"]["value"] == pytest.approx(mean)
    assert scores.means(theirs)["dice_2"]["value"] == pytest.approx(np.mean([dice[name][1] for name in names]))
    assert "hd95" not in scores.means(theirs)
    apart = scores.difference(ours, theirs, "dice")
    assert apart["value"] == pytest.approx(1 - mean)
    low, high = apart["ci95"]  # type: ignore[misc]
    assert low < 1 - mean < high
    with pytest.raises(NASError, match="no published Dice"):
        published(str(tmp_path / "dice.csv"), "other", "x", str(root), tmp_path / "x", 1)


def test_rows_without_their_data_name_the_source(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ("tables", "nnunet", "--rows", "networks/plain", "--out", tmp_path)
    code, out, err = voxnas(capsys, *words)
    assert code == 0, err
    assert "automl/AutoNNUnet" in out
    assert "cases/plain" in out.partition("no data hippocampus")[2]
    text = (tmp_path / "nnunet/table.md").read_text()
    assert "trained each published fold on 208 of 260" in text
    assert "params: -0.011 %" in text


@pytest.mark.parametrize("budget_s", [30.0, 180.0, 3600.0, 36_000.0, 4e7])
def test_the_schedule_fits_its_time(budget_s: float) -> None:
    """At least one step, at most nnU-Net's own schedule, and within a tenth of the time if it is not cut there."""
    step_s, check_s, end_s = 10.7, 3.0, 1.5
    epochs, steps, checks = schedule(budget_s, step_s, check_s, end_s)
    assert 1 <= epochs <= 1000
    assert 1 <= steps <= 250
    assert checks == max(1, steps // 5)
    seconds = epochs * (steps * step_s + checks * check_s + end_s)
    assert seconds <= 1.1 * budget_s
    assert seconds >= 0.5 * budget_s or (epochs, steps) == (1000, 250)


def test_without_nnu_net_one_line_names_the_packages(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        benchmark.main(["--nnunet-python", "/bin/false", "--data", "/nowhere"])
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "nnunetv2==2.8.1" in out


def test_both_programs_get_the_cases_of_one_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of nnU-Net's form reads as the same cases; the test fold is in neither part."""
    monkeypatch.setenv("VOXNAS_CACHE", str(tmp_path / "cache"))
    root = write_decathlon(tmp_path / "data", 10)
    cases = split_cases(root, 2)
    assert sorted([*cases.train, *cases.valid, *cases.test]) == sorted(case.name for case in cases.folder.cases)
    known = [*cases.train, *cases.valid]
    write_nnunet_folder(tmp_path / "known", cases, known)
    found = read_folder(tmp_path / "known")
    assert sorted(case.name for case in found.cases) == sorted(known)
    assert found.classes == ("background", "front", "back")
    assert json.loads((tmp_path / "known/dataset.json").read_text())["numTraining"] == len(known)


def test_evaluate_refuses_cases_that_are_not_labelled(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root, other = (write_decathlon(tmp_path / name, count) for name, count in (("data", 4), ("fewer", 2)))
    words = ("evaluate", "--predictions", root / "labelsTr", "--resamples", 20)
    assert voxnas(capsys, *words, root, "--out", tmp_path / "all")[0] == 0
    refused(voxnas(capsys, *words, other, "--cases-of", tmp_path / "all"), "case_002, case_003", "not labelled here")
