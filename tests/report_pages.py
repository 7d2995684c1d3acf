"""Toy searches and trainings, their reports, and a reader of the pages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from torch import nn

from nas.architecture import Architecture, Gene
from nas.history import History, State, Trial
from nas.html.classification import classification_sections
from nas.metrics.metric import Metric
from nas.report import search_report, train_report
from nas.space import SearchSpace
from nas.task_spec import TaskSpec
from nas.tasks.classification import METRICS

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
            records.append(Trial(number, arch, 0, State.FAILED, reason="loss <NaN> in epoch 3", **times))
            continue
        macs = float(cost(np.array([arch.genes]))[0])
        auc = 0.6 + 0.02 * np.log10(macs) + 0.02 * float(rng.normal())
        metrics = {"auc": auc, "macs": macs, "params": macs / 100}
        records.append(Trial(number, arch, 0, State.COMPLETE, metrics, worker="0", **times))
    return History(tuple(records), {"auc": "maximize", "macs": "minimize"}, cost, "macs")


def write_search(path: Path, history: History, space: SearchSpace | None = None, **changes: Any) -> Page:
    arguments: dict[str, Any] = {
        "title": "A <b>search</b> & more",
        "space": space or ToySpace(),
        "history": history,
        "pruned_share": [],
        "pruned_cost": EMPTY,
        "pruned_bound": EMPTY,
        "metrics": METRICS,
        "settings": {"seed": 7, "study": {"name": "a <study>"}, "training": {"optimizer": {"lr": 0.002}}},
        **changes,
    }
    search_report(path, **arguments)
    return Page(path)


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


def write_train(
    path: Path,
    predictions: dict[str, np.ndarray],
    metrics: Sequence[Metric] = METRICS,
    answer: str = "",
    command: str = "",
    **changes: Any,
) -> Page:
    space = ToySpace()
    arch = space.architecture((0, 1, 2))
    rows = [
        {"network": f"found {arch.id}", "AUC": "0.810 (0.771–0.853)", "params (M)": 0.016128},
        {"network": "volume <alone>", "AUC": "0.600 (0.550–0.650)", "params (M)": None},
    ]
    result = {**result_of(arch), **changes}
    train_report(
        path,
        title="Training",
        space=space,
        arch=arch,
        result=result,
        table_rows=rows,
        metrics=metrics,
        answer=answer,
        command=command,
        sections=sections_of(predictions, result["data"].get("classes")) if predictions else [],
    )
    return Page(path)


def sections_of(predictions: dict[str, np.ndarray], classes: Sequence[str] | None) -> list[str]:
    """The sections of a classification, from probabilities of class 1 or of all classes."""
    given = {name: np.asarray(value) for name, value in predictions.items()}
    prob = {
        name: np.column_stack([1 - value, value]) if value.ndim == 1 else value
        for name, value in given.items()
        if name.startswith("prob")
    }
    main = prob.pop("prob")
    names = classes or [f"class {number}" for number in range(main.shape[1])]
    others = {name.removeprefix("prob_"): value for name, value in prob.items()}
    return classification_sections(given["label"], main, given["group"], names, others)


def confusion(page: Page) -> np.ndarray:
    """The counts that the matrix shows."""
    (body,) = re.findall(r'<table class="confusion">.*?</table>', page.source, flags=re.S)
    counts = [int(number) for number in re.findall(r"<b>(\d+)</b>", body)]
    return np.array(counts).reshape((int(len(counts) ** 0.5),) * 2)
