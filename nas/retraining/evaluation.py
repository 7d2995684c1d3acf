"""Evaluation of a trained network on labelled cases that it has not seen."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from nas.context import ignore
from nas.data.io.arrays import load_npy
from nas.data.io.files import is_npy
from nas.data.io.grid import onto_image
from nas.data.io.images import to_array
from nas.data.io.label_values import read_label_map, require_classes, whole_labels
from nas.errors import NASError
from nas.inference.cases import Case
from nas.inference.many import Outcome
from nas.metrics.bootstrap import GroupBootstrap, intervals
from nas.metrics.calibration import bins_of_case
from nas.metrics.metric import Metric, in_unit_of
from nas.metrics.positive import decision_text
from nas.retraining.calibration import measured_calibration
from nas.retraining.calibration_text import error_text
from nas.retraining.subgroups import subgroup_markdown, subgroup_scores
from nas.retraining.training_warnings import at_chance
from nas.tasks.base import Task
from nas.tasks.degenerate import never_answered
from nas.utils.markdown_text import markdown_row, markdown_text
from nas.utils.spreadsheet import cell

SEEN = {True: "yes", False: "no", None: "unknown"}
Target = tuple[np.ndarray, np.ndarray, np.ndarray | None]  # prediction, target, voxel size in mm


@dataclass(frozen=True)
class Evaluation:
    """Metrics over labelled cases.

    Attributes:
        cases: The cases.
        seen: Whether training or search have seen each; None if it is not known.
        metrics: The metrics as the task declares them, in the unit in which they were measured.
        values: Metric -> value over all cases.
        ci95: Metric -> 95 % interval over patients; empty if there are too few.
        columns: Heading of the prediction -> value of each case.
        classes: Names of the classes.
        decision: positive and thresholds as in `TrainResult`.
        warnings: Warnings about the metrics, one sentence each.
        truth: Heading of the target -> value of each case.
        subgroups: Metrics of subgroups, as `nas.retraining.subgroups.subgroup_scores` gives them.
        calibration: Of a classification, the expected calibration error, as
            `nas.retraining.calibration.measured_calibration` gives it.
    """

    cases: Sequence[Case]
    seen: Sequence[bool | None]
    metrics: Sequence[Metric]
    values: Mapping[str, float]
    ci95: Mapping[str, tuple[float, float]]
    columns: Mapping[str, np.ndarray]
    classes: Sequence[str]
    decision: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    truth: Mapping[str, np.ndarray] = field(default_factory=dict)
    subgroups: Sequence[Mapping[str, Any]] = ()
    calibration: Mapping[str, Any] = field(default_factory=dict)

    def rows(self) -> list[tuple[str, str, str]]:
        """Return the table: metric, value, interval.

        Returns:
            One row for each metric; those of single classes are named after these.
        """
        found = []
        for metric in self.metrics:
            if metric.name not in self.values:
                continue
            label, digits = self._label(metric), metric.digits
            value, unit = self.values[metric.name], f" {metric.unit}" if metric.unit else ""
            text = f"{value:.{digits}f}{unit}" if np.isfinite(value) else "–"
            low, high = self.ci95.get(metric.name, (float("nan"),) * 2)
            found.append((label, text, f"[{low:.{digits}f}, {high:.{digits}f}]" if np.isfinite(low) else "–"))
        return found

    def _label(self, metric: Metric) -> str:
        name, _, number = metric.name.rpartition("_")
        if name in self.values and number.isdecimal() and int(number) < len(self.classes):
            return metric.label.removesuffix(number) + self.classes[int(number)]
        return metric.label

    @property
    def caption(self) -> str:
        """The number of cases and patients, and those that were seen."""
        patients = len({case.patient for case in self.cases})
        text = f"{len(self.cases)} cases of {patients} patients; [95 % interval, bootstrap over patients]"
        text = "; ".join([text, *decision_text(self.decision, self.classes)])
        if None in self.seen:
            text += "; predictions of another program, which does not state the cases that it was trained on"
        if any(self.seen):
            text += f"; {sum(map(bool, self.seen))} of the cases were seen by the search or the training: no test"
        return text

    def table(self) -> str:
        """Return the table in Markdown.

        Returns:
            Caption and table.
        """
        lines = ["| metric | value | 95 % interval |", "|---|---:|---:|"]
        below = ["", f"Expected calibration error {error_text(self.calibration)}."] if self.calibration else []
        below += ["", *(f"- warning: {markdown_text(text)}" for text in self.warnings)] if self.warnings else []
        caption, rows = markdown_text(self.caption), map(markdown_row, self.rows())
        text = "\n".join([caption, "", *lines, *rows, *below]) + "\n"
        return f"{text}\n{self.subgroup_table()}" if self.subgroups else text

    def subgroup_table(self) -> str:
        """Return the table of the subgroups in Markdown.

        Returns:
            Note and table; empty without subgroups.
        """
        return subgroup_markdown(self.subgroups, [metric for metric in self.metrics if metric.in_tables])

    def cases_csv(self) -> str:
        """Return the metrics of each case.

        Returns:
            A csv: case, file, patient, whether it was seen, then the columns of the task.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        columns = {**self.truth, **self.columns}
        writer.writerow(["case", "input", "patient", "seen", *map(cell, columns)])
        for number, (case, seen) in enumerate(zip(self.cases, self.seen, strict=True)):
            values = [cell_of(column[number]) for column in columns.values()]
            texts = map(cell, (case.name, case.text, case.patient))
            writer.writerow([*texts, SEEN[seen], *values])
        return text.getvalue()

    def to_json(self) -> str:
        """Return the content of evaluation.json.

        Returns:
            JSON; values that are not defined are null.
        """
        content = {
            "cases": len(self.cases),
            "patients": len({case.patient for case in self.cases}),
            "seen": int(sum(map(bool, self.seen))),
            "metrics": [asdict(metric) for metric in self.metrics],
            "values": {name: value if np.isfinite(value) else None for name, value in self.values.items()},
            "ci95": {name: list(bounds) for name, bounds in self.ci95.items() if np.isfinite(bounds).all()},
            **({"decision": dict(self.decision)} if self.decision else {}),
            "warnings": list(self.warnings),
            **({"subgroups": [dict(entry) for entry in self.subgroups]} if self.subgroups else {}),
            **({"calibration": dict(self.calibration)} if self.calibration else {}),
        }
        return json.dumps(content, indent=1) + "\n"


