"""The two reports and the drawing: what is on the page, that it stands alone, and the edges."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from torch import nn

from nas.architecture import Architecture, Gene
from nas.drawing import chain_of, draw
from nas.errors import NASError
from nas.history import History, Record, State
from nas.report import search_report, train_report
from nas.report.plot import Axis
from nas.report.roc import roc
from nas.report.units import show
from nas.space import SearchSpace
from nas.tasks.base import TaskSpec
from search_spaces.naslung import NASLungSpace

SVG = "{http://www.w3.org/2000/svg}"
EMPTY = np.empty(0)


class ToySpace(SearchSpace):
    """Three layers of some width, without blocks; a description full of characters that HTML gives a meaning to."""

    def __init__(self) -> None:
        self.genes = tuple(Gene(f"layer{n}", (2, 4, 8, 16, 32), ordered=True) for n in range(3))

    def build(self, arch: Architecture, task: TaskSpec | None = None) -> nn.Module:
        return nn.Conv3d(1, int(self.values(arch)[0]), 3)

    def describe(self, arch: Architecture) -> str:
        return " <&> ".join(map(str, self.values(arch)))


class Page(HTMLParser):
    """Elements, visible text and addresses of a page; fails on elements that are closed in the wrong order."""

    VOID = ("meta", "br", "hr", "link", "img")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(self.source)
        self.close()
        assert self.open == []
        self.svgs = [ElementTree.fromstring(text) for text in re.findall(r"<svg.*?</svg>", self.source, flags=re.S)]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data

    def of_class(self, name: str) -> list[str]:
        return [tag for tag, attributes in self.elements if name in (attributes.get("class") or "").split()]

    def plot(self, title: str) -> ElementTree.Element:
        (found,) = [svg for svg in self.svgs if title in svg.attrib["aria-label"]]
        return found

    def assert_stands_alone(self) -> None:
        assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in self.elements}
        assert "@import" not in self.source
        assert "url(" not in self.source
        for _, attributes in self.elements:
            for name in ("src", "href", "xlink:href", "srcset"):
                assert name not in attributes


def dots(svg: ElementTree.Element) -> list[ElementTree.Element]:
    """The trained networks of a plot: dots with a tooltip (those of the legend have none)."""
    return [circle for circle in svg.iter(f"{SVG}circle") if circle.find(f"{SVG}title") is not None]


def cost(genes_NG: np.ndarray) -> np.ndarray:
    return (4.0 ** np.asarray(genes_NG, dtype=np.float64)).sum(axis=1) * 1e6


def toy_history(trials: int, failed: Sequence[int] = (), space: SearchSpace | None = None) -> History:
    space, rng = space or ToySpace(), np.random.default_rng(0)
    records = []
    for number in range(trials):
        arch = space.sample(rng)
        times = {"started": 1.7e9 + 60 * number, "finished": 1.7e9 + 60 * number + 50}
        if number in failed:
            records.append(Record(number, arch, 0, State.FAILED, reason="loss <NaN> in epoch 3", **times))
            continue
        macs = float(cost(np.array([arch.genes]))[0])
        auc = 0.6 + 0.02 * np.log10(macs) + 0.02 * float(rng.normal())
        metrics = {"auc": auc, "macs": macs, "params": macs / 100}
        records.append(Record(number, arch, 0, State.COMPLETE, metrics, worker="0", **times))
    return History(tuple(records), {"auc": "maximize", "macs": "minimize"}, cost, "macs")


def write_search(path: Path, history: History, space: SearchSpace | None = None, **changes: Any) -> Page:
    arguments: dict[str, Any] = {
        "title": "A <b>search</b> & more",
        "space": space or ToySpace(),
        "history": history,
        "chosen": history.front()[0] if history.complete() else None,
        "pruned_share": [],
        "pruned_cost": EMPTY,
        "pruned_bound": EMPTY,
        "settings": {"seed": 7, "study": {"name": "a <study>"}, "training": {"optimizer": {"lr": 0.002}}},
        **changes,
    }
    search_report(path, **arguments)
    return Page(path)


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
        Record(n, space.architecture((n, n, n)), 0, State.COMPLETE, {"auc": auc, "macs": 0.0}, finished=1.0 + n)
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
    chosen = history.records[0]
    history = replace(history, records=(chosen, broken, *history.records[2:]))
    page = write_search(tmp_path / "report.html", history, chosen=chosen)
    assert len(dots(page.plot("validation AUC against"))) == 3


def test_one_objective(tmp_path: Path) -> None:
    history = replace(toy_history(10), objectives={"auc": "maximize"})
    page = write_search(tmp_path / "report.html", history)
    assert len(dots(page.plot("validation AUC against MACs"))) == 10
    assert "high AUC" in page.text


@pytest.mark.parametrize("failed", [(0, 1, 2), ()])
def test_without_a_finished_choice_there_is_no_report(tmp_path: Path, failed: Sequence[int]) -> None:
    history = toy_history(3, failed=failed)
    foreign = replace(history.records[0], number=99)
    with pytest.raises(NASError, match="not among"):
        write_search(tmp_path / "report.html", history, chosen=foreign)
    assert list(tmp_path.iterdir()) == []


def test_same_input_same_page(tmp_path: Path) -> None:
    """Nothing of the clock or of chance is on the page, so that a resumed study can be compared."""
    history = toy_history(12)
    cloud = {"pruned_cost": np.geomspace(1e6, 1e8, 3000), "pruned_bound": np.linspace(0.5, 0.8, 3000)}
    first = write_search(tmp_path / "a.html", history, **cloud)
    assert write_search(tmp_path / "b.html", history, **cloud).source == first.source


def predictions_of(classes: int, cases: int = 240) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    label = rng.integers(0, classes, cases)
    logits = rng.normal(size=(cases, classes)) + 1.5 * np.eye(classes)[label]
    prob = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    group = np.array([f"patient {n}" for n in rng.integers(0, 120, cases)])
    return {"label": label, "group": group, "prob": prob[:, 1] if classes == 2 else prob}


def result_of(arch: Architecture) -> dict[str, Any]:
    return {
        "arch_id": arch.id,
        "params": 16_128,
        "macs": 31_000_000,
        "bytes": 64_512,
        "latency_ms": {"median": 3.25, "p10": 3.0, "p90": 4.0, "device": "two <cores>"},
        "peak_memory_mb": None,
        "folds": [{"fold": n, "n": 80, "auc": 0.8 + 0.01 * n, "accuracy": 0.7} for n in range(3)],
        "mean": {"auc": 0.81, "accuracy": 0.7},
        "ci95": {"auc": [0.771, 0.853], "accuracy": [0.65, 0.75]},
        "baselines": {"volume": {"auc": 0.6}},
        "data": {"name": "toy", "sha256": "ab" * 32, "n": 240},
        "split": {"sha256": "cd" * 32, "unit": "patient"},
        "seed": 0,
        "versions": {"torch": "2"},
    }


def write_train(path: Path, predictions: dict[str, np.ndarray], **changes: Any) -> Page:
    space = ToySpace()
    arch = space.architecture((0, 1, 2))
    rows = [
        {"network": f"found {arch.id}", "AUC": "0.810 (0.771–0.853)", "params (M)": 0.016128},
        {"network": "volume <alone>", "AUC": "0.600 (0.550–0.650)", "params (M)": None},
    ]
    train_report(
        path,
        title="Training",
        space=space,
        arch=arch,
        result={**result_of(arch), **changes},
        predictions=predictions,
        table_rows=rows,
    )
    return Page(path)


def confusion(page: Page) -> np.ndarray:
    """The counts that the matrix shows."""
    (body,) = re.findall(r'<table class="confusion">.*?</table>', page.source, flags=re.S)
    counts = [int(number) for number in re.findall(r"<b>(\d+)</b>", body)]
    return np.array(counts).reshape((int(len(counts) ** 0.5),) * 2)


def test_train_report_of_two_classes(tmp_path: Path) -> None:
    given = predictions_of(2)
    given["prob_volume"] = np.linspace(0, 1, len(given["label"]))
    page = write_train(tmp_path / "report.html", given)
    page.assert_stands_alone()
    for words in ("test scores", "volume <alone>", "0.810 (0.771–0.853)", "0.771 to 0.853", "3.25 ms", "two <cores>"):
        assert words in page.text
    assert page.of_class("chosen") == ["tr"]
    guess = given["prob"] >= 0.5
    want = [[np.sum((given["label"] == t) & (guess == p)) for p in (0, 1)] for t in (0, 1)]
    np.testing.assert_array_equal(confusion(page), want)
    curves = page.plot("ROC")
    words = " ".join("".join(text.itertext()) for text in curves.iter(f"{SVG}text"))
    assert f"this network: AUC {roc_auc_score(given['label'], given['prob']):.3f}" in words
    assert f"volume: AUC {roc_auc_score(given['label'], given['prob_volume']):.3f}" in words
    assert len([path for path in curves.iter(f"{SVG}path") if path.attrib["class"].startswith("area")]) == 1
    assert page.plot("calibration") is not None


def test_train_report_of_three_classes(tmp_path: Path) -> None:
    given = predictions_of(3)
    data = {"name": "toy", "n": 240, "classes": ["solid", "part & solid", "ground glass"]}
    page = write_train(tmp_path / "report.html", given, data=data)
    assert confusion(page).sum() == 240
    np.testing.assert_array_equal(confusion(page).sum(axis=1), np.bincount(given["label"]))
    curves = page.plot("ROC")
    assert len([path for path in curves.iter(f"{SVG}path") if path.attrib["class"].startswith("area")]) == 3
    words = " ".join("".join(text.itertext()) for text in curves.iter(f"{SVG}text"))
    for number, name in enumerate(data["classes"]):
        assert f"{name}: AUC {roc_auc_score(given['label'] == number, given['prob'][:, number]):.3f}" in words


def test_train_report_of_one_class_has_no_curve(tmp_path: Path) -> None:
    given = predictions_of(2)
    page = write_train(tmp_path / "report.html", {**given, "label": np.zeros_like(given["label"])})
    assert "one class only" in page.text
    assert confusion(page)[1].sum() == 0


def test_train_report_without_predictions(tmp_path: Path) -> None:
    page = write_train(tmp_path / "report.html", {})
    assert "Confusion matrix" not in page.text
    assert "Each training" in page.text


@pytest.mark.parametrize(("protocol", "cases"), [("holdout", 120), ("cross_validation", 240)])
def test_cases_are_counted_once(tmp_path: Path, protocol: str, cases: int) -> None:
    folds = [{"fold": name, "n": 120, "auc": 0.8} for name in ("a", "b")]
    page = write_train(tmp_path / "report.html", {}, protocol=protocol, folds=folds)
    assert re.search(rf"Test cases\s*{cases}\s*2 trainings", page.text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prob": np.full(240, np.nan)}, "NaN"),
        ({"group": np.array(["a", "b"])}, "lengths"),
    ],
)
def test_broken_predictions(tmp_path: Path, change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(NASError, match=message):
        write_train(tmp_path / "report.html", {**predictions_of(2), **change})
    assert list(tmp_path.iterdir()) == []


def test_roc_band_holds_the_curve_and_widens_with_groups() -> None:
    """Cases of one patient that all agree carry the information of one: the band must grow."""
    given = predictions_of(2, cases=60)
    label, prob = np.repeat(given["label"], 5), np.repeat(given["prob"], 5)
    alone = roc(label, prob, np.arange(300))
    grouped = roc(label, prob, np.repeat(np.arange(60), 5))
    assert alone.auc == pytest.approx(roc_auc_score(label, prob))
    assert grouped.auc_low < alone.auc_low < alone.auc < alone.auc_high < grouped.auc_high
    assert (grouped.high - grouped.low).mean() > 1.5 * (alone.high - alone.low).mean()
    assert np.all(grouped.low <= grouped.high)
    inside = np.interp(grouped.grid, grouped.fpr, grouped.tpr)
    assert np.mean((inside >= grouped.low) & (inside <= grouped.high)) > 0.95


def test_drawing_of_a_chain() -> None:
    space, arch = NASLungSpace.from_name("model-1")
    boxes = chain_of(space, arch)
    kinds = [box.words[0] for box in boxes]
    assert kinds == ["stem", *["pool", "residual", "residual", "cbam"] * 3, "head"]
    assert [box.scale for box in boxes] == [1, 1, *[0.5] * 4, *[0.25] * 4, *[0.125] * 4]
    assert [box.channels for box in boxes[-4:]] == [8, 8, 8, 8]
    svg = ElementTree.fromstring(draw(space, arch))
    words = "".join(svg.itertext())
    assert words.count("residual") == 6
    for scale in ("full resolution", "1/2", "1/4", "1/8"):
        assert scale in words


def test_a_long_chain_stays_on_the_page() -> None:
    space = NASLungSpace(max_depth=40)
    arch = space.repair([len(space.widths)] * len(space.genes))
    svg = ElementTree.fromstring(draw(space, arch))
    width, height = (float(svg.attrib[name]) for name in ("width", "height"))
    assert width <= 1010
    for text in svg.iter(f"{SVG}tspan"):
        assert 0 <= float(text.attrib["x"]) <= width
        assert 0 <= float(text.attrib["y"]) <= height
    assert "".join(svg.itertext()).count("residual") == 40


def test_drawing_without_blocks_is_the_description() -> None:
    space = ToySpace()
    arch = space.architecture((0, 1, 2))
    assert chain_of(space, arch) is None
    assert "".join(ElementTree.fromstring(draw(space, arch)).itertext()) == "2 <&> 4 <&> 8"


def test_drawing_falls_back_where_the_space_refuses_the_size() -> None:
    space, arch = NASLungSpace.from_name("model-1")
    assert chain_of(space, arch, input_size=(20, 20, 20)) is None
    assert "stage 1" in draw(space, arch, input_size=(20, 20, 20))


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
    places = axis.place(np.array([value for value, _ in ticks]))
    assert np.all(np.diff(places) > 0)


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
    assert show(metric, value, symbol=True) == text
