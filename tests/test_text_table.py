"""Tables and progress lines that fit a terminal."""

from __future__ import annotations

import io
import re
import sys
import time

import pytest

from experiments.cli import write_tables
from experiments.progress import ProgressLine, progress_text
from nas.metrics.metric import Metric
from nas.retraining.tables import Row, markdown, terminal, terminal_of
from nas.utils.duration import in_words
from nas.utils.markdown_text import markdown_row
from nas.utils.plain_text import plain_text
from nas.utils.text_table import aligned, in_columns, terminal_width

METRICS = tuple(Metric(name, name) for name in ("AUC", "accuracy", "sensitivity", "specificity", "F1", "log loss"))
COSTS = {"params": 2.03e5, "macs": 1.5e7, "bytes": 8e5, "latency_ms": {"median": 6.58}, "peak_memory_mb": 1.13}
ROWS = [
    Row("searched 46704830cd7d, ensemble of 4", {m.name: 0.9 for m in METRICS}, {"AUC": (0.8, 1.0)}, COSTS),
    Row("a plain U-Net of the same number of operations, mean of 4", {m.name: 0.8 for m in METRICS}, {}, COSTS),
    Row("volume", {m.name: 0.7 for m in METRICS}),
]


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_tables_fit_and_lose_nothing(width: int) -> None:
    text = terminal(ROWS, "data, holdout, split by patient; " * 4, METRICS, width)
    assert max(map(len, text.splitlines())) <= width
    for heading in (*(metric.label for metric in METRICS), "params (M)", "memory (MB)", "0.900 [0.800, 1.000]"):
        assert heading in text


def test_a_table_that_is_read_again_looks_the_same() -> None:
    """A finished training prints table.md in the form of the first run."""
    written = markdown(ROWS, "caption", METRICS)
    assert terminal_of(written, 80) == terminal(ROWS, "caption", METRICS, 80)
    assert terminal_of(written + "\nA verdict.\n", 80).endswith("\n\nA verdict.")


def test_numbers_stand_on_the_right_in_columns() -> None:
    lines = aligned([{"name": "a", "x": "1"}, {"name": "bb", "x": "20"}], ["name", "x"], 80).splitlines()
    assert lines == ["name   x", "--------", "a      1", "bb    20"]


def test_rows_of_a_study_are_wrapped_on_a_terminal_only() -> None:
    rows = [("trial 3", "abc", "worker 0 (process 17 on a-rather-long-name)", "epoch 2", "last sign of life 3 s ago")]
    assert in_columns(rows)[0].count("  ") == 4
    wrapped = in_columns(rows, 60)
    assert max(map(len, wrapped)) <= 60
    assert " ".join(" ".join(wrapped).split()) == " ".join(rows[0])


@pytest.mark.parametrize("columns", ["30", "80", "300"])
def test_the_width_is_that_of_the_terminal_within_limits(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert terminal_width() == min(max(int(columns), 40), 100)


@pytest.mark.parametrize("width", [40, 79, 99])
@pytest.mark.parametrize("bar", [True, False])
def test_a_progress_line_keeps_steps_and_times(width: int, bar: bool) -> None:
    words = ["best auc 0.864", "epoch 2/3", "3 failed", "pruned 12.3 %"]
    for name in ("search", "a plain U-Net of equal cost, valid1"):
        line = progress_text(name, 7, 12, words, "01:40, 00:50 left", width, bar)
        assert len(line) <= width
        assert "7/12" in line
        assert line.endswith("[01:40, 00:50 left]")
    wide = progress_text("search", 7, 12, words, "01:40, 00:50 left", 99, bar)
    assert all(word in wide for word in words)
    assert ("█" in wide) == bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_has_a_line_per_event_and_the_last_state(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, log = [0.0], io.StringIO()
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(sys, "stderr", log)
    with ProgressLine("search", 40) as line:
        for done in range(1, 41):
            clock[0] += 1.0
            line.show(done, ["best auc 0.9"])
            line.show(done, ["epoch"], event=False)
    lines = log.getvalue().splitlines()
    assert lines[0] == "search 1/40 best auc 0.9 [00:01, 00:39 left]"
    assert lines[-1].startswith("search 40/40")
    assert 4 <= len(lines) <= 6
    assert not {"\r", "\x1b", "█"} & set(log.getvalue())


def test_a_terminal_has_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "80")
    with ProgressLine("search", 3) as line:
        for _ in range(3):
            line.update()
    written = screen.getvalue()
    assert "search 3/3" in written
    assert written.count("\n") == 1
    assert all(len(part) <= 80 for part in written.replace("\n", "\r").split("\r"))


def test_silent_progress_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    with ProgressLine("search", 2, silent=True) as line:
        line.update(2)
    assert log.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.6, "1 min"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (100800, "1 d 4 h")]
)
def test_durations_have_two_units(seconds: float, text: str) -> None:
    assert in_words(seconds) == text


def test_markdown_becomes_text_that_fits_a_terminal() -> None:
    wide = "0.900 [0.844, 0.937]"
    text = f"# A title\n\n{'word ' * 30}\n\n| system | AUC | Accu. (%) | note |\n| --- | ---: | ---: | ---: |\n"
    text += f"| a \\| b | {wide} | {wide} | {'very ' * 20}long |\n"
    text += markdown_row(["<b>[c](d", "", "", ""]) + f"\n\n- {'item ' * 30}\n"
    shown = plain_text(text, 60)
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 60
    assert lines[:2] == ["A title", "======="]
    assert "a | b" in shown
    assert "<b>[c](d" in shown
    assert shown.count(wide) == 2
    assert shown.count("very") == 20
    assert [line for line in lines if line.startswith("- item")]
    assert not re.search(r"^\||---:", shown, re.MULTILINE)


@pytest.mark.parametrize("width", ["", "80"])
def test_tables_are_markdown_in_a_pipe_and_plain_where_a_width_is_set(
    width: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    write_tables("| system | AUC |\n| --- | ---: |\n| a | 0.9 |\n")
    shown = capsys.readouterr().out
    assert ("| a | 0.9 |" in shown) == (not width)
    assert "a" in shown
