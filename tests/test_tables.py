"""The table of several trainings: what may be put together, and what it says of each row."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from nas.errors import NASError
from nas.retraining.result import TrainResult
from nas.retraining.tables import Row, caption, markdown, over_seeds, terminal
from nas.tasks.classification import METRICS
from tests.comparisons import DAMAGED_RESULTS

SHOWN = [metric for metric in METRICS if metric.in_tables]
NAMES = [metric.name for metric in SHOWN]


def scores(value: float) -> dict[str, Any]:
    return {**dict.fromkeys(NAMES, value), "ci95": {"auc": [value - 0.1, value + 0.1]}}


def result(seed: int, value: float, **changes: Any) -> dict[str, Any]:
    ci95 = {"auc": [value - 0.04, value + 0.02]}
    made = {
        "name": "naslung/model-1",
        "arch_id": "abc",
        "params": 16128,
        "macs": 31_271_472,
        "bytes": 65_756,
        "latency_ms": {"median": 2.0 + seed, "p10": 1.0, "p90": 9.0, "device": "cpu", "batch": 1, "threads": 1},
        "peak_memory_mb": 2.5,
        "protocol": "holdout",
        "folds": [{"fold": "valid1"}, {"fold": "valid2"}],
        "mean": dict.fromkeys(NAMES, value),
        "ci95": ci95,
        "ensembles": {"naslung/model-1": scores(value + 0.01)},
        "baselines": {"volume": scores(0.7)},
        "data": {"name": "nodules", "sha256": "a" * 64, "n": 9},
        "split": {"sha256": "b" * 64, "unit": "patient"},
        "tested": {"samples": 238, "groups": 137},
        "seed": seed,
    }
    return {**made, **changes}


def table(*results: dict[str, Any]) -> dict[str, dict[str, str]]:
    """System -> column -> text, of the only table."""
    lines = over_seeds({f"{place}.json": TrainResult.from_json(one) for place, one in enumerate(results)}).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert sum(row[0] == "system" for row in rows) == 1
    return {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows[2:]}


def test_seeds_are_averaged_with_deviation_interval_and_costs() -> None:
    found = table(result(0, 0.8), result(1, 0.9))
    assert list(found) == ["naslung/model-1, mean of 2", "naslung/model-1, all rounds", "volume"]
    row = found["naslung/model-1, mean of 2"]
    assert row["seeds"] == "2"
    assert row["AUC"] == "0.850 ± 0.071 [0.786, 0.904]"  # over patients and seeds
    assert row["F1"] == "0.850 ± 0.071"
    assert (row["params (M)"], row["MACs (G)"], row["FLOPs (G)"]) == ("0.0161", "0.0313", "0.0625")
    assert (row["size (MB)"], row["latency (ms)"], row["memory (MB)"]) == ("0.0658", "2.50", "2.50")
    assert found["volume"]["AUC"] == "0.700 ± 0.000 [0.600, 0.800]"
    assert found["volume"]["params (M)"] == "–"


def test_caption_names_data_split_seeds_and_sizes() -> None:
    text = caption(TrainResult.from_json(result(0, 0.8)), seeds=[0, 1, 2])
    for part in ("nodules (aaaaaaaa)", "holdout", "(bbbbbbbb)", "seeds 0, 1, 2", "238 test samples of 137 patients"):
        assert part in text
    assert "seed 4;" in caption(TrainResult.from_json(result(4, 0.8)))


@pytest.mark.parametrize(
    "other",
    [
        {"data": {"name": "nodules", "sha256": "c" * 64, "n": 9}},  # another grid of the same data set
        {"split": {"sha256": "c" * 64, "unit": "patient"}},
        {"protocol": "cross_validation"},
    ],
)
def test_what_is_not_comparable_is_not_averaged(other: dict[str, Any]) -> None:
    text = over_seeds({"0": TrainResult.from_json(result(0, 0.8)), "1": TrainResult.from_json(result(1, 0.9, **other))})
    assert text.count("| system |") == 2
    assert "±:" in text
    assert "0.850" not in text


def test_latencies_of_two_devices_have_no_median() -> None:
    elsewhere = {"median": 0.1, "device": "gpu", "batch": 1, "threads": 1}
    row = table(result(0, 0.8), result(1, 0.9, latency_ms=elsewhere))["naslung/model-1, mean of 2"]
    assert (row["latency (ms)"], row["memory (MB)"], row["params (M)"]) == ("–", "–", "0.0161")


def test_two_results_of_one_seed_are_refused() -> None:
    """Two settings of one network: a mean over them would be called a mean over seeds."""
    with pytest.raises(Exception, match=r"two results of naslung/model-1 with seed 0: 0\.json and 1\.json"):
        table(result(0, 0.8), result(0, 0.9))


def test_one_training_alone_and_within_an_ensemble_counts_once() -> None:
    together = result(0, 0.8)
    together["ensembles"] = {"ensemble of 2 networks": scores(0.9), **together["ensembles"]}
    found = table(result(0, 0.8), together)
    assert found["naslung/model-1, mean of 2"]["seeds"] == "1"
    assert found["ensemble of 2 networks"]["AUC"].startswith("0.900 [")


def test_a_baseline_that_differs_stands_beside_its_network() -> None:
    """Random search repeats one network's search; the volume is the same for all."""
    one = result(0, 0.8, name="searched a", arch_id="a", ensembles={})
    two = result(0, 0.9, name="searched b", arch_id="b", ensembles={})
    one["baselines"] = {"volume": scores(0.7), "random search": scores(0.75)}
    two["baselines"] = {"volume": scores(0.7), "random search": scores(0.77)}
    found = table(one, two)
    assert found["volume"]["seeds"] == "1"
    assert found["random search, beside searched a"]["F1"] == "0.750"
    assert found["random search, beside searched b"]["F1"] == "0.770"


