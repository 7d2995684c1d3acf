"""The tables of conf/table: they load, their steps are valid, published values and exact counts are right."""

from __future__ import annotations

import csv
import re
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest

from experiments.brain_tumor.command import parser as brats_parser
from experiments.commands.evaluate import parser as evaluate_parser
from experiments.conf_files import tables, text_of
from experiments.tables.counts import closed_form, naslung, nearest_naslung, network
from experiments.tables.plan import plan
from experiments.tables.spec import load
from search_spaces import NASLungSpace

TABLES = {
    *("naslung", "naslung_params", "dints", "lung_screening", "brain_tumor", "lung_detector", "medmnist", "nnunet"),
    "lidc",
}


def test_every_table_of_conf_loads_and_all_are_there() -> None:
    assert set(tables()) >= TABLES
    for name in tables():
        assert text_of(f"table/{name}.yaml").startswith(f"# voxnas tables {name}"), name
        _, table = load(name)
        assert any(row.is_ours for section in table.sections for row in section.rows)
        assert all(not row.values or row.source for section in table.sections for row in section.rows)


@pytest.mark.parametrize("name", sorted(tables()))
def test_every_step_is_a_command_with_known_settings_or_a_function_with_its_arguments(name: str) -> None:
    _, table = load(name)
    everything = {key: Path("/data") / key for key in table.data}
    seen: set[str] = set()
    with hydra.initialize_config_module("conf", version_base="1.3"):
        for size in table.sizes:
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
    elif command == "evaluate":
        assert evaluate_parser().parse_intermixed_args(settings).out is not None
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


def test_published_rows_of_nnu_net_are_the_means_of_its_cases(shared_data: Path) -> None:
    """The two networks of nnU-Net have rows of their own, and the means are those of the csv at hand."""
    sizes = published("nnunet", "networks")
    assert [row["params"] for row in sizes.values()] == ["31.2", "5.603"]
    with open(shared_data / "nnunet_task04/nnunet_task04_percase.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    means = published("nnunet", "means")
    systems = {"default": "ConvolutionalEncoder", "ResEnc M": "ResidualEncoderM", "ResEnc L": "ResidualEncoderL"}
    for name, system in systems.items():
        own = [row for row in rows if row["system"] == system]
        each = [float(np.mean([float(row[f"dice_{label}"]) for row in own])) for label in ("anterior", "posterior")]
        shown = means[f"nnU-Net, {name}, 208 cases"]
        assert [shown["dice_1"], shown["dice_2"]] == [pytest.approx(value, abs=5e-5) for value in each]
        assert shown["dice"] == pytest.approx(np.mean(each), abs=1e-4)
