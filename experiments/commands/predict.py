"""`voxnas predict`: run a trained network on image files. An exported one needs onnxruntime or OpenVINO, no torch."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli import USER_ERROR, Parser, write_line
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
from nas.errors import NASError

if TYPE_CHECKING:
    from nas.inference.cases import Case
    from nas.inference.many import Outcome, Prediction
    from nas.inference.record import Record
    from nas.inference.runtime import InferenceNetwork

EXAMPLES = (
    "voxnas predict outputs/train/x scans/ --out masks/",
    "voxnas predict model.onnx image.nii.gz --out labels.nii.gz",
    "voxnas predict outputs/train/x scans/ --out masks/ --uncertainty",
    "voxnas predict a/model.onnx scans/ --average-with b/model.onnx --out masks/",
)
TABLE = "predictions.csv"
VOLUMES = "uncertainty.csv"
VERSION = re.compile(r"\.v?\d+")  # end of a folder's name, which is no ending of a file


def parser() -> Parser:
    """Return the parser of `voxnas predict`.

    Returns:
        The parser.
    """
    predict = Parser(
        "voxnas predict", "Run a trained network on image files; an exported one needs no torch.", EXAMPLES
    )
    add = predict.add_argument
    add(
        "model",
        metavar="MODEL",
        help="folder of run_train.py (its folds are averaged), or model.onnx or OpenVINO's model.xml beside model.json",
    )
    add(
        "input",
        metavar="INPUT",
        nargs="+",
        type=Path,
        help="NIfTI, NRRD, MetaImage, .npy, a DICOM folder, a folder of these, or a csv with a column path",
    )
    add("--average-with", action="append", default=[], metavar="MODEL", help="average with it; may be repeated")
    add(
        "--out",
        required=True,
        type=Path,
        help="segmentation: a folder, or an image (.nii.gz, ...) for one input; else a .csv or .json, or a folder",
    )
    add("--uncertainty", action="store_true", help="how far the networks differ: maps and volumes, or a spread")
    add("--point", metavar="X,Y,Z", help="centre of the crop in world mm, LPS (default: centre of the volume)")
    add_network(predict)
    add_views(predict)
    add_reading(predict)
    add("--again", action="store_true", help="predict finished inputs again")
    add_device(predict)
    predict.set_defaults(run=run)
    return predict


def run(options: argparse.Namespace) -> int:
    """Predict every input and write the label maps or a table.

    Args:
        options: Parsed arguments.

    Returns:
        Exit code: 0, or 2 if an input could not be predicted.
    """
    from nas.inference.cases import find_cases
    from nas.inference.predict import require_alike
    from nas.inference.record import Record
    from nas.inference.uncertainty import require_several
    from nas.utils.special_files import is_special

    point_mm = _point(options.point)
    models = (options.model, *options.average_with)
    networks = [network for model in models for network in networks_of(model, options)]
    use_views(networks, options)
    use_reading(networks, options)
    require_alike(networks)
    spec = networks[0].spec
    if options.uncertainty:
        require_several(networks)
    segments = spec.task.get("kind") == "segmentation"
    if segments and len(options.input) > 1:
        _require_folder(options.out, len(options.input))
    cases = find_cases(options.input, int(spec.inputs[0].shape[1]), spec.preparation.get("channels", ()))
    if point_mm is not None:
        cases = [case if case.point_mm else replace(case, point_mm=point_mm) for case in cases]
    table = None if segments else _table(options.out)
    outs = _outs(options.out, cases) if segments else [None] * len(cases)
    listed = _volumes_table(options.out, outs) if segments and options.uncertainty else None
    written = _written(outs, [one for one in (table, listed) if one is not None], options.uncertainty)
    _require_apart(written, [*options.input, *(path for case in cases for path in case.paths)])
    chosen = ["uncertainty"] * options.uncertainty
    out = table or options.out
    record = None if is_special(out) else Record.beside(out, networks, *chosen)  # nothing lies beside a device
    if table is not None:
        _require_no_result(table)
    if record is not None:
        record.require_own(written)
    if options.again and record is not None:
        record.forget()
    failed, rows, predict = 0, [], within_time(prediction_of(networks, options.uncertainty), options)
    volumes: list[Mapping[str, Any]] = []
    with _held(table or (options.out.parent if outs == [options.out] else options.out), is_folder=table is None):
        for outcome in outcomes(cases, outs, predict, record):
            failed += outcome.error is not None
            volumes += (outcome.result or {}).get("volumes", ())
            if outcome.result is not None and table is not None:
                rows += outcome.result.get("rows", [outcome.result])
        if table is not None and failed < len(cases):
            _write_table(table, rows, record)
        if listed is not None and volumes:
            _write_table(listed, volumes, record)
        if record is not None:
            record.remove_if_unused()
    if len(cases) > 1:
        write_line(f"predicted {len(cases) - failed} of {len(cases)} inputs" + f", {failed} failed" * bool(failed))
    return USER_ERROR if failed else 0


def _held(out: Path, *, is_folder: bool) -> AbstractContextManager[None]:
    """Hold the folder of the outputs; a device or a pipe is only written to."""
    from nas.utils.files import exclusive
    from nas.utils.special_files import is_special

    return nullcontext() if is_special(out) else exclusive(out if is_folder else out.parent)


def outcomes(cases: Sequence[Case], outs: Sequence[Path | None], predict: Prediction, record: Any) -> Sequence[Outcome]:
    """Predict cases; write a line for each, those of failures to stderr, and on a terminal a line of progress.

    Args:
        cases: The cases.
        outs: Their files, see `predict_cases`.
        predict: Predicts a case.
        record: Finished cases, see `predict_cases`.

    Returns:
        The outcomes.
    """
    from nas.inference.many import predict_cases

    found: list[Outcome] = []
    started = time.monotonic()
    line = _ProgressLine(len(cases))
    line.show("")
    for outcome in predict_cases(cases, outs, predict, record):
        found.append(outcome)
        line.clear()
        if outcome.error is not None:
            print(f"error: {outcome.error}", file=sys.stderr, flush=True)
        else:
            write_line(_line_of(outcome))
        new = sum(not one.kept for one in found)
        left = (time.monotonic() - started) / max(new, 1) * (len(cases) - len(found))
        line.done = len(found)
        line.show(f", {left // 60:.0f}:{left % 60:02.0f} left")
    line.clear()
    return found


class _ProgressLine:
    """One line on a terminal, and nothing in a file."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self._shown = total > 1 and sys.stderr.isatty()

    def show(self, note: str) -> None:
        if self._shown and self.done < self.total:
            sys.stderr.write(f"\r{self.done}/{self.total} predicted{note}")
            sys.stderr.flush()

    def clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _line_of(outcome: Outcome) -> str:
    result = outcome.result or {}
    if "shares" in result:
        text = f"{outcome.case.text} -> {outcome.output}: " + ", ".join(
            f"{name} {share:.2%}" for name, share in result["shares"].items()
        )
    elif "probabilities" in result:
        text = f"{outcome.case.text}: " + ", ".join(f"{name} {p:.3f}" for name, p in result["probabilities"].items())
        if "threshold" in result:
            text += f"; {result['class']} at the threshold {result['threshold']:.3g}"
    else:
        rows = [{name: value for name, value in row.items() if name != "input"} for row in result["rows"]]
        values = ", ".join(f"{name} {value}" for row in rows[:1] for name, value in row.items())
        text = f"{outcome.case.text}: " + (values if len(rows) == 1 else f"{len(rows)} boxes")
    return f"{text} ({'finished before' if outcome.kept else f'{outcome.seconds:.1f} s'})"


