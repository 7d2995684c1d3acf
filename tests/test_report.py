"""The report of a search: what is on the page, that it stands alone, and the edges; axes and units."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.search.results import _which
from nas.errors import NASError
from nas.history import History, State, Trial
from nas.html.plot import Axis
from nas.metrics.names import Names
from nas.tasks.base import Task
from nas.tasks.classification import METRICS, Classification
from nas.tasks.detection import Detection
from nas.tasks.segmentation import Segmentation
from search_spaces.naslung import NASLungSpace
from tests.report_pages import SVG, ToySpace, cost, dots, toy_history, write_search


def test_search_report_holds_what_was_found(tmp_path: Path) -> None:
    history = toy_history(30, failed=(4, 11))
    chosen = history.front()[0]
    rng = np.random.default_rng(1)
    page = write_search(
        tmp_path / "report.html",
        history,
        pruned_share=[(1, 0.0), (10, 0.125), (28, 0.375)],
        pruned_cost=rng.uniform(1e6, 1e9, 5000),
        pruned_bound=rng.uniform(0.6, 0.8, 5000),
    )
    page.assert_stands_alone()
    assert page.of_class("facts") == ["dl"]
    for words in (chosen.arch.id, f"{chosen.metrics['auc']:.3f}", "37.5 %", "2 failed", "a <study>", "optimizer.lr"):
        assert words in page.text
    assert "not test scores" in page.text
    assert "A <b>search</b> & more" in page.text
    assert "loss <NaN> in epoch 3" in page.text
    front = page.plot("validation AUC against MACs")
    assert len(dots(front)) == 28
    styles = [dot.attrib["class"] for dot in dots(front)]
    assert styles.count("chosen") == 1
    assert styles.count("front") == len(history.front()) - 1
    (cloud,) = [
        path for path in front.iter(f"{SVG}path") if path.attrib["class"] == "cloud" and len(path.attrib["d"]) > 99
    ]
    assert cloud.attrib["d"].count("h0") == 2000
    assert "2,000 of 5,000" in page.text
    assert len(dots(page.plot("best validation AUC so far"))) == 28
    assert page.plot("share of the space ruled out") is not None
    for record in history.front():
        assert record.arch.id in page.text


def test_a_network_that_was_trained_in_steps_counts_once(tmp_path: Path) -> None:
    history = toy_history(3)
    steps = [replace(history[0], budget=1), *(replace(trial, number=trial.number + 1, budget=3) for trial in history)]
    stepped = replace(history, records=tuple(steps))
    page = write_search(tmp_path / "report.html", stepped)
    assert "is the best of 3 trained" in page.text
    assert _which(stepped) == "3 trained networks"


def test_tooltips_tell_trial_and_network(tmp_path: Path) -> None:
    history = toy_history(3)
    page = write_search(tmp_path / "report.html", history)
    titles = {dot.find(f"{SVG}title").text for dot in dots(page.plot("validation AUC against"))}
    for record in history:
        (title,) = [text for text in titles if record.arch.id in text]
        assert f"trial {record.number}" in title
        assert ToySpace().describe(record.arch) in title


def test_dots_lie_where_the_axes_say(tmp_path: Path) -> None:
    """The cheapest is leftmost, the best is topmost, and equal ratios of cost are equal distances on the log axis."""
    space = ToySpace()
    metrics = [(0, 0.5), (1, 0.7), (2, 0.9)]  # costs 3, 12 and 48 million
    records = tuple(
        Trial(n, space.architecture((n, n, n)), 0, State.COMPLETE, {"auc": auc, "macs": 0.0}, finished=1.0 + n)
        for n, auc in metrics
    )
    history = History(records, {"auc": "maximize", "macs": "minimize"}, cost, "macs")
    page = write_search(tmp_path / "report.html", history)
    places = {}
    for dot in dots(page.plot("validation AUC against")):
        places[dot.find(f"{SVG}title").text[:12]] = (float(dot.attrib["cx"]), float(dot.attrib["cy"]))
    (x0, y0), (x1, y1), (x2, y2) = (places[record.arch.id] for record in records)
    assert x0 < x1 < x2
    assert y0 > y1 > y2
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.2)


def test_one_record_and_nothing_pruned(tmp_path: Path) -> None:
    page = write_search(tmp_path / "report.html", toy_history(1))
    assert len(dots(page.plot("validation AUC against"))) == 1
    assert "Ruled out" not in page.text
    assert not re.search(r"\bnan\b", page.source, flags=re.IGNORECASE)


def test_scores_that_are_nan_are_left_out_of_the_plot(tmp_path: Path) -> None:
    history = toy_history(4)
    broken = replace(history.records[1], metrics={**history.records[1].metrics, "auc": float("nan")})
    history = replace(history, records=(history.records[0], broken, *history.records[2:]))
    page = write_search(tmp_path / "report.html", history)
    assert len(dots(page.plot("validation AUC against"))) == 3


def test_one_objective(tmp_path: Path) -> None:
    history = replace(toy_history(10), objectives={"auc": "maximize"})
    page = write_search(tmp_path / "report.html", history)
    assert len(dots(page.plot("validation AUC against MACs"))) == 10
    assert "high AUC" in page.text


@pytest.mark.parametrize("trials", [3, 0])
def test_without_a_finished_trial_there_is_no_report(tmp_path: Path, trials: int) -> None:
    with pytest.raises(NASError, match=f"{trials} trials, none of them finished"):
        write_search(tmp_path / "report.html", toy_history(trials, failed=range(trials)))
    assert list(tmp_path.iterdir()) == []


def test_same_input_same_page(tmp_path: Path) -> None:
    """Nothing of the clock or of chance is on the page, so that a resumed study can be compared."""
    history = toy_history(12)
    cloud = {"pruned_cost": np.geomspace(1e6, 1e8, 3000), "pruned_bound": np.linspace(0.5, 0.8, 3000)}
    first = write_search(tmp_path / "a.html", history, **cloud)
    assert write_search(tmp_path / "b.html", history, **cloud).source == first.source


def test_report_of_naslung_draws_the_chain(tmp_path: Path) -> None:
    space = NASLungSpace()
    history = toy_history(8, space=space)
    page = write_search(tmp_path / "report.html", history, space=space)
    assert "residual" in page.plot("chain of blocks").attrib["aria-label"]
    assert space.describe(history.front()[0].arch) in page.text


@pytest.mark.parametrize(
    ("low", "high"), [(0.5, 0.5), (0.61, 0.87), (1e-5, 3e-3), (0.03, 25.0), (-3.0, 2.0), (0.0, 0.0), (1e6, 3e9)]
)
@pytest.mark.parametrize("log", [False, True])
def test_axes_cover_their_values(low: float, high: float, log: bool) -> None:
    axis = Axis.over("value", np.array([low, high]), log=log)
    assert axis.low < low <= high < axis.high
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 12
    assert len({text for _, text in ticks}) == len(ticks)
    positions = axis.position(np.array([value for value, _ in ticks]))
    assert np.all(np.diff(positions) > 0)


@pytest.mark.parametrize("last", [1, 2, 7, 40, 1000])
def test_counting_axes_have_whole_ticks(last: int) -> None:
    values = [value for value, _ in Axis.counting("trials", last).ticks()]
    assert values[0] == 0
    assert all(value == int(value) for value in values)


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("macs", 1.33e9, "1.33 G"),
        ("macs", 31e6, "0.0310 G"),
        ("params", 16_128, "0.0161 M"),
        ("bytes", 113_824_816, "114 MB"),
        ("latency_ms", 3.25, "3.25 ms"),
        ("auc", 0.91249, "0.912"),
        ("auc", float("nan"), "–"),
        ("auc", None, "–"),
    ],
)
def test_values_are_shown_in_their_unit(metric: str, value: float | None, text: str) -> None:
    assert Names(METRICS).show(metric, value, symbol=True) == text


def test_the_page_begins_with_the_answer_and_the_next_command_and_folds_settings(tmp_path: Path) -> None:
    history = toy_history(12)
    page = write_search(tmp_path / "report.html", history, command="voxnas train arch=x/arch.json")
    chosen = history.front()[0]
    head, body = page.source.split("</header>")
    assert f"Network {chosen.arch.id} is the best of 12 trained: validation AUC {chosen.metrics['auc']:.3f}" in head
    assert "Next: <code>voxnas train arch=x/arch.json</code>" in head
    assert head.index('class="answer"') < head.index('class="lead"')
    assert body.index("<details>") > body.rindex("<figure>")
    assert body.index("Settings and provenance") > body.index("<details>")


def test_every_figure_has_words_beside_it(tmp_path: Path) -> None:
    page = write_search(tmp_path / "report.html", toy_history(9), pruned_share=[(1, 0.0), (9, 0.25)])
    assert page.source.count("<figure>") == 4
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page.source)
    assert len(captions) == 3  # the fourth figure is the architecture, which this space describes in text
    assert "After 9 networks 25.0 % of the space are ruled out." in captions
    assert all(svg.attrib["aria-label"] for svg in page.svgs)


def test_objectives_in_words() -> None:
    names = Names(METRICS)
    assert names.objective("auc", "maximize", "region") == (
        "AUC: area under the ROC curve on the validation regions, maximised"
    )
    assert names.objective("params", "minimize") == "parameters (M): trainable weights of the network, minimised"
    assert names.objective("own_metric", "minimize") == "own metric: as the evaluator reports it, minimised"


@pytest.mark.parametrize("task", [Classification(), Segmentation(outputs=3), Detection(outputs=1)])
def test_every_metric_says_what_it_measures(task: Task) -> None:
    assert all(metric.meaning for metric in task.metrics)
    assert len({metric.meaning for metric in task.metrics}) == len(task.metrics)
