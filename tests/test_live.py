"""live.html and curves.csv: updated during a run, final at its end, complete after a resume."""

from __future__ import annotations

import csv
import os
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from nas.history import History, State
from nas.report import live as live_module
from nas.report.curves import SearchCurves
from nas.report.live import INTERVAL_S, LIVE, LivePage
from nas.report.live_search import LiveSearch
from nas.report.live_training import LiveTraining
from nas.tasks.classification import METRICS
from nas.training.curves import CURVES, write_curves
from nas.utils.files import locked
from tests.report_pages import Page, ToySpace, toy_history


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A monotonic clock that a test moves on; files are as old as it says."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def search_of(folder: Path, trials: int = 12) -> LiveSearch:
    return LiveSearch(folder, "Search toy", ToySpace(), METRICS, trials, folder / "checkpoints")


def aged(folder: Path, seconds: float = 2 * INTERVAL_S) -> None:
    path = folder / LIVE
    if path.exists():
        os.utime(path, (time.time() - seconds,) * 2)


def with_epochs(folder: Path, history: History, epochs: int = 3) -> History:
    """The trials' curves, as their trainings leave them."""
    records = []
    for trial in history:
        if trial.state is State.COMPLETE:
            rows = [
                {"epoch": n, "loss": 1 / n, "auc": 0.5 + n / 100, "seconds": float(n)} for n in range(1, epochs + 1)
            ]
            write_curves(folder / "checkpoints" / trial.arch.id, rows)
            trial = replace(trial, metrics={**trial.metrics, "epochs": float(epochs)})
        records.append(trial)
    return replace(history, records=tuple(records))


def refreshes(page: Page) -> list[str | None]:
    metas = [attributes for tag, attributes in page.elements if tag == "meta"]
    return [attributes["content"] for attributes in metas if attributes.get("http-equiv") == "refresh"]


def test_the_page_shows_progress_front_curves_and_time_left_and_ends(tmp_path: Path, clock: list[float]) -> None:
    history = with_epochs(tmp_path, toy_history(5, failed=(2,)))
    live = search_of(tmp_path)
    live.update(history, "01:40")
    page = Page(tmp_path / LIVE)
    page.assert_stands_alone()
    assert refreshes(page) == ["5"]
    assert "5 of 12 trials have ended, about 01:40 left." in page.text
    assert "Architecture search, running" in page.text
    for title in ("best validation AUC so far", "validation AUC against MACs", "validation AUC by epoch"):
        assert page.plot(title) is not None
    assert page.source.count("<figure>") == page.source.count("<figcaption>") == 3
    aged(tmp_path)
    clock[0] += 1000
    live.update_epoch(2, 3, "01:20")
    assert "epoch 2 of 3 of the running one, about 01:20 left" in Page(tmp_path / LIVE).text
    live.finish(history, "The search ended: the study holds 5 of 5 trials.", "voxnas train arch=x/arch.json")
    last = Page(tmp_path / LIVE)
    assert refreshes(last) == []
    assert "The search ended: the study holds 5 of 5 trials." in last.text
    assert "Next: voxnas train arch=x/arch.json" in last.text


def test_a_search_that_is_stopped_says_so(tmp_path: Path, clock: list[float]) -> None:
    live = search_of(tmp_path)
    live.stop()  # before its first trial
    assert not (tmp_path / LIVE).exists()
    live.update(toy_history(3), "01:40")
    live.stop()
    page = Page(tmp_path / LIVE)
    assert refreshes(page) == []
    assert "The search was stopped after 3 of 12 trials; the same command continues it." in page.text
    assert "width: 25.0%" in page.source


def test_the_page_is_written_seldom_and_takes_one_per_cent(tmp_path: Path, clock: list[float]) -> None:
    page = LivePage(tmp_path, "title", "Search")
    assert page.is_due()
    page.write("first", 0.1, [])
    aged(tmp_path)
    assert not page.is_due()
    clock[0] += INTERVAL_S
    assert page.is_due()
    page.took(2.0)  # writing that took 2 s may be repeated after 200 s
    clock[0] += 199
    assert not page.is_due()
    clock[0] += 1
    assert page.is_due()