def prediction_of(networks: Sequence[InferenceNetwork], uncertainty: bool = False) -> Prediction:
    """Return the prediction of networks of any task.

    Args:
        networks: Networks of one training.
        uncertainty: Whether to measure how far the networks differ.

    Returns:
        A function for `predict_cases`.

    Raises:
        NASError: If the networks are exported and their task needs torch.
    """
    from nas.inference.many import labels_or_classes
    from nas.inference.runtime import KINDS

    kind = networks[0].spec.task.get("kind")
    if kind in KINDS:
        return labels_or_classes(networks, uncertainty)
    if uncertainty:
        raise NASError(f"--uncertainty for a task of {kind}", f"{' or '.join(KINDS)}", "leave out --uncertainty")
    if any(network.spec.files for network in networks):
        raise NASError(
            f"{networks[0].path} for a task of {kind}",
            f"{' or '.join(KINDS)} of an exported network",
            "give the folder of its training",
        )
    from nas.export.boxes import rows_of_case

    def predict(case: Case, output: Path | None) -> dict[str, Any]:
        return {"rows": [{"input": case.text, **row} for row in rows_of_case(networks, case)]}  # type: ignore[arg-type]

    return predict


def _table(out: Path) -> Path:
    """Return the file of the table: the given one, or one in the given folder."""
    from nas.inference.predict import TABLES, require_name

    if not out.suffix or out.is_dir():
        return out / TABLE
    require_name(out, TABLES)
    return out