def evaluate_cases(
    task: Task,
    outcomes: Sequence[Outcome],
    seen: Sequence[bool | None],
    classes: Sequence[str],
    resamples: int = 2000,
    seed: int = 0,
    on_fault: Callable[[NASError], None] = ignore,
    *,
    on_labels: bool = False,
) -> Evaluation:
    """Measure predictions of labelled cases.

    Args:
        task: The task of the networks.
        outcomes: The predictions, all of which succeeded.
        seen: Whether the networks have seen each case; None if it is not known.
        classes: Names of the classes.
        resamples: Number of bootstrap samples of patients, at least 2.
        seed: Seed of the bootstrap.
        on_fault: Called for each label that cannot be read or does not fit its image; the case does not count.
        on_labels: Whether label maps of another program are brought onto the grid of the label. If False, the label is
            brought onto the grid of the prediction, which is that of the image.

    Returns:
        The metrics.

    Raises:
        NASError: If there is no case with a label, or the metrics are undefined on these labels.
    """
    kept: list[int] = []
    known: list[bool] = []
    answers: list[np.ndarray] = []  # of a segmentation, whether each class is in the case; else the prediction
    truths: list[np.ndarray] = []

    def measured() -> Iterator[Target]:
        for number, outcome in enumerate(outcomes):
            try:
                target = _target_of(task, outcome, classes, on_labels)
            except NASError as error:
                on_fault(error)
                continue
            kept.append(number)
            known.append(target[2] is not None)
            answer, truth, _ = target
            segments = task.spec.kind == "segmentation"
            answers.append(np.isin(np.arange(len(classes)), answer) if segments else np.asarray(answer))
            truths.append(np.isin(np.arange(len(classes)), truth) if segments else np.asarray(truth))
            yield target

    targets = measured()
    first = next(targets, None)
    if first is None:
        raise NASError("no case with a label that fits", "at least one", "see the errors above")
    scores = task.score_cases(chain([first], targets))
    cases = [outcomes[number].case for number in kept]
    strata = np.array([case.label for case in cases]) if task.spec.kind == "classification" else np.zeros(len(cases))
    subject = "the predictions" if on_labels else "the networks"
    values, metric = dict(scores.over()), in_unit_of(task.metrics, all(known))[0]
    patients, declared = np.array([case.patient for case in cases]), in_unit_of(task.metrics, all(known))
    draws = _draws(patients, strata, resamples, seed)
    ci95 = intervals([scores.over(rows) for rows in draws])
    calibration = {}
    if task.spec.kind == "classification":
        calibration = measured_calibration(np.stack([*map(bins_of_case, answers, truths)]), draws)
    names = list(dict.fromkeys(name for case in cases for name in case.subgroups))
    columns = {name: np.array([case.subgroups.get(name, "") for case in cases]) for name in names}
    shown = [one for one in declared if one.in_tables]
    return Evaluation(
        cases,
        [seen[number] for number in kept],
        declared,
        values,
        ci95,
        scores.columns(classes),
        list(classes),
        _decision(task, classes),
        [
            *_degenerate(task, np.stack(answers), np.stack(truths), classes, subject),
            *at_chance(metric, {**values, "ci95": ci95}, subject),
        ],
        scores.truth(classes),
        subgroup_scores(scores, columns, patients, strata, draws, shown),
        calibration,
    )


