"""Names from outside in csv files begin no formula of a spreadsheet program, and read back as they were."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.comparison.rows import write_rows as write_sweep
from nas.history import State
from nas.inference.predict import write_rows
from nas.trials_csv import write_csv
from nas.utils.spreadsheet import cell, text_of
from tests.tables import records_of

FORMULAS = ("=cmd|' /C calc'!A0", "+1-cmd", "-2+3+cmd", "@SUM(1)", "\t=1", "\r=1", "'=1")
TRIGGERS = ("=", "+", "-", "@", "\t", "\r", "\n")


@given(st.text("=+-@'\t\r\na1. ", max_size=6) | st.text())
def test_every_text_reads_back(text: str) -> None:
    assert text_of(cell(text)) == text


@pytest.mark.parametrize("text", FORMULAS)
def test_no_formula_is_written(text: str) -> None:
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["-1", "-0.5", "+1e-5", "-inf", "-.003 [-.010, +.004]", "a=1", "'quoted'", "", "é"])
def test_other_texts_stay(text: str) -> None:
    assert cell(text) == text


def cells_of(path: Path) -> list[str]:
    return [one for line in csv.reader(io.StringIO(path.read_text())) for one in line]


def test_names_of_files_and_classes_and_reasons(tmp_path: Path) -> None:
    write_rows(
        tmp_path / "predictions.csv", [{"input": "=a.nii", "class": "@b", "probabilities": {"@b": 0.5, "c": 0.5}}]
    )
    write_sweep(tmp_path / "sweep.csv", [{"kind": "search", "=key": "+value", "loss": -0.5, "folder": "-x"}])
    write_csv(tmp_path / "trials.csv", [replace(records_of()[0], state=State.FAILED, metrics={}, reason="=no")])
    for name in ("predictions.csv", "sweep.csv", "trials.csv"):
        cells = cells_of(tmp_path / name)
        assert not [one for one in cells if one.startswith(TRIGGERS) and one != "-0.5"], name
    assert {"'=a.nii", "'@b"} <= set(cells_of(tmp_path / "predictions.csv"))
    assert "'=no" in cells_of(tmp_path / "trials.csv")