def test_two_networks_of_one_name_are_distinguished() -> None:
    found = table(result(0, 0.8), result(0, 0.9, arch_id="xyz"))
    assert {"naslung/model-1 (abc), mean of 2", "naslung/model-1 (xyz), mean of 2"} <= set(found)


@pytest.mark.parametrize("damage", DAMAGED_RESULTS)
def test_a_damaged_result_is_one_line(damage: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps({**result(0, 0.8), **damage}))
    with pytest.raises(NASError, match="got") as refused:
        TrainResult.load(path)
    assert "\n" not in str(refused.value)


def test_terminal_keeps_to_100_columns_with_long_names_and_captions() -> None:
    name = "naslung/spcbam[4,4,[8, 8, 8], [16, 16, 16], [32, 32]], ensemble of 4"
    costs = {"params": 28_456_204, "macs": 10**9, "bytes": 10**8, "latency_ms": {"median": 123.4}, "peak_memory_mb": 9}
    rows = [Row(name, dict.fromkeys(NAMES, 0.8), {"auc": (0.7, 0.9)}, costs), Row("volume", {})]
    lines = terminal(rows, caption(TrainResult.from_json(result(0, 0.8))) * 2, SHOWN).splitlines()
    assert max(map(len, lines)) <= 100
    words = {word for line in lines for word in line.split()}
    assert set(name.split()) <= words


SCORES = {"auc": 0.91234, "accuracy": 0.8, "sensitivity": 0.7, "specificity": 0.9, "f1": 0.75}
COSTS = {
    "params": 16128,
    "macs": 31_271_472,
    "bytes": 65_756,
    "latency_ms": {"median": 2.345, "p10": 2.0, "p90": 3.0, "device": "x"},
    "peak_memory_mb": 2.556,
}


def test_units_are_named_and_never_mixed() -> None:
    cells = Row("a", SCORES, {"auc": (0.9, 0.95)}, COSTS).cells(SHOWN)
    assert cells["AUC"] == "0.912 [0.900, 0.950]"
    assert cells["params (M)"] == "0.0161"
    assert cells["MACs (G)"] == "0.0313"
    assert cells["FLOPs (G)"] == "0.0625"
    assert cells["size (MB)"] == "0.0658"
    assert cells["latency (ms)"] == "2.35"
    assert Row("b", SCORES).cells(SHOWN)["params (M)"] == "–"
    assert Row("c", SCORES, costs={**COSTS, "params": 28_456_204}).cells(SHOWN)["params (M)"] == "28.5"


def test_both_forms_of_a_table() -> None:
    rows = [Row("network", SCORES, costs=COSTS), Row("volume", SCORES)]
    text = markdown(rows, "caption", SHOWN)
    lines = text.splitlines()
    assert lines[0] == "caption"
    assert len({line.count("|") for line in lines[2:]}) == 1
    shown = terminal(rows, "caption", SHOWN)
    assert max(map(len, shown.splitlines())) <= 100
    assert shown.count("volume") == 1


def test_a_file_that_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    for name in ("x.json", "nowhere.json"):
        with pytest.raises(NASError, match="got"):
            TrainResult.load(tmp_path / name)


def test_a_segmentation_has_columns_of_its_own() -> None:
    scores = {"dice": 0.75, "dice_1": 0.7, "dice_2": 0.8, "hd95": 3.25, "surface_dice": 0.6}
    bounds = {"dice": [0.7, 0.8], "hd95": [2.0, 4.0]}
    changes = {"mean": scores, "ci95": bounds, "ensembles": {}, "length_unit": "mm"}
    changes |= {"baselines": {"intensity": {**scores, "ci95": bounds}}}
    found = table(result(0, 0.0, **changes), result(1, 0.0, **changes))
    row = found["naslung/model-1, mean of 2"]
    assert row["Dice"] == "0.750 ± 0.000 [0.700, 0.800]"
    assert row["HD95 (mm)"] == "3.250 ± 0.000"
    assert "AUC" not in row
    assert found["intensity"]["surface Dice"] == "0.600 ± 0.000"
    assert "HD95 in mm" in caption(TrainResult.from_json(result(0, 0.0, **changes)))


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    differences = {"volume": {"auc": {"value": 0.1, "ci95": [0.05, 0.15]}}}
    metrics = [asdict(metric) for metric in METRICS]
    written = TrainResult.from_json(result(0, 0.8, differences=differences, metrics=metrics, length_unit="mm"))
    written.save(tmp_path / "result.json")
    assert TrainResult.load(tmp_path / "result.json") == written
    assert json.loads((tmp_path / "result.json").read_text())["params"] == 16128  # costs stand at the top level
