"""report.html of an evaluation: the network, the table, and slices of subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from experiments.brain_tumor.system import System
from nas.data.brats import Brats
from nas.report.page import Cell, architecture_section, facts, section, settings_table, table, write_page
from nas.report.slices import Example, chosen_cases, slices_section
from nas.report.units import show


@dataclass(frozen=True, slots=True)
class Case:
    """One subject. part: of the training. scores: region -> metric -> value. image_DHW: a modality, on the axes of its
    file; truth_DHW, guess_DHW: classes 0 to 3."""

    name: str
    part: str
    scores: Mapping[str, Mapping[str, float]]
    image_DHW: np.ndarray
    truth_DHW: np.ndarray
    guess_DHW: np.ndarray


def write_report(
    path: Path, system: System, cases: Sequence[Case], rows: Sequence[Mapping[str, str]], empty: str
) -> None:
    costs, parts = system.notes["costs"], {case.part for case in cases}
    known = parts - {"test", "new"}
    lead = "Dice and the 95th percentile of surface distances by region, on the grid of each subject's own files."
    warning = " <strong>Some of these subjects were trained on: their scores say nothing of others.</strong>"
    headline = [
        ("network", system.network.arch.id, str(system.network.provenance.get("published", "searched"))),
        ("parameters", show("params", costs["params"], symbol=True), ""),
        ("MACs", show("macs", costs["macs"], symbol=True), "a subject, one view"),
        ("subjects", str(len(cases)), ", ".join(sorted(parts))),
    ]
    head = [Cell(name, number=place > 0) for place, name in enumerate(rows[0])]
    cells = [[Cell(text, number=place > 0) for place, text in enumerate(row.values())] for row in rows]
    note = f"WT: labels 1, 2 and 4. TC: 1 and 4. ET: 4. A region neither there nor predicted scores: {empty}."
    write_page(
        path,
        kicker="Brain tumours",
        title=f"Evaluation of {len(cases)} subject{'s' if len(cases) > 1 else ''}",
        lead=escape(lead) + (warning if known else ""),
        body=[
            facts(headline),
            section("Regions", note, table(head, cells)),
            slices_section(_examples(cases), Brats.classes),
            architecture_section("Network", system.network.space, system.network.arch),
            section("How a subject is seen", "", settings_table(_settings(system))),
        ],
    )


def _examples(cases: Sequence[Case]) -> list[Example]:
    """The pictures' rows run upwards, these volumes' to the back."""
    dice_N = np.array([case.scores["WT"]["dice"] for case in cases])
    found = []
    for place in chosen_cases(dice_N):
        case = cases[place]
        volumes = (volume[:, ::-1] for volume in (case.image_DHW, case.truth_DHW, case.guess_DHW))
        found.append(Example(case.name, *volumes, float(dice_N[place])))  # type: ignore[call-arg,arg-type]
    return found


def _settings(system: System) -> dict[str, object]:
    preparation = system.preparation
    return {
        "modalities": list(preparation.modalities),
        "size": list(preparation.size),
        "order": preparation.order,
        **system.inference,
    }
