"""report.html of an evaluation: the network, the table, and slices of subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path

from experiments.brain_tumor.system import System
from nas.data.sources.brats import Brats
from nas.html.page import Cell, architecture_section, facts, section, settings_table, table, write_page
from nas.html.slices import Example, slices_section
from nas.metrics.names import show


def write_report(
    path: Path,
    system: System,
    rows: Sequence[Mapping[str, str]],
    note: str,
    parts: Sequence[str],
    examples: Sequence[Example],
) -> None:
    """rows: of the table, column -> text. note: what its numbers mean. parts: of the training, one a subject."""
    costs = system.notes["costs"]
    lead = "Dice and the 95th percentile of surface distances by region, on the grid of each subject's own files."
    warning = " <strong>Some of these subjects were trained on: their scores say nothing of others.</strong>"
    headline = [
        ("network", system.network.arch.id, system.network.provenance.published or "searched"),
        ("parameters", show("params", costs["params"], symbol=True), ""),
        ("MACs", show("macs", costs["macs"], symbol=True), "a subject, one view"),
        ("subjects", str(len(parts)), ", ".join(sorted(set(parts)))),
    ]
    head = [Cell(name, number=place > 0) for place, name in enumerate(rows[0])]
    cells = [[Cell(text, number=place > 0) for place, text in enumerate(row.values())] for row in rows]
    write_page(
        path,
        kicker="Brain tumours",
        title=f"Evaluation of {len(parts)} subject{'s' if len(parts) > 1 else ''}",
        lead=escape(lead) + (warning if set(parts) - {"test", "new"} else ""),
        body=[
            facts(headline),
            section("Regions", note, table(head, cells)),
            slices_section(examples, Brats.classes),
            architecture_section("Network", system.network.space, system.network.arch),
            section("How a subject is seen", "", settings_table({**asdict(system.preparation), **system.inference})),
        ],
    )
