"""`voxnas evaluate`: a trained network on labelled scans that neither its training nor its search has seen."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.argument_types import number_type, seed_type
from experiments.cli import USER_ERROR, Parser, write_line
from experiments.commands.network_options import (
    add_device,
    add_flips,
    add_network,
    add_reading,
    networks_of,
    use_flips,
    use_reading,
    within_time,
)
from experiments.commands.predict import label_map, outcomes, prediction_of
from nas.errors import NASError

if TYPE_CHECKING:
    from nas.inference.cases import Case
    from nas.retraining.evaluation import Evaluation

EXAMPLES = (
    "voxnas evaluate outputs/train/x labelled/",
    "voxnas evaluate outputs/train/x labelled.csv --out results",
)
SEEN = ("refuse", "skip", "keep")


def parser() -> Parser:
    """Return the parser of `voxnas evaluate`.

    Returns:
        The parser.
    """
    evaluate = Parser("voxnas evaluate", "Test a trained network on labelled scans that it has not seen.", EXAMPLES)
    add = evaluate.add_argument
    add("training", metavar="TRAINING", type=Path, help="folder of run_train.py; its folds are averaged")
    add(
        "labelled",
        metavar="LABELLED",
        type=Path,
        help="folder with imagesTr and labelsTr, folders named after classes, or a csv: path,label[,patient]",
    )
    add("--out", type=Path, help="folder of the results (default: TRAINING/evaluation/NAME)")
    add("--seen", choices=SEEN, default="refuse", help="cases of patients that were seen (default: refuse)")
    add("--subgroups", metavar="A,B", help="columns of the csv that split the results (default: those of usual names)")
    add_network(evaluate)
    add_flips(evaluate)
    add_reading(evaluate)
    add("--resamples", type=number_type(int, 2, 100_000), default=2000, help="bootstrap over patients (default: 2000)")
    add("--seed", type=seed_type, default=0, help="of the bootstrap (default: 0)")
    add_device(evaluate)
    evaluate.set_defaults(run=run)
    return evaluate


def run(options: argparse.Namespace) -> int:
    """Predict the labelled cases, measure them and write table.md, cases.csv and evaluation.json.

    Args:
        options: Parsed arguments.

    Returns:
        Exit code: 0, or 2 if a case could not be predicted.

    Raises:
        NASError: If the cases were seen, or cannot be measured.
    """
    from nas.export.torch_network import BundleNetwork
    from nas.inference.labelled import find_labelled
    from nas.inference.predict import classes_of, require_alike
    from nas.inference.record import Record
    from nas.retraining.evaluation import evaluate_cases, require_label
    from nas.retraining.seen import Seen
    from nas.utils.files import exclusive

    networks = networks_of(str(options.training), options)
    trained = [network for network in networks if isinstance(network, BundleNetwork)]
    if not trained:
        raise NASError(
            f"{options.training}, an exported network, which does not know its patients",
            "a folder of run_train.py",
            "give the folder of its training",
        )
    use_flips(networks, options.flips)
    use_reading(networks, options)
    require_alike(networks)
    classes = classes_of(trained[0])
    task = trained[0].task.deciding([network.spec.inference.get("threshold") for network in trained])
    channels = int(trained[0].spec.inputs[0].shape[1])
    faults: list[NASError] = []

    def refuse(error: NASError) -> None:
        faults.append(error)
        print(f"error: {error}", file=sys.stderr, flush=True)

    cases = []
    names = trained[0].spec.preparation.get("channels", ())
    wanted = None if options.subgroups is None else options.subgroups.split(",")
    for case in find_labelled(options.labelled, channels, task.spec.kind, classes, names, wanted):
        try:
            require_label(task, case, classes)
            cases.append(case)
        except NASError as error:
            refuse(error)
    seen = Seen.of(trained)
    if not seen.known:
        print("warning: the training does not record all patients that it or its search has seen", file=sys.stderr)
    was_seen = {case.name: seen.has(case) for case in cases}
    cases = _allowed(cases, was_seen, options.seen)
    whole = options.labelled.resolve()
    folder = options.out or options.training / "evaluation" / (whole.name if whole.is_dir() else whole.stem)
    segments = task.spec.kind == "segmentation"
    outs = [label_map(folder / "predictions", case) if segments else None for case in cases]
    with exclusive(folder):
        record = Record.beside(folder / "predictions", networks)
        done = outcomes(cases, outs, within_time(prediction_of(networks), options), record)
    measured = [outcome for outcome in done if outcome.error is None]
    evaluation = evaluate_cases(
        task,
        measured,
        [was_seen[outcome.case.name] for outcome in measured],
        classes,
        options.resamples,
        options.seed,
        refuse,
    )
    _write(folder, evaluation)
    return USER_ERROR if faults or len(measured) < len(done) else 0


def _write(folder: Path, evaluation: Evaluation) -> None:
    """Write the files of an evaluation and print its table."""
    from nas.retraining.tables import terminal_paragraphs
    from nas.utils.files import write_text

    write_text(folder / "table.md", evaluation.table())
    write_text(folder / "cases.csv", evaluation.cases_csv())
    write_text(folder / "evaluation.json", evaluation.to_json())
    write_line(f"\n{evaluation.caption}\n")
    rows = [("metric", "value", "95 % interval"), *evaluation.rows()]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for name, value, interval in rows:
        write_line(f"{name:<{widths[0]}}  {value:>{widths[1]}}  {interval:>{widths[2]}}")
    if evaluation.subgroups:
        write_line(f"\n{terminal_paragraphs(evaluation.subgroup_table())}")
    for text in evaluation.warnings:
        write_line(f"warning: {text}")
    write_line(f"\nwrote {folder / 'table.md'}, {folder / 'cases.csv'} and {folder / 'evaluation.json'}")


def _allowed(cases: Sequence[Case], was_seen: Mapping[str, bool], rule: str) -> list[Case]:
    """Refuse, leave out or keep cases of patients that were seen."""
    known = [case for case in cases if was_seen[case.name]]
    if rule == "keep" or not known:
        return list(cases)
    if rule == "refuse" or len(known) == len(cases):
        raise NASError(
            f"{len(known)} of {len(cases)} cases, of {len({case.patient for case in known})} patients, that the search "
            f"or the training has seen ({known[0].text}{', ...' if len(known) > 1 else ''})",
            "patients that it has not seen",
            "--seen skip leaves them out; --seen keep measures them all, which is no test",
        )
    write_line(f"left out {len(known)} of {len(cases)} cases that the search or the training has seen")
    return [case for case in cases if not was_seen[case.name]]