def _volumes_table(out: Path, outs: Sequence[Path | None]) -> Path:
    """Return the file of the volumes: in the folder of the label maps, or beside the one that is named."""
    from nas.data.io.files import split_name

    return out.with_name(f"{split_name(out)[0]}_{VOLUMES}") if outs == [out] else out / VOLUMES


def _outs(out: Path, cases: Sequence[Case]) -> list[Path]:
    """Return the file of each label map: the given file, or one in the given folder with the name of the case."""
    from nas.inference.predict import IMAGES

    if len(cases) == 1 and out.name.endswith((*IMAGES, ".npy")):
        return [out]
    _require_folder(out, len(cases))
    return [label_map(out, case) for case in cases]


def _written(outs: Sequence[Path | None], tables: Sequence[Path], uncertainty: bool) -> list[Path]:
    """List all files that the command writes: label maps, maps of the uncertainty, tables."""
    from nas.inference.uncertainty import map_paths

    labels = [out for out in outs if out is not None]
    maps = [path for out in labels for path in map_paths(out).values()] if uncertainty else []
    return [*labels, *maps, *tables]


def _require_apart(outputs: Sequence[Path], inputs: Sequence[Path]) -> None:
    """Check that no output takes the place of an input or of another output."""
    from nas.utils.folders import require_no_input

    require_no_input(outputs, inputs)
    known: set[Path] = set()
    for path in outputs:
        whole = path.resolve()
        if whole in known:
            raise NASError(f"two outputs of one path, {path}", "a file for each output", "rename an input")
        known.add(whole)


def _require_no_result(table: Path) -> None:
    """Check that a table is not written among the files of a training or of an evaluation."""
    from nas.inference.model_spec import RESULT
    from nas.utils.special_files import is_special

    if not is_special(table) and (table.parent / RESULT).is_file():
        raise NASError(
            f"--out {table}, in a folder that holds a result ({RESULT})", "a new file or folder", "change --out"
        )


def _write_table(table: Path, rows: Sequence[Mapping[str, Any]], record: Record | None) -> None:
    from nas.inference.predict import write_rows

    if record is not None:
        record.start(table)
    write_rows(table, rows)
    if record is not None:
        record.finish(table)
    write_line(f"wrote {table}")


def label_map(folder: Path, case: Case) -> Path:
    """Return the file of the label map of a case.

    Args:
        folder: Folder of the label maps.
        case: The case.

    Returns:
        A .npy file for an array, else a NIfTI file.
    """
    from nas.data.io.files import is_npy

    return folder / (case.name + (".npy" if is_npy(case.paths[0]) else ".nii.gz"))


def _require_folder(out: Path, count: int) -> None:
    from nas.inference.predict import IMAGES

    if out.suffix and not VERSION.fullmatch(out.suffix) and not out.is_dir():
        expected = f"an image ({', '.join(IMAGES)}) for one input, a folder for several"
        raise NASError(f"--out {out} for {count} inputs", expected, "change --out")


def _point(text: str | None) -> tuple[float, float, float] | None:
    if text is None:
        return None
    try:
        x, y, z = (float(number) for number in text.split(","))
    except ValueError as error:
        raise NASError(f"--point {text}", "three numbers x,y,z", "--point=-12.5,40,-310") from error
    return x, y, z