def test_several_workers_write_as_seldom_as_one(tmp_path: Path, clock: list[float]) -> None:
    first, second = (LivePage(tmp_path, "title", "Search") for _ in range(2))
    first.write("of the first", 0.1, [])
    assert not second.is_due()  # the page is fresh
    aged(tmp_path)
    assert second.is_due()


def test_a_worker_does_not_wait_for_another_one_that_writes(tmp_path: Path) -> None:
    page = LivePage(tmp_path, "title", "Search")
    with locked(tmp_path / live_module.LOCK):
        page.write("left out", 0.1, [])
        assert not (tmp_path / LIVE).exists()
        page.write("the last one", 1.0, [], ended=True)
    assert "the last one" in Page(tmp_path / LIVE).text


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / CURVES, newline="") as file:
        return list(csv.DictReader(file))


def test_curves_are_tidy_and_complete_after_a_resume(tmp_path: Path) -> None:
    history = with_epochs(tmp_path, toy_history(6, failed=(1,)))
    first = SearchCurves(tmp_path / "checkpoints")
    first.write(tmp_path, replace(history, records=history.records[:3]))
    begun = rows_of(tmp_path)
    SearchCurves(tmp_path / "checkpoints").write(tmp_path, history)  # by the process that resumes
    rows = rows_of(tmp_path)
    assert begun == rows[: len(begun)]
    keys = Counter((row["trial"], row["epoch"], row["metric"]) for row in rows)
    assert set(keys.values()) == {1}
    assert {row["trial"] for row in rows} == {"0", "2", "3", "4", "5"}
    for trial in history:
        if trial.state is State.COMPLETE:
            own = [row for row in rows if row["trial"] == str(trial.number)]
            assert sorted(row["epoch"] for row in own if row["metric"] == "loss") == ["1", "2", "3"]
            whole = {row["metric"]: row for row in own if row["epoch"] == ""}
            assert float(whole["auc"]["value"]) == trial.metrics["auc"]
            assert float(whole["auc"]["seconds"]) == 50.0
    assert {row["seconds"] for row in rows if row["epoch"] == "2"} == {"2.0"}


def test_a_longer_training_of_a_network_adds_no_epochs_to_its_shorter_trial(tmp_path: Path) -> None:
    (short,) = with_epochs(tmp_path, toy_history(1), epochs=2)
    with_epochs(tmp_path, toy_history(1), epochs=6)  # the same folder, continued
    curves = SearchCurves(tmp_path / "checkpoints")
    assert [row["epoch"] for row in curves.epochs(short)] == [1, 2]


def test_without_files_of_trainings_the_trials_remain(tmp_path: Path) -> None:
    """Evaluators that look scores up, or inherit weights, leave no epochs."""
    SearchCurves(tmp_path / "nothing").write(tmp_path, toy_history(2))
    assert {row["epoch"] for row in rows_of(tmp_path)} == {""}


def test_a_training_shows_its_folds(tmp_path: Path, clock: list[float]) -> None:
    live = LiveTraining(tmp_path, "Training toy", METRICS, ["valid1", "valid2"], networks=2)
    live.begin("searched abc", "abc")
    for epoch in (1, 2):
        aged(tmp_path)
        clock[0] += 10.0
        live.update("searched abc", "valid1", epoch, 4, {"auc": 0.5 + epoch / 10})
    page = Page(tmp_path / LIVE)
    page.assert_stands_alone()
    assert refreshes(page) == ["5"]
    # 10 s for an epoch: two are left of this training, and three trainings of four
    assert "Training 1 of 4 (searched abc, valid1): epoch 2 of 4, about 2 min 20 s left." in page.text
    assert page.plot("validation AUC of searched abc") is not None
    assert [(row["fold"], row["epoch"], row["metric"]) for row in rows_of(tmp_path)] == [
        ("valid1", "1", "auc"),
        ("valid1", "2", "auc"),
    ]
    write_curves(tmp_path / "bundles/abc/valid1", [{"epoch": n, "loss": 0.1, "auc": 0.6} for n in range(1, 5)])
    live.finish("Test AUC 0.8.", "voxnas predict x")
    assert refreshes(Page(tmp_path / LIVE)) == []
    rows = rows_of(tmp_path)
    assert [row["epoch"] for row in rows if row["metric"] == "loss"] == ["1", "2", "3", "4"]
    assert set(Counter((row["fold"], row["epoch"], row["metric"]) for row in rows).values()) == {1}
