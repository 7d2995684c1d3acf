"""report.html of one CT: table and slices of the candidates, time and memory."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from experiments.lung_screening.pictures import close_up, levels_with_lung, overlay
from experiments.lung_screening.screening import CLASSICAL, Screening
from nas.html.page import Cell, facts, figure, folded, section, settings_table, table, write_page
from nas.html.slices import img
from nas.metrics.names import significant

SHOWN = 12  # candidates with pictures
CLOSE_PX, SLICE_PX = 220, 400
SPREAD = 6  # slices from the lowest to the highest


def write_report(path: Path, found: Screening, content: Mapping[str, Any]) -> None:
    """Write the report.

    Args:
        path: The HTML file.
        found: The screening.
        content: The content of screening.json.
    """
    write_page(
        path,
        kicker="Lung screening",
        title=Path(str(content["ct"])).name or str(content["ct"]),
        answer=_answer(found, content),
        lead=(
            "Nodule candidates of one CT. <strong>This is research software and no medical device:</strong> "
            "it has not been validated on patients, and nothing on this page is a diagnosis."
        ),
        body=[
            _facts(found, content),
            _candidates(content),
            _pictures(found, content),
            _spread(found),
            folded(
                "How it was made",
                settings_table(
                    {
                        "ct": content["ct"],
                        "voxels": content["voxels"],
                        "spacing_mm": content["spacing_mm"],
                        "patches": content["patches"],
                        **{name: content[name] for name in ("stages", "settings", "seconds", "versions")},
                    }
                ),
            ),
        ],
    )


def _answer(found: Screening, content: Mapping[str, Any]) -> str:
    """State the number of candidates and where the first one lies."""
    rows = content["candidates"]
    if not rows:
        return f"No candidate has a score of at least {found.settings.least:g}."
    first = rows[0]
    place = f"slice {first['slice']} ({first['x_mm']:.0f}, {first['y_mm']:.0f}, {first['z_mm']:.0f}) mm"
    count = f"{len(rows)} candidate{'s' * (len(rows) > 1)}"
    return (
        f"{count} with a score of at least {found.settings.least:g}. The first, {first['score']:.3f}, lies at {place}."
    )


def _facts(found: Screening, content: Mapping[str, Any]) -> str:
    seconds = content["seconds"]
    patches = f"{content['patches']:,} patches, {significant(content['patch_macs'] / 1e9)} G MACs"
    return facts(
        [
            ("Nodules found by", "network" if found.stages.nodules else "no network", ""),
            ("Candidates", str(len(found.candidates)), f"score of at least {found.settings.least:g}"),
            ("Lungs", f"{found.lungs_ml / 1000:.2f} l", f"by {'a' if found.stages.lungs else 'no'} network"),
            ("Slices", str(len(found.lungs_DHW)), f"{found.scan.spacing_mm[0]:.3g} mm apart"),
            ("Time", f"{seconds['total']:.1f} s", patches if content["patches"] else ""),
            ("Peak memory", f"{content['peak_memory_mb']:,.0f} MB", ""),
        ]
    )


def _candidates(content: Mapping[str, Any]) -> str:
    rows = content["candidates"]
    by_network = content["stages"]["nodules"] != CLASSICAL
    if not rows:
        return section("Candidates", "None reaches the minimum score.")
    score = "probability of a nodule" if by_network else "blob score (no probability)"
    head = ["candidate", "x (mm)", "y (mm)", "z (mm)", "slice", score, "probability of malignancy"]
    body = [
        [
            Cell(str(row["number"])),
            *(Cell(f"{row[key]:.1f}", number=True) for key in ("x_mm", "y_mm", "z_mm")),
            Cell(str(row["slice"]), number=True),
            Cell(f"{row['score']:.3f}", number=True),
            Cell("–" if row["malignancy"] is None else f"{row['malignancy']:.3f}", number=True),
        ]
        for row in rows
    ]
    note = f"Points are {content['coordinates']}. Slices count from the feet."
    return section("Candidates", note, table([Cell(text, number=i > 0) for i, text in enumerate(head)], body))


def _pictures(found: Screening, content: Mapping[str, Any]) -> str:
    cells = ""
    for position, row in enumerate(content["candidates"][:SHOWN]):
        level = int(found.voxels_N3[position][0])
        name = f"candidate {row['number']}"
        words = f"{name}: {row['score']:.3f}, slice {row['slice']}"
        if row["malignancy"] is not None:
            words += f", malignancy {row['malignancy']:.3f}"
        cells += (
            f'<tr><th colspan="2">{escape(words)}</th></tr>'
            '<tr><td style="vertical-align: top">'
            f"{img(close_up(found, position), f'5 cm around {name}', CLOSE_PX)}</td>"
            f"<td>{img(overlay(found, level), f'slice of {name}', SLICE_PX)}</td></tr>"
        )
    if not cells:
        return ""
    note = f"5 cm around each of the first {SHOWN} candidates, and its slice: lungs outlined in green."
    shown = min(len(content["candidates"]), SHOWN)
    caption = f"The surroundings and the slice of candidate{'s 1 to ' + str(shown) if shown > 1 else ' 1'}."
    return section("Where they lie", note, figure(f"<table>{cells}</table>", caption))


def _spread(found: Screening) -> str:
    levels = levels_with_lung(found)
    chosen = [levels[round(i * (len(levels) - 1) / (SPREAD - 1))] for i in range(SPREAD)]
    pictures = "".join(img(overlay(found, int(level)), f"slice {level + 1}", 290) for level in dict.fromkeys(chosen))
    box = f'<div style="display: flex; flex-wrap: wrap; gap: 8px">{pictures}</div>'
    note = "Slices from the lowest to the highest with lung; all are in overlays/."
    span = f"from {levels[0] + 1} to {levels[-1] + 1}"
    caption = f"The lungs have {found.lungs_ml / 1000:.2f} l, on {len(levels)} slices {span}."
    return section("The lungs", note, figure(box, caption))
