"""data.html: a summary of the data before a search or a training, and the same in a few lines for a terminal."""

from __future__ import annotations

from html import escape
from pathlib import Path

import numpy as np

from nas.context import TaskSetup
from nas.data.store import VolumeStore
from nas.html.page import Cell, facts, section, table, write_page
from nas.html.slices import grey, img, painted
from nas.metrics.names import significant
from nas.metrics.positive import warning
from nas.report.data_facts import DataSummary, readable, spread

DATA = "data.html"
PER_CLASS, MOST = 4, 16  # pictures
SIDE = 132  # px


def data_page(folder: Path, setting: TaskSetup, summary: DataSummary) -> None:
    """Write data.html.

    Args:
        folder: Output folder of the search or training.
        setting: Data, split and task.
        summary: The summary of the data.
    """
    store, split = setting.store, setting.split
    marks = [f"<li>{escape(text)}</li>" for text in summary.warnings]
    found = f'<ul class="warnings">{"".join(marks)}</ul>' if marks else '<p class="ok">No warnings.</p>'
    parts = [
        _facts(setting, summary),
        section("Warnings", "", found),
        _split(setting, summary),
        _intensities(setting, summary),
        _baselines(summary),
        _pictures(setting),
    ]
    write_page(
        folder / DATA,
        kicker="Data",
        title=store.name,
        answer=" ".join(headlines(setting, summary)[:2]),
        lead=(
            f"Volumes of the test fold were not read for this page. Data {escape(store.sha256[:12])}, split "
            f"{escape(split.sha256[:12])}."
        ),
        body=[part for part in parts if part],
    )


def headlines(setting: TaskSetup, summary: DataSummary) -> list[str]:
    """Describe the data in a few sentences.

    Args:
        setting: Data, split and task.
        summary: The summary of the data.

    Returns:
        Cases and classes, then sizes and split, then the warnings.
    """
    store, split = setting.store, setting.split
    classes = ", ".join(f"{name} {count:,}" for name, count in list(summary.classes.items())[:6])
    more = f" and {len(summary.classes) - 6} more" if len(summary.classes) > 6 else ""
    of_what = "" if summary.class_of == "cases" else f" ({summary.class_of})"
    counted = f": {classes}{more}{of_what}" if classes and store.kind != "regression" else ""
    first = f"{store.name}: {summary.cases:,} cases of {summary.groups:,} {split.unit}s{counted}."
    sides = "×".join(map(str, store.sample_shape[1:]))
    channels = f"{store.shape[0]} channel{'s' * (store.shape[0] > 1)} of {sides} voxels"
    spacing = _spacing(summary)
    tested = next((fold["cases"] for fold in summary.folds if "test" in fold["part"]), 0)
    second = f"{channels}{f', {spacing}' if spacing else ''}; {len(summary.folds)} folds, {tested:,} cases to test."
    positive = setting.task.positive_class(store.classes)
    if positive is not None:
        second += f" The positive class is {positive}."
    doubt = [text] if (text := warning(positive, store.classes)) else []
    return [first, second[:1].upper() + second[1:], *(f"Warning: {text}" for text in [*doubt, *summary.warnings])]


def _spacing(summary: DataSummary) -> str:
    if not summary.spacing_mm:
        return ""
    return " × ".join(f"{middle:.3g}" for _, middle, _ in summary.spacing_mm) + " mm"


def _facts(setting: TaskSetup, summary: DataSummary) -> str:
    store, split = setting.store, setting.split
    items = [
        ("Data set", store.name, store.kind),
        ("Cases", f"{summary.cases:,}", ""),
        (f"{split.unit}s".capitalize(), f"{summary.groups:,}", ""),
        (
            "Voxels",
            " × ".join(map(str, store.sample_shape[1:])),
            f"{store.shape[0]} channels" if store.shape[0] > 1 else "",
        ),
    ]
    if summary.spacing_mm:
        low, high = (" × ".join(f"{one[at]:.3g}" for one in summary.spacing_mm) for at in (0, 2))
        items.append(("Spacing", _spacing(summary), "median" if low == high else f"{low} to {high} mm"))
    else:
        items.append(("Spacing", "unknown", "lengths are in voxels"))
    return facts(items)


