"""Draw docs/images/street.svg: the order of the packages, from a configuration to a trained network in use.

python -m docs.street
"""

from __future__ import annotations

import sys
from pathlib import Path
from xml.sax.saxutils import escape

PATH = Path(__file__).resolve().parent / "images/street.svg"
WIDTH, LEFT, BOX, GAP = 960, 40, 200, 26
ROWS = (  # heading, (title, package, lines of text) in the order of a run
    (
        "a search",
        (
            ("configuration", "conf/", ("names classes by", "_target_")),
            ("problem", "nas/problem.py", ("space, task, cost,", "objectives, constraints")),
            ("strategy", "nas/strategies/", ("history → proposal", "(an architecture)")),
            ("evaluator", "nas/evaluators/", ("proposal → metrics,", "in a run context")),
        ),
    ),
    (
        "its result",
        (
            ("study", "nas/study/", ("trials of all workers,", "in a store")),
            ("arch.json", "nas/artifact.py", ("architecture and", "its origin")),
            ("retraining", "nas/retraining/", ("folds of a split,", "one test at the end")),
            ("bundle", "nas/bundle.py", ("a trained network on", "disk, one per fold")),
        ),
    ),
    (
        "its use",
        (
            ("table, report", "nas/report/", ("result.json, tables,", "pages that open offline")),
            ("comparison", "nas/comparison/", ("searches and trainings", "beside each other")),
            ("prediction", "nas/inference/", ("image files → classes,", "masks, boxes")),
            ("export", "nas/export/", ("ONNX and OpenVINO,", "compared with PyTorch")),
        ),
    ),
)
BELOW = (
    ("search_spaces/", "networks as vectors of choices; know only the core of nas"),
    (
        "nas/training/, nas/cost/, nas/supernets/, nas/zero_cost/",
        "what evaluators use: training loop, exact costs, shared weights, scores without training",
    ),
    ("nas/tasks/, nas/metrics/, nas/data/", "loss, inference, metrics; images, stores, splits"),
    ("nas/space.py, nas/architecture.py, nas/history.py, nas/utils/, nas/errors.py", "the core, without PyTorch"),
)
STYLE = """\
text { font-family: system-ui, sans-serif; font-size: 14px; fill: #1f2933; }
.title { font-size: 16px; font-weight: 600; }
.code { font-family: ui-monospace, monospace; font-size: 12px; fill: #31518f; }
.row { font-size: 13px; fill: #52606d; }
.box { fill: #eef3fb; stroke: #7a93c4; }
.base { fill: #f5f5f0; stroke: #a8a79a; }
.arrow { stroke: #52606d; stroke-width: 1.6; fill: none; marker-end: url(#head); }"""


def text(x: float, y: float, words: str, kind: str = "") -> str:
    """A line of text."""
    return f'<text x="{x:g}" y="{y:g}"{f" class={chr(34)}{kind}{chr(34)}" if kind else ""}>{escape(words)}</text>'


def drawing() -> str:
    """Return the SVG."""
    parts, y, height = [], 30.0, 112
    for number, (name, boxes) in enumerate(ROWS):
        parts.append(text(LEFT, y, name, "row"))
        top = y + 12
        for column, (title, package, lines) in enumerate(boxes):
            x = LEFT + column * (BOX + GAP)
            parts.append(f'<rect class="box" x="{x}" y="{top:g}" width="{BOX}" height="{height}" rx="8"/>')
            parts.append(text(x + 14, top + 28, title, "title"))
            parts.append(text(x + 14, top + 50, package, "code"))
            parts += [text(x + 14, top + 74 + 20 * line, words) for line, words in enumerate(lines)]
            if column + 1 < len(boxes) and number < 2:
                middle = top + height / 2
                parts.append(f'<path class="arrow" d="M{x + BOX + 2} {middle:g} h{GAP - 5}"/>')
        bottom = top + height
        if number < 2:
            start, end = LEFT + 3 * (BOX + GAP) + BOX / 2, LEFT + BOX / 2
            parts.append(f'<path class="arrow" d="M{start:g} {bottom + 2:g} v14 H{end:g} v{29:g}"/>')
        y = bottom + 36
    parts.append(text(LEFT, y, "below them (imports go downwards only)", "row"))
    y += 12
    for package, words in BELOW:
        parts.append(f'<rect class="base" x="{LEFT}" y="{y:g}" width="{WIDTH - 2 * LEFT}" height="52" rx="8"/>')
        parts += [text(LEFT + 14, y + 22, package, "code"), text(LEFT + 14, y + 42, words)]
        y += 60
    label = "From a configuration to a trained network in use: three rows of packages, above the packages they use."
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 10:g}" role="img" aria-label="{label}">\n'
        f"<style>\n{STYLE}\n</style>\n"
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#52606d"/></marker></defs>\n'
        f'<rect width="{WIDTH}" height="{y + 10:g}" fill="#ffffff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def packages() -> list[str]:
    """Every path that the drawing names."""
    named = [package for _, boxes in ROWS for _, package, _ in boxes]
    return named + [path for paths, _ in BELOW for path in paths.split(", ")]


def main() -> None:
    """Write the drawing."""
    PATH.write_text(drawing(), encoding="utf-8")
    sys.stdout.write(f"wrote {PATH}\n")


if __name__ == "__main__":
    main()
