"""report.html of an evaluation: the network, the table, and slices of subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from experiments.brain_tumor.network import TumourNetwork
from nas.html.page import Cell, architecture_section, facts, folded, section, settings_table, table, write_page
from nas.html.slices import Example, slices_section
from nas.metrics.names import show


def write_report(
    path: Path,
    network: TumourNetwork,
    rows: Sequence[Mapping[str, str]],
    note: str,
    parts: Sequence[str],
    examples: Sequence[Example],
) -> None:
    """Write the report.

    Args:
        path: The HTML file.
        network: The trained network.
        rows: Rows of the table, column -> text.
        note: Meaning of its numbers.
        parts: Parts of the training, one per subject.
        examples: Subjects that are shown with their slices.
    """
    costs, artifact = network.costs(), network.bundle.artifact
    lead = "Dice and the 95th percentile of surface distances by region, on the grid of each subject's own files."
    warning = " <strong>Some of these subjects were trained on: their scores do not hold for others.</strong>"
    headline = [
        ("network", artifact.arch.id, artifact.provenance.published or "searched"),
        ("parameters", show("params", costs["params"], symbol=True), ""),
        ("MACs", show("macs", costs["macs"], symbol=True), "a subject, one view"),
        ("subjects", str(len(parts)), ", ".join(sorted(set(parts)))),
    ]
    answer = _answer(rows[len(parts)] if len(parts) > 1 else rows[0], len(parts))
    head = [Cell(name, number=place > 0) for place, name in enumerate(rows[0])]
    cells = [[Cell(text, number=place > 0) for place, text in enumerate(row.values())] for row in rows]
    write_page(
        path,
        kicker="Brain tumours",
        title=f"Evaluation of {len(parts)} subject{'s' if len(parts) > 1 else ''}",
        answer=answer,
        lead=escape(lead) + (warning if set(parts) - {"test", "new"} else ""),
        body=[
            facts(headline),
            section("Regions", note, table(head, cells)),
            slices_section(examples, network.convention.classes),
            architecture_section("Network", artifact.space, artifact.arch),
            folded("How a subject is seen", settings_table(network.settings)),
        ],
    )


def _answer(row: Mapping[str, str], subjects: int) -> str:
    """State the Dice of every region, from the row of the mean."""
    dice = [f"{name.removesuffix(' Dice')} {text}" for name, text in row.items() if name.endswith(" Dice")]
    of = f"over {subjects} subjects" if subjects > 1 else "of one subject, which says nothing about others"
    return f"Dice {of}: {', '.join(dice)}."