def _split(setting: TaskSetup, summary: DataSummary) -> str:
    unit = setting.split.unit
    names = list(summary.classes) if setting.store.kind != "regression" else []
    head = [Cell("fold"), Cell("part of the search"), Cell("cases", number=True), Cell(f"{unit}s", number=True)]
    head += [Cell(name, number=True) for name in names]
    rows = [
        [
            Cell(str(fold["fold"])),
            Cell(fold["part"]),
            Cell(f"{fold['cases']:,}", number=True),
            Cell(f"{fold['groups']:,}", number=True),
            *(Cell(f"{fold['classes'][name]:,}", number=True) for name in names),
        ]
        for fold in summary.folds
    ]
    total = [Cell("all"), Cell(""), Cell(f"{summary.cases:,}", number=True), Cell(f"{summary.groups:,}", number=True)]
    rows.append([*total, *(Cell(f"{summary.classes[name]:,}", number=True) for name in names)])
    note = f"Cases of one {unit} are in one fold. Columns of classes count {summary.class_of}."
    return section("Folds and classes", note, table(head, rows, {len(rows) - 1: "total"}))


def _intensities(setting: TaskSetup, summary: DataSummary) -> str:
    head = [Cell(name, number=place > 0) for place, name in enumerate(summary.intensity)]
    row = [Cell(significant(value), number=place > 0) for place, value in enumerate(summary.intensity.values())]
    scaled = (
        "stored values; a training scales them by its training part"
        if setting.store.by_training
        else "as a network sees them"
    )
    note = f"Over voxels of {summary.read:,} cases of the training and validation part, {scaled}."
    return section("Intensities", note, table(head, [row]))


def _baselines(summary: DataSummary) -> str:
    if not summary.baselines:
        return ""
    rows = [[Cell(name), Cell(f"{value:.3f}", number=True)] for name, value in summary.baselines.items()]
    note = "Simple models, fitted on some of the training part. A network is worth its cost if it does better."
    head = [Cell("baseline"), Cell(f"validation {summary.score}", number=True)]
    return section("Without a network", note, table(head, rows))


def _pictures(setting: TaskSetup) -> str:
    store = setting.store
    rows = _examples(store, np.unique(np.concatenate(setting.split.search)))
    figures = [_figure(store, int(row)) for row in rows]
    note = "Middle slices of the first channel, of the training and validation part"
    note += "; of a mask the slice that holds most of it, painted." if store.kind == "segmentation" else "."
    return section("Examples", note, f'<div class="gallery">{"".join(figures)}</div>')


def _examples(store: VolumeStore, rows: np.ndarray) -> list[int]:
    """Choose some cases of every class."""
    most = min(MOST, readable(store))
    if store.kind != "classification":
        return spread(rows, min(most, MOST // 2)).tolist()
    each = max(1, min(PER_CLASS, most // len(store.classes)))
    of_class = (rows[store.labels[rows] == number] for number in range(len(store.classes)))
    return [row for members in of_class for row in spread(members, each).tolist()][:most]


def _figure(store: VolumeStore, row: int) -> str:
    image = store.read([row])[0, 0]
    level = len(image) // 2
    name = str(store.names[row])
    words = name
    picture = None
    if store.kind == "segmentation":
        mask = store.targets([row])[0].reshape(image.shape)
        level = int((mask > 0).sum(axis=(1, 2)).argmax())
        picture = painted(grey(image[level]), mask[level])[::-1]
    elif store.kind == "classification":
        words = f"{store.classes[store.labels[row]]}, {name}"
    elif store.numbers_N is not None:
        words = f"{store.numbers_N[row]:.4g}, {name}"
    if picture is None:
        picture = grey(image[level])
    return f"<figure>{img(picture, f'slice of {name}', SIDE)}<figcaption>{escape(words)}</figcaption></figure>"
