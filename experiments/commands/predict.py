"""`voxnas predict`: run a trained network on image files. An exported one needs onnxruntime or OpenVINO, no torch."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.cli import Parser, number_type, write_line
from nas.errors import NASError

if TYPE_CHECKING:
    from nas.inference.runtime import InferenceNetwork

EXAMPLES = (
    "voxnas predict model.onnx image.nii.gz --out labels.nii.gz",
    "voxnas predict valid1/model.onnx a.nii.gz b.nii.gz --average-with valid2/model.onnx --out labels",
)


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
        help="model.onnx, or OpenVINO's model.xml, with model.json beside it, or a folder of run_train.py",
    )
    add("input", metavar="INPUT", nargs="+", type=Path, help="NIfTI, NRRD, MetaImage, .npy, or a DICOM folder")
    add("--average-with", action="append", default=[], metavar="MODEL", help="average with it; may be repeated")
    add(
        "--out",
        required=True,
        type=Path,
        help="classification: a .json or .csv; segmentation: an image (.nii.gz, ...), or a folder for several inputs",
    )
    add("--point", metavar="X,Y,Z", help="centre of the crop in world mm, LPS (default: centre of the volume)")
    predict.add_allow_package()
    add("--threads", type=number_type(int, 1), help="CPU threads (default: all cores)")
    predict.set_defaults(run=run)
    return predict


def run(options: argparse.Namespace) -> None:
    """Predict every input and write the label maps or the probabilities.

    Args:
        options: Parsed arguments.
    """
    from nas.inference.predict import (
        classes_of,
        predict_file,
        require_alike,
        require_name,
        write_labels,
        write_probabilities,
    )

    point_mm = _point(options.point)
    models = (options.model, *options.average_with)
    networks = [network for model in models for network in _networks(model, options)]
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
            listed = ", ".join(f"{classes[int(k)]} {share:.2%}" for k, share in shares.items())
            write_line(f"{path} -> {outs[number]}: {listed} ({time.perf_counter() - started:.1f} s)")
        else:
            chosen = classes[int(prob.argmax())]
            probabilities = {name: round(float(p), 6) for name, p in zip(classes, prob, strict=True)}
            rows.append({"input": str(path), "class": chosen, "probabilities": probabilities})
            listed = ", ".join(f"{name} {p:.3f}" for name, p in probabilities.items())
            write_line(f"{path}: {listed} ({time.perf_counter() - started:.1f} s)")
    if rows:
        write_probabilities(options.out, rows)
        write_line(f"wrote {options.out}")


def _networks(model: str, options: argparse.Namespace) -> list[InferenceNetwork]:
    """Load an exported network, or the bundles of a folder, which need torch."""
    if not Path(model).is_dir():
        from nas.inference.runtime import ExportedNetwork

        return [ExportedNetwork(model, options.threads)]
    try:
        from nas.export.torch_network import bundle_networks  # an exported network is run without torch
    except ModuleNotFoundError as error:
        raise NASError(
            f"no package {error.name}, which the bundle {model} needs",
            "torch, or an exported model",
            "pip install torch",
        ) from error
    return bundle_networks(model, options.threads, trusted=options.allow_package)


def _outs(out: Path, inputs: Sequence[Path]) -> list[Path]:
    """Return the file of each label map: the given file, or one in the given folder with the name of the input."""
    from nas.data.io.files import split_name
    from nas.inference.predict import IMAGES

    if len(inputs) == 1 and out.name.endswith((*IMAGES, ".npy")):
        return [out]
    if out.suffix and not out.is_dir():
        expected = f"an image ({', '.join(IMAGES)}) for one input, a folder for several"
        raise NASError(f"--out {out} for {len(inputs)} inputs", expected, "change --out")
    names = [name + (".npy" if ending == ".npy" else ".nii.gz") for name, ending in map(split_name, inputs)]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise NASError(f"inputs of one name, {twice[0]}", "names that differ", "give each its own command")
    return [out / name for name in names]


def _point(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        x, y, z = (float(number) for number in text.split(","))
    except ValueError as error:
        raise NASError(f"--point {text}", "three numbers x,y,z", "--point=-12.5,40,-310") from error
    return x, y, z
