"""`voxnas evaluate`: a trained network on labelled scans that it has not seen, or predictions of any program."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.argument_types import number_type, seed_type
from experiments.cli import USER_ERROR, Parser, write_line
from experiments.commands import evaluate_predictions
from experiments.commands.evaluate_predictions import data_name, report, require_own_files, require_own_result
from experiments.commands.network_options import (
    add_device,
    add_network,
    add_reading,
    add_views,
    networks_of,
    use_reading,
    use_views,
    within_time,
)
from experiments.commands.predict import label_map, outcomes, prediction_of
from nas.errors import NASError

if TYPE_CHECKING:
    from nas.export.torch_network import BundleNetwork
    from nas.inference.cases import Case
    from nas.retraining.evaluation_files import Evaluated

EXAMPLES = (
    "voxnas evaluate outputs/train/x labelled/",
    "voxnas evaluate outputs/train/x labelled.csv --out results",
    "voxnas evaluate --predictions nnunet_predictions/ labelled/ --name nnU-Net",
)
SEEN = ("refuse", "skip", "keep")
MISSING = ("refuse", "skip")
OF_PREDICTIONS = ("missing", "cases_of", "classes", "tolerance")  # options without effect on a training
OF_NETWORKS = ("seen", "network", "flips", "rotations", "values_in_hu", "npy_axes")  # and on predictions of others


def parser() -> Parser:
    """Return the parser of `voxnas evaluate`.

    Returns:
        The parser.
    """
    summary = "Test a trained network, or the predictions of any program, on labelled scans."
    evaluate = Parser("voxnas evaluate", summary, EXAMPLES)
    add = evaluate.add_argument
    add("training", metavar="TRAINING", nargs="?", type=Path, help="folder of run_train.py; its folds are averaged")
    add(
        "labelled",
        metavar="LABELLED",
        type=Path,
        help="folder with imagesTr and labelsTr, folders named after classes, or a csv: path,label[,patient]",
    )
    add("--predictions", metavar="FOLDER", type=Path, help="label maps of another program, named as the cases")
    add("--missing", choices=MISSING, default="refuse", help="cases without a prediction (default: refuse)")
    add("--cases-of", metavar="FOLDER", type=Path, help="of --predictions: only the test cases of a result")
    add("--classes", metavar="NAMES", help="of --predictions: background,... (default: those of dataset.json)")
    help_of_tolerance = "of the surface Dice of --predictions in mm (default: 1)"
    add("--tolerance", type=number_type(float, 0, 1000), default=1.0, help=help_of_tolerance)
    add("--name", help="name of the system in comparisons (default: that of the training or of the folder)")
    help_of_out = "folder of the results (default: TRAINING/evaluation/NAME, or outputs/evaluation/FOLDER)"
    add("--out", type=Path, help=help_of_out)
    add("--seen", choices=SEEN, default="refuse", help="cases of patients that were seen (default: refuse)")
    add("--subgroups", metavar="A,B", help="columns of the csv that split the results (default: those of usual names)")
    add_network(evaluate)
    add_views(evaluate)
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
    _require_used(options)
    if options.predictions is not None:
        return evaluate_predictions.run(options)
    if options.training is None:
        raise NASError("no TRAINING", "the folder of a training, or --predictions FOLDER", "voxnas evaluate --help")
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
    use_views(networks, options)
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
    found = find_labelled(options.labelled, channels, task.spec.kind, classes, names, wanted)
    for case in found:
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
    folder = options.out or options.training / "evaluation" / data_name(options.labelled)
    system = _system(options, trained, found, folder)
    require_own_files(folder, options.labelled)
    require_own_result(folder, system)
    segments = task.spec.kind == "segmentation"
    outs = [label_map(folder / "predictions", case) if segments else None for case in cases]
    record = Record.beside(folder / "predictions", networks)
    record.require_own([out for out in outs if out is not None])
    with exclusive(folder):
        done = outcomes(cases, outs, within_time(prediction_of(networks), options), record)
        record.remove_if_unused()
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
    report(folder, evaluation, task, system)
    return USER_ERROR if faults or len(measured) < len(done) else 0


def _require_used(options: argparse.Namespace) -> None:
    """Refuse options that would change nothing: those of networks with --predictions, and the other way round."""
    of_predictions = options.predictions is not None
    here, there = ("--predictions", "a training") if of_predictions else ("a training", "--predictions")
    defaults = parser()
    for name in OF_NETWORKS if of_predictions else OF_PREDICTIONS:
        if getattr(options, name) != defaults.get_default(name):
            flag = f"--{name.replace('_', '-')}"
            raise NASError(f"{flag} with {here}", f"an option of {there}", f"leave out {flag}")


def _system(
    options: argparse.Namespace, networks: Sequence[BundleNetwork], cases: Sequence[Case], folder: Path
) -> Evaluated:
    """Describe the networks by the result of their training."""
    from nas.inference.model_spec import RESULT
    from nas.retraining.evaluation_files import Evaluated, identity_of_labels, identity_of_source
    from nas.retraining.result import SIZES, TrainResult

    data = data_name(options.labelled), identity_of_labels(cases)
    arch_ids = {network.artifact.arch.id for network in networks}
    arch_id = arch_ids.pop() if len(arch_ids) == 1 else ""
    own = options.network or networks[0].artifact.name if arch_id else "ensemble"
    facts: dict[str, Any] = {"arch_id": arch_id, "networks": len(networks)}
    facts["source"] = identity_of_source(options.training, folder)
    try:
        result = TrainResult.load(options.training / RESULT)
    except NASError:  # of one bundle, or of a training that another program has copied without its result
        return Evaluated(options.name or own, *data, **facts)
    if result.arch_id == arch_id:
        known = (*SIZES, "training_seconds")
        facts["costs"] = {name: result.costs[name] for name in known if name in result.costs}
    return Evaluated(options.name or own, *data, seed=result.seed, **facts)


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
