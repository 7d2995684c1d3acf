"""`voxnas predict`: an exported network on image files. Needs onnxruntime (or OpenVINO) and numpy, no torch."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from experiments.cli_parser import parser_class
from nas.errors import NASError
from nas.inference.predict import (
    IMAGES,
    classes_of,
    predict_file,
    require_alike,
    require_name,
    write_labels,
    write_probabilities,
)
from nas.inference.runtime import ExportedNetwork, InferenceNetwork

USAGE = "voxnas predict --model model.onnx [--model another.onnx] --out <file or folder> <input> [<input> ...]"
log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Exit code 0, or 2 with one line for a user's mistake."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        _run(_parser().parse_args(list(arguments)))
        return 0
    except NASError as error:
        log.error("error: %s", error)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = parser_class(USAGE, "voxnas predict")(prog="voxnas predict", description=__doc__)
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        help="model.onnx, or OpenVINO's model.xml, beside model.json, or a folder of run_train.py; may be repeated",
    )
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        help="classification: a .json or .csv; segmentation: an image (.nii.gz, ...), or a folder for several inputs",
    )
    parser.add_argument(
        "--point", help="x,y,z: the middle of the crop in world mm, LPS; left out: the middle of the volume"
    )
    parser.add_argument("--threads", type=int, help="left out: all cores")
    parser.add_argument("input", nargs="+", type=Path, help="NIfTI, NRRD, MetaImage, .npy, or a DICOM folder")
    return parser


def _run(options: argparse.Namespace) -> None:
    point_mm = _point(options.point)
    networks = [network for model in options.model for network in _networks(model, options.threads)]
    require_alike(networks)
    classes = classes_of(networks[0])
    segments = networks[0].card.task["kind"] == "segmentation"
    outs = _outs(options.out, options.input) if segments else []
    if not segments:
        require_name(options.out, (".json", ".csv"))
    rows = []
    for number, path in enumerate(options.input):
        started = time.perf_counter()
        prob, ready = predict_file(networks, path, point_mm)
        if segments:
            shares = write_labels(outs[number], prob, ready)
            said = ", ".join(f"{classes[int(k)]} {share:.2%}" for k, share in shares.items())
            _say(f"{path} -> {outs[number]}: {said} ({time.perf_counter() - started:.1f} s)")
        else:
            chosen = classes[int(prob.argmax())]
            probabilities = {name: round(float(p), 6) for name, p in zip(classes, prob, strict=True)}
            rows.append({"input": str(path), "class": chosen, "probabilities": probabilities})
            said = ", ".join(f"{name} {p:.3f}" for name, p in probabilities.items())
            _say(f"{path}: {said} ({time.perf_counter() - started:.1f} s)")
    if rows:
        write_probabilities(options.out, rows)
        _say(f"wrote {options.out}")


def _networks(model: str, threads: int | None) -> list[InferenceNetwork]:
    """An exported network, or the bundles of a folder, which need torch."""
    if not Path(model).is_dir():
        return [ExportedNetwork(model, threads)]
    try:
        from nas.export.torch_network import bundle_networks  # an exported network is run without torch
    except ModuleNotFoundError as error:
        raise NASError(
            f"no package {error.name}, which the bundle {model} needs",
            "torch, or an exported model",
            "pip install torch",
        ) from error
    return bundle_networks(model, threads)


def _outs(out: Path, inputs: Sequence[Path]) -> list[Path]:
    """Where the label map of each input goes: the file named, or into the folder under the input's own name."""
    if len(inputs) == 1 and out.name.endswith((*IMAGES, ".npy")):
        return [out]
    if out.suffix and not out.is_dir():
        expected = f"an image ({', '.join(IMAGES)}) for one input, a folder for several"
        raise NASError(f"--out {out} for {len(inputs)} inputs", expected, "mend --out")
    names = [_label_name(path) for path in inputs]
    if len(set(names)) < len(names):
        raise NASError("inputs of one name", "names that differ", "give each its own command")
    return [out / name for name in names]


def _label_name(path: Path) -> str:
    if path.suffix == ".npy":
        return path.name
    stem = next((path.name.removesuffix(ending) for ending in IMAGES if path.name.endswith(ending)), path.stem)
    return f"{stem}.nii.gz"


def _point(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        x, y, z = (float(number) for number in text.split(","))
    except ValueError as error:
        raise NASError(f"--point {text}", "three numbers x,y,z", "--point=-12.5,40,-310") from error
    return x, y, z


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
