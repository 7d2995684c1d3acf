"""F1, F2 and F8 of the faults: paired differences, intervals over patients and seeds, and the cost of training."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nas.comparison.compare import compare_jobs
from nas.comparison.jobs import read_jobs
from nas.comparison.markdown import as_markdown
from nas.comparison.rows import rows_of
from nas.metrics.coco import from_text
from nas.metrics.hierarchical import expanded_percentiles, nested_rows
from nas.metrics.spread import with_seeds
from nas.report.comparison import comparison_report
from nas.retraining.pooled import pooled_table, read_pooled
from nas.retraining.predictions import PREDICTIONS
from nas.retraining.result import TrainResult
from nas.retraining.tables import caption, markdown, over_seeds, terminal, terminal_of
from nas.tasks.detection import MATCHES, Detection
from tests.comparisons import rows_in, write_search, write_training
from tests.test_numbers_of_detectors import drawn

DIFFERENCE = {"volume": {"auc": {"value": 0.021, "ci95": [-0.004, 0.046]}}}


def result_of(folder: Path, **changes: Any) -> TrainResult:
    """A training of "net" beside the baseline "volume"."""
    own = write_training(folder, 1.0, **changes)
    content = json.loads((own / "result.json").read_text())
    scores = content["ensembles"]["net"]
    content |= {"baselines": {"volume": scores}, "differences": DIFFERENCE, "headline": {"system": "net"}}
    content |= {"warnings": ["net never predicts malignant."]}
    return TrainResult.from_json(content)


def test_F1_the_differences_of_a_training_stand_below_its_table(tmp_path: Path) -> None:
    result = result_of(tmp_path)
    line = "net minus volume: AUC +0.021 [-0.004, +0.046], within noise"
    warning = "warning: net never predicts malignant."
    assert result.lines == [line, warning]
    from nas.retraining.tables import Row

    rows = [Row("net", result.mean, result.ci95), Row("volume", result.mean)]
    text = markdown(rows, caption(result), result.columns, result.lines)
    assert text.endswith(f"\n\n- {line}\n- {warning}\n")
    shown = terminal(rows, caption(result), result.columns, 80, result.lines)
    assert shown.endswith(f"\n\n{line}\n{warning}")
    assert terminal_of(text, 80) == shown
    assert "net minus volume: AUC +0.021" in result._repr_html_()
    assert TrainResult.from_json(result.to_json()).lines == result.lines


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_F1_metrics_of_a_detection_follow_from_predictions_csv(seed: int) -> None:
    """So that trainings of a detection are compared over the same patients, as those of other tasks."""
    prediction, target = drawn(seed, 5, 8, 2)
    task = Detection(outputs=2, dims=2, detections=8)
    scores = task.score(prediction, target)
    texts = scores.columns(["a", "b"])[MATCHES].astype(str)
    again = task.from_columns({MATCHES: texts}, ["a", "b"])
    for rows in (None, np.array([0, 0, 3, 4]), np.array([2])):
        assert again.over(rows) == scores.over(rows)
    with pytest.raises(ValueError, match="not enough values"):
        from_text("0")


def write_detection(folder: Path, seed: int, name: str, spoilt: float) -> None:
    """The folder of a training of a detector that misses some objects."""
    prediction, target = drawn(3, 24, 6, 1)
    rng = np.random.default_rng([seed, len(name)])
    found = np.insert(target, 4, 0.9, axis=2)  # the objects themselves
    prediction = np.where(target[..., -1:] >= 0, found, prediction[:, : target.shape[1]])
    prediction[..., -1] = np.where(rng.random(prediction.shape[:2]) < spoilt, -1, prediction[..., -1])
    task = Detection(dims=2, detections=6)
    scores = task.score(prediction, target)
    values = dict(scores.over())
    its = {"task": dict(task.identity), "metrics": [{"name": one.name, "label": one.label} for one in task.metrics]}
    its |= {"mean": values, "ci95": {}, "ensembles": {name: values}, "folds": [{"fold": "v", "n": 24, **values}]}
    write_training(folder, 1.0, seed, name=name, **its)
    columns = scores.columns(["nodule"])
    with open(folder / PREDICTIONS, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sample", "patient", *(f"{name}: {column}" for column in columns)])
        for number, values_N in enumerate(zip(*columns.values(), strict=True)):
            writer.writerow([f"s{number:02}", f"p{number // 2:02}", *values_N])


def test_F1_detections_are_compared_over_the_same_patients(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_detection(tmp_path / f"a{seed}", seed, "a", 0.6)
        write_detection(tmp_path / f"bb{seed}", seed, "bb", 0.0)
    found = compare_jobs(read_jobs([tmp_path]), resamples=300)
    assert found.trainings is not None
    difference = found.trainings.by_patient["bb"]
    assert (difference.n, difference.unit, difference.seeds) == (12, "patients", 2)
    assert 0 < difference.low < difference.mean
    assert "- bb minus a: test mAP@0.5 +" in as_markdown(found)
    systems = [read_pooled(name, [tmp_path / f"{name}0"]) for name in ("bb", "a")]
    assert "bb minus a: mAP@0.5 +" in pooled_table(systems)


def test_F1_every_difference_is_written_also_those_within_noise(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_training(tmp_path / f"a{seed}", 1.0, seed, name="a")
        write_training(tmp_path / f"b{seed}", 1.01, seed, name="b")
    found = compare_jobs(read_jobs([tmp_path]), resamples=200)
    over_patients, over_trainings = found.differences
    assert over_patients.startswith("b minus a: test AUC +0.00")
    assert over_patients.endswith("30 patients, 2 seeds")
    assert over_trainings.endswith("2 seeds")
    assert all(f"- {line}\n" in as_markdown(found) for line in found.differences)


def test_F2_the_interval_over_seeds_and_patients_by_hand() -> None:
    values, bounds = [0.80, 0.84, 0.88], [(0.75, 0.84), (0.79, 0.88), (0.83, 0.92)]
    # Student's half-width of 0.0994 ends at the extreme values, 0.04 away
    assert with_seeds(values, bounds) == pytest.approx((0.84 - np.hypot(0.05, 0.04), 0.84 + np.hypot(0.04, 0.04)))
    many = [0.80, 0.84, 0.88, 0.82, 0.86, 0.84, 0.83, 0.85]
    half = stats.t.ppf(0.975, 7) * np.std(many, ddof=1) / np.sqrt(8)
    found = with_seeds(many, [(value - 0.05, value + 0.05) for value in many])
    assert found == pytest.approx((0.84 - np.hypot(0.05, half), 0.84 + np.hypot(0.05, half)))
    assert with_seeds([0.8], [(0.75, 0.84)]) == pytest.approx((0.75, 0.84))
    assert with_seeds([0.8, 0.8], [(0.75, 0.84)] * 2) == pytest.approx((0.75, 0.84))


def test_F2_tables_over_seeds_hold_the_spread_over_seeds(tmp_path: Path) -> None:
    results = {str(seed): result_of(tmp_path / str(seed), seed=seed) for seed in (0, 1, 2)}
    text = over_seeds(results)
    values = [result.mean["auc"] for result in results.values()]
    low, high = with_seeds(values, [result.ci95["auc"] for result in results.values()])
    assert f"[{low:.3f}, {high:.3f}]" in text
    assert "over patients and seeds" in text
    # the difference is the same under every seed: its interval is that over patients
    assert "- net minus volume: AUC +0.021 [-0.004, +0.046], within noise\n" in text
    assert "- warning, seed 2: net never predicts malignant.\n" in text


def test_F2_compared_trainings_have_intervals_over_patients_and_seeds(tmp_path: Path) -> None:
    """Seeds that differ much widen the interval; a single one has that over patients."""

    def width(folders: Sequence[str]) -> float:
        found = compare_jobs(read_jobs([tmp_path / folder for folder in folders]), resamples=400).trainings
        assert found is not None
        estimate = found.estimates[found.groups[0].label]["auc"]
        assert estimate.low < estimate.mean < estimate.high
        return estimate.high - estimate.low

    for seed, shift in enumerate((0.6, 0.6, 0.6)):
        write_training(tmp_path / f"alike{seed}", shift, seed, name="net")
    for seed, shift in enumerate((0.2, 0.6, 1.4)):
        write_training(tmp_path / f"apart{seed}", shift, seed, name="net")
    alone = width(["alike0"])
    assert width([f"apart{seed}" for seed in range(3)]) > 1.5 * alone
    assert width([f"alike{seed}" for seed in range(3)]) > 0.8 * alone


def test_F2_pooled_intervals_hold_the_spread_over_folds() -> None:
    """Five folds whose networks differ by 0.1 on 12 patients each: coverage in a simulation, against patients alone."""
    rng, covered, over_patients = np.random.default_rng(0), 0, 0
    for run in range(40):
        fold_N, patient_N = np.repeat(np.arange(5), 12), np.arange(60)
        value_N = rng.normal(0, 0.1, 5)[fold_N] + rng.normal(0, 0.1, 60)
        means = [value_N[rows].mean() for rows in nested_rows(fold_N, patient_N, 400, run)]
        low, high = np.percentile(means, expanded_percentiles(5))
        covered += low < 0 < high
        plain = value_N[rng.integers(60, size=(400, 60))].mean(axis=1)
        low, high = np.percentile(plain, (2.5, 97.5))
        over_patients += low < 0 < high
    assert covered >= 36
    assert over_patients < 28


def test_F2_nested_draws_keep_patients_whole_and_folds_together() -> None:
    fold_N, patient_N = np.array([0, 0, 0, 1, 1, 1, 1]), np.array(list("aabccde"))
    for rows in nested_rows(fold_N, patient_N, 50, 0):
        counts = {name: int((patient_N[rows] == name).sum()) for name in "abcde"}
        assert counts["a"] % 2 == counts["c"] % 2 == 0
        folds = (counts["a"] // 2 + counts["b"]) / 2 + (counts["c"] // 2 + counts["d"] + counts["e"]) / 3
        assert folds == 2


def test_F8_the_cost_of_training_stands_in_every_comparison(tmp_path: Path) -> None:
    for seed in (0, 1):
        folder = write_training(tmp_path / f"net{seed}", 1.0, seed, training_seconds=40.0, training_macs=2.5e12)
        facts = {"trained": {"seconds": 20, "epochs": 3, "seen": 300}}
        (folder / "bundles/net/valid1/model.json").write_text(json.dumps({"facts": facts}))
    jobs = read_jobs([tmp_path])
    assert [job.training_macs for job in jobs] == [300 * 31_271_472] * 2
    (row, _) = rows_of(jobs)
    assert (row["seconds"], row["epochs"], row["training_macs"]) == (20, 3, 300 * 31_271_472)
    found = compare_jobs(jobs, resamples=50)
    assert "| 40.0 | 2.50 |" in as_markdown(found)  # seconds and 10^12 MACs
    comparison_report(tmp_path / "compare.html", found, title="net")
    page = (tmp_path / "compare.html").read_text()
    assert "training MACs (T)" in page
    assert "training time (s)" in page


def test_F8_an_older_spec_counts_epochs_times_samples(tmp_path: Path) -> None:
    folder = write_training(tmp_path, 1.0)
    facts = {"trained": {"seconds": 20, "epochs": 3, "samples": {"train": 100}}}
    (folder / "bundles/net/valid1/model.json").write_text(json.dumps({"facts": facts}))
    (job,) = read_jobs([tmp_path])
    assert job.training_macs == 300 * 31_271_472


def test_F8_searches_state_the_macs_of_their_trainings(tmp_path: Path) -> None:
    for seed in (0, 1):
        folder = write_search(tmp_path / f"s{seed}", [0.6, 0.7, 0.8], seed)
        rows = rows_in(folder / "trials.csv")
        with open(folder / "trials.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, [*rows[0], "training_macs"])
            writer.writeheader()
            writer.writerows(row | {"training_macs": 1e12 * (number + 1)} for number, row in enumerate(rows))
    found = compare_jobs(read_jobs([tmp_path]))
    assert found.searches is not None
    (label,) = found.searches.estimates
    assert found.searches.estimates[label]["training_macs"].mean == 6e12
    assert "training MACs (T)" in as_markdown(found)
