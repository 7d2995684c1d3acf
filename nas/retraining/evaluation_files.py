"""Files of an evaluation: its tables, and result.json with predictions.csv in the form of a training.

So an evaluation, also of predictions of another program, is compared as a training is: by `voxnas compare`,
`voxnas pooled` and the tables of papers.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nas.bundle import PACKAGES
from nas.context import versions
from nas.inference.cases import Case
from nas.inference.model_spec import EVALUATION, RESULT
from nas.metrics.metric import MM, VOXELS, with_class_names
from nas.retraining.evaluation import Evaluation, cell_of
from nas.retraining.predictions import PREDICTIONS
from nas.retraining.result import TrainResult
from nas.tasks.base import Task
from nas.utils.files import write_text
from nas.utils.hashing import digest, file_digest
from nas.utils.spreadsheet import cell

TABLE, CASES, VALUES = "table.md", "cases.csv", "evaluation.json"
FILES = (TABLE, CASES, VALUES, PREDICTIONS, RESULT)


@dataclass(frozen=True)
class Evaluated:
    """The system of an evaluation, and its data.

    Attributes:
        name: Name of the system in tables.
        data: Name of the labelled data.
        sha256: Identity of the labelled data, see `identity_of_labels`.
        arch_id: Id of the architecture; empty for another program.
        networks: Number of networks whose predictions were averaged.
        seed: Seed of the training; that of the bootstrap for another program.
        costs: params, macs and bytes of one network, if they are known.
        source: Identity of the training or of the predictions, see `identity_of_source`.
    """

    name: str
    data: str
    sha256: str
    arch_id: str = ""
    networks: int = 1
    seed: int = 0
    costs: Mapping[str, float] = field(default_factory=dict)
    source: str = ""


def identity_of_labels(cases: Sequence[Case]) -> str:
    """Identify labelled data by the content of the label maps, or by the labels of other tasks.

    Args:
        cases: All labelled cases of the data, also those that are not measured.

    Returns:
        A hash, the same for every system that is measured on these labels.
    """
    labels = {case.name: _content(case.label) for case in cases}
    return digest(sorted(labels.items()))


def identity_of_source(source: Path, folder: Path) -> str:
    """Identify what is evaluated by its place, so that systems of one name do not replace each other.

    Args:
        source: Folder of the training or of the predictions.
        folder: Folder of the evaluation, which may be moved together with it.

    Returns:
        A hash of the path from one to the other.
    """
    return digest(Path(os.path.relpath(source.resolve(), folder.resolve())).as_posix())


def is_evaluation_of(content: Mapping[str, Any], system: Evaluated) -> bool:
    """Check whether an evaluation is that of a system on its data.

    Args:
        content: Its result.json. One of an earlier version does not state where its system came from.
        system: The system and its data.

    Returns:
        Whether data, architectures and sources agree; the names, if the source is unknown.
    """
    data = content.get("data")
    known = content.get("arch_id"), data.get("sha256") if isinstance(data, dict) else None
    source = content.get("identity")
    is_same = source == system.source if source else content.get("name") == system.name
    return is_same and known == (system.arch_id, system.sha256)


def _content(label: str) -> str:
    return file_digest(label) if label and Path(label).is_file() else label


def write_evaluation(folder: Path, evaluation: Evaluation, task: Task, system: Evaluated) -> None:
    """Write table.md, cases.csv, evaluation.json, result.json and predictions.csv.

    Args:
        folder: The folder.
        evaluation: The metrics.
        task: The task.
        system: The system and its data.
    """
    write_text(folder / TABLE, evaluation.table())
    write_text(folder / CASES, evaluation.cases_csv())
    write_text(folder / VALUES, evaluation.to_json())
    write_text(folder / PREDICTIONS, _predictions(evaluation, system.name))
    _result(evaluation, task, system).save(folder / RESULT)


def _predictions(evaluation: Evaluation, name: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = {
        **evaluation.truth,
        **{f"{name}: {heading}": values for heading, values in evaluation.columns.items()},
    }
    writer.writerow(["sample", "patient", *map(cell, columns)])
    for number, case in enumerate(evaluation.cases):
        values = [cell_of(column[number]) for column in columns.values()]
        writer.writerow([cell(case.name), cell(case.patient), *values])
    return text.getvalue()


def _result(evaluation: Evaluation, task: Task, system: Evaluated) -> TrainResult:
    cases, values = evaluation.cases, dict(evaluation.values)
    ci95 = {name: bounds for name, bounds in evaluation.ci95.items() if np.isfinite(bounds).all()}
    lengths = [metric.unit for metric in evaluation.metrics if metric.length]
    unit: dict[str, Any] = {"length_unit": VOXELS if VOXELS in lengths else MM} if lengths else {}
    decision = dict(evaluation.decision)
    if "thresholds" in decision:
        decision["thresholds"] = dict.fromkeys([system.name], next(iter(decision["thresholds"].values())))
    return TrainResult(
        name=system.name,
        arch_id=system.arch_id,
        protocol=EVALUATION,
        folds=[{"fold": "all", "n": len(cases), **values}],
        mean=values,
        ci95=ci95,
        data={"name": system.data, "sha256": system.sha256, "n": len(cases), "classes": list(evaluation.classes)},
        split={"sha256": digest([case.name for case in cases]), "unit": "patient"},
        seed=system.seed,
        costs=dict(system.costs),
        ensembles={system.name: {**values, "ci95": ci95}},
        metrics=with_class_names(evaluation.metrics, evaluation.classes),
        tested={"samples": len(cases), "groups": len({case.patient for case in cases})},
        versions=versions(PACKAGES),
        task=task.identity,
        headline={"system": system.name, "networks": system.networks},
        decision=decision,
        warnings=tuple(evaluation.warnings),
        identity=system.source,
        **unit,
    )
