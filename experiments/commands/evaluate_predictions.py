"""`voxnas evaluate --predictions FOLDER LABELLED`: label maps of any program, measured as those of a network."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.cli import USER_ERROR, write_line
from nas.errors import NASError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nas.inference.cases import Case
    from nas.retraining.evaluation import Evaluation
    from nas.retraining.evaluation_files import Evaluated
    from nas.tasks.base import Task

OUT = Path("outputs/evaluation")


def run(options: argparse.Namespace) -> int:
    """Measure the predictions and write the files of an evaluation.

    Args:
        options: Parsed arguments of `voxnas evaluate`.

    Returns:
        Exit code: 0, or 2 if a case could not be measured.

    Raises:
        NASError: If cases lack a prediction, or cannot be measured.
    """
    from nas.inference.label_maps import classes_in, find_label_maps, match_predictions, shortened
    from nas.inference.many import Outcome
    from nas.retraining.evaluation import evaluate_cases
    from nas.retraining.evaluation_files import Evaluated, identity_of_labels, identity_of_source
    from nas.tasks.segmentation import Segmentation
    from nas.utils.files import exclusive

    if options.training is not None:
        raise NASError(
            f"the training {options.training} with --predictions {options.predictions}",
            "the predictions of another program, or a training",
            "evaluate each by a command of its own; voxnas compare sets them beside each other",
        )
    named = _classes(options.classes)
    by = None if options.subgroups is None else options.subgroups.split(",")
    labelled = find_label_maps(options.labelled, by)
    wanted = _cases_of(options.cases_of, labelled.cases)
    matched = match_predictions(options.predictions, wanted)
    if matched.extra and options.cases_of is None:
        names = shortened([file.relative_to(options.predictions) for file in matched.extra])
        print(f"warning: {len(matched.extra)} predictions without a label, not measured: {names}", file=sys.stderr)
    if matched.missing and (options.missing == "refuse" or not matched.files):
        raise NASError(
            f"no prediction of {len(matched.missing)} of {len(wanted)} cases: {shortened(matched.missing)}",
            f"a label map with the name of each case in {options.predictions}",
            "add them, or --missing skip, which measures the others",
        )
    if matched.missing:
        write_line(f"left out {len(matched.missing)} of {len(wanted)} cases without a prediction")
    cases = [case for case in wanted if case.name in matched.files]
    classes = named or labelled.classes or classes_in(cases)
    task = Segmentation(outputs=len(classes), tolerance=options.tolerance)
    faults: list[NASError] = []

    def refuse(error: NASError) -> None:
        faults.append(error)
        print(f"error: {error}", file=sys.stderr, flush=True)

    folder = options.out or OUT / options.predictions.resolve().name
    name, source = options.name or options.predictions.resolve().name, identity_of_source(options.predictions, folder)
    data = data_name(options.labelled), identity_of_labels(labelled.cases)
    system = Evaluated(name, *data, seed=options.seed, source=source)
    require_own_files(folder, options.labelled)
    require_own_result(folder, system)
    with exclusive(folder):
        outcomes = [Outcome(case, matched.files[case.name], {}, None, 0.0) for case in cases]
        settings = options.resamples, options.seed, refuse
        evaluation = evaluate_cases(task, outcomes, [None] * len(cases), classes, *settings, on_labels=True)
        report(folder, evaluation, task, system)
    return USER_ERROR if faults else 0


def data_name(labelled: Path) -> str:
    """Return the name of labelled data.

    Args:
        labelled: Folder or csv.

    Returns:
        Its name without the ending of a file.
    """
    whole = labelled.resolve()
    return whole.name if whole.is_dir() else whole.stem


def require_own_files(folder: Path, labelled: Path) -> None:
    """Check that the files of an evaluation do not take the place of the csv of its labels, such as cases.csv.

    Args:
        folder: The folder of the files.
        labelled: Folder or csv of the labelled cases.

    Raises:
        NASError: If one of them would.
    """
    from nas.retraining.evaluation_files import FILES
    from nas.utils.folders import require_no_input

    require_no_input([folder / name for name in FILES], [labelled])


def require_own_result(folder: Path, system: Evaluated) -> None:
    """Check that an evaluation takes the place of none but an earlier one of the same system on the same data.

    Args:
        folder: The folder of its files.
        system: The system and its data.

    Raises:
        NASError: If the folder is that of a training, or holds the evaluation of another system or of other data.
    """
    from nas.inference.model_spec import BUNDLES, EVALUATION, RESULT
    from nas.retraining.evaluation_files import is_evaluation_of
    from nas.utils.files import read_json

    path = folder / RESULT
    try:
        content = read_json(path) if path.exists() else None
    except (OSError, ValueError):
        content = {}
    is_evaluation = content is None or (isinstance(content, dict) and content.get("protocol") == EVALUATION)
    if not is_evaluation or (folder / BUNDLES).is_dir():
        raise NASError(f"--out {folder}, which holds a training or its result", "a folder of its own", "change --out")
    if content is not None and not is_evaluation_of(content, system):
        raise NASError(
            f"--out {folder}, which holds the evaluation of another system or of other data",
            "a folder of its own",
            f"change --out, or remove {path}",
        )


def report(folder: Path, evaluation: Evaluation, task: Task, system: Evaluated) -> None:
    """Write the files of an evaluation and print its table.

    Args:
        folder: The folder of the files.
        evaluation: The metrics.
        task: The task.
        system: The system and its data.
    """
    from nas.retraining.evaluation_files import CASES, TABLE, VALUES, write_evaluation
    from nas.retraining.tables import terminal_paragraphs

    write_evaluation(folder, evaluation, task, system)
    write_line(f"\n{evaluation.caption}\n")
    rows = [("metric", "value", "95 % interval"), *evaluation.rows()]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for name, value, interval in rows:
        write_line(f"{name:<{widths[0]}}  {value:>{widths[1]}}  {interval:>{widths[2]}}")
    if evaluation.subgroups:
        write_line(f"\n{terminal_paragraphs(evaluation.subgroup_table())}")
    for text in evaluation.warnings:
        write_line(f"warning: {text}")
    write_line(f"\nwrote {folder / TABLE}, {folder / CASES} and {folder / VALUES}")


def _cases_of(folder: Path | None, cases: Sequence[Case]) -> list[Case]:
    """Keep the cases that a training or an evaluation tested."""
    if folder is None:
        return list(cases)
    from nas.inference.label_maps import shortened
    from nas.retraining.pooled import cases_of_result

    wanted = set(cases_of_result(folder))
    if unknown := sorted(wanted - {case.name for case in cases}):
        raise NASError(
            f"the test cases {shortened(unknown)} of {folder}, which are not labelled here",
            "a result on the same data",
            "correct --cases-of",
        )
    return [case for case in cases if case.name in wanted]


def _classes(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    names = tuple(name.strip() for name in text.split(","))
    if len(names) < 2 or not all(names) or len(set(names)) < len(names):
        raise NASError(f"--classes {text}", "different names, the background first", "--classes background,tumour")
    return names
