"""curves.csv, as it is written and read."""

from __future__ import annotations

from pathlib import Path

from nas.training.curves import CURVES, read_curves, write_curves


def test_values_that_an_epoch_lacks_stay_out(tmp_path: Path) -> None:
    rows = [{"epoch": 1, "loss": 0.1 + 0.2}, {"epoch": 2, "loss": float("nan"), "dice": 1e-9}]
    write_curves(tmp_path, rows)
    text = (tmp_path / CURVES).read_text()
    assert text == "epoch,loss,dice\n1,0.30000000000000004,\n2,nan,1e-09\n"
    assert repr(read_curves(tmp_path)) == repr([{name: float(value) for name, value in row.items()} for row in rows])


def test_a_training_without_epochs(tmp_path: Path) -> None:
    write_curves(tmp_path, [])
    assert read_curves(tmp_path) == []