def _degenerate(task: Task, answers: np.ndarray, truths: np.ndarray, classes: Sequence[str], subject: str) -> list[str]:
    if task.spec.kind == "segmentation":
        answered, present = (np.flatnonzero(one.any(axis=0)) for one in (answers, truths))
        found = never_answered(answered, present, classes, "mark a voxel as")
    else:
        found = [
            text.replace("answers", "answer").replace("predicts", "predict")
            for text in task.degenerate(answers, truths, classes)
        ]
    return [f"{subject.capitalize()} {text}." for text in found]


def require_label(task: Task, case: Case, classes: Sequence[str]) -> None:
    """Check the label of a case before the case is predicted.

    Args:
        task: The task of the networks.
        case: The case.
        classes: Names of the classes.

    Raises:
        NASError: If it names no class, no number or no file.
    """
    if task.spec.kind == "segmentation":
        if not Path(case.label).is_file():
            raise NASError(f"no file {case.label}", f"the label map of {case.text}", "correct the path")
    elif task.spec.kind == "classification":
        if case.label not in classes:
            raise NASError(
                f"the label {case.label} of {case.text}", f"one of {', '.join(classes)}", "correct the label"
            )
    elif task.spec.kind == "detection":
        raise NASError("labelled cases of a detection", "classification or segmentation", "test it with run_train.py")
    else:
        _number(case)


def _target_of(task: Task, outcome: Outcome, classes: Sequence[str], on_labels: bool) -> Target:
    case, result = outcome.case, outcome.result or {}
    if task.spec.kind == "classification":
        prob = np.array([result["probabilities"][name] for name in classes])
        return prob, np.array(list(classes).index(case.label)), None
    if task.spec.kind != "segmentation":
        values = [value for name, value in result["rows"][0].items() if name.startswith("prediction")]
        return np.array(values[0] if len(values) == 1 else values), np.array(_number(case)), None
    assert outcome.output is not None
    guess, truth = _label_map(outcome.output), _label_map(Path(case.label))
    if guess[1] is not None and truth[1] is not None:
        if on_labels:
            image = onto_image(guess[1], truth[1], outcome.output, ("a label map", "its prediction"))
            guess = to_array(image)[0], image
        else:
            image = onto_image(truth[1], guess[1], Path(case.label))
            truth = to_array(image)[0], image
    if on_labels:
        known, fix = f"the classes {', '.join(classes)}", "number labels and predictions alike, or name more --classes"
    else:
        known, fix = f"the classes of the training ({', '.join(classes)})", "renumber the labels as in the training"
    label_DHW = require_classes(truth[0], len(classes), Path(case.label), known, fix)
    guess_DHW = require_classes(guess[0], len(classes), outcome.output, known, fix)
    if guess_DHW.shape != label_DHW.shape:
        raise NASError(
            f"a label of shape {truth[0].shape} in {case.label}",
            f"{guess_DHW.shape}, as its {'prediction' if on_labels else 'image'}",
            "correct it",
        )
    spacing = None if truth[1] is None else np.array(truth[1].GetSpacing()[::-1])
    return guess_DHW, label_DHW, spacing


def _label_map(path: Path) -> tuple[np.ndarray, Any]:
    """Read classes (D, H, W) and, of an image, its geometry."""
    if is_npy(path):
        return whole_labels(load_npy(path), path), None
    label = read_label_map(path)
    return to_array(label)[0], label


def _draws(patients: np.ndarray, strata: np.ndarray, resamples: int, seed: int) -> list[np.ndarray]:
    """Rows of bootstrap samples of patients; none if there are too few."""
    if len(np.unique(patients)) < 2:
        return []
    try:
        return GroupBootstrap(patients, strata, resamples, seed).rows
    except NASError:  # hardly a sample of so few patients has every class
        return []


def _decision(task: Task, classes: Sequence[str]) -> dict[str, Any]:
    positive, threshold = task.positive_class(classes), task.inference.get("threshold")
    found: dict[str, Any] = {} if positive is None else {"positive": positive}
    return found if threshold is None else {**found, "thresholds": {"the networks": threshold}}


def _number(case: Case) -> float:
    try:
        return float(case.label)
    except ValueError as error:
        raise NASError(f"the label {case.label} of {case.text}", "a number", "correct the label") from error


def cell_of(value: Any) -> str:
    """Write a value of a case.

    Args:
        value: A number or a text.

    Returns:
        Its cell in a csv, empty for a number that is not defined.
    """
    if not isinstance(value, float | np.floating):
        return cell(str(value))
    return f"{value:.6f}" if np.isfinite(value) else ""
