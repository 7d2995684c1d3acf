"""`voxnas brats predict|evaluate`: a trained segmentation of brain tumours on subjects of BraTS."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from experiments.argument_types import number_type, seed_type
from experiments.brain_tumor.config import Convention
from experiments.cli import Parser

if TYPE_CHECKING:
    from omegaconf import DictConfig

EXAMPLES = (
    "voxnas brats predict outputs/train/a --root /path/to/BraTS --subjects test",
    "voxnas brats evaluate outputs/train/a --root /path/to/BraTS",
)


def parser() -> Parser:
    """Return the parser of `voxnas brats`.

    Returns:
        The parser.
    """
    brats = Parser("voxnas brats", "Segment brain tumours and evaluate the predictions.", EXAMPLES)
    predict = brats.add_command("predict", "segment subjects on the grid of their own files", EXAMPLES[:1])
    evaluate = brats.add_command("evaluate", "score predictions by the regions of BraTS", EXAMPLES[1:])
    for command in (predict, evaluate):
        add = command.add_argument
        add("folder", metavar="FOLDER", type=Path, help="folder of run_train.py, or of one of its bundles")
        add("--root", required=True, metavar="FOLDER", help="folder of the subjects")
        add("--out", metavar="FOLDER", type=Path, help="folder of results (default: outputs/brain_tumor/NAME)")
        add("--predictions", metavar="FOLDER", help="folder of the predictions (default: OUT/predictions)")
        command.add_allow_package()
    add = predict.add_argument
    add("--subjects", nargs="+", default=["all"], help="all, train, valid, test, or names of subjects (default: all)")
    add(
        "--smallest-component",
        type=number_type(float, 0, 1),
        default=0.1,
        help="share of the tumour (default: 0.1; 0: all)",
    )
    add("--device", default="auto", help="auto, cpu, cuda, ... (default: auto)")
    predict.set_defaults(run=run_predict)
    add = evaluate.add_argument
    add("--labels", choices=get_args(Convention), help="numbers of the classes (default: by the files, as data=brats)")
    add("--empty", choices=("one", "zero", "skip"), default="one", help="score of an empty region (default: one)")
    add("--resamples", type=number_type(int, 2, 100_000), default=2000, help="bootstrap over subjects (default: 2000)")
    add("--seed", type=seed_type, default=0, help="of the bootstrap (default: 0)")
    evaluate.set_defaults(run=run_evaluate)
    return brats


def run_predict(options: argparse.Namespace) -> None:
    """Segment the chosen subjects.

    Args:
        options: Parsed arguments.
    """
    from experiments.brain_tumor.predict import predict
    from nas.utils.files import exclusive

    settings = _settings(options)
    with exclusive(settings.predictions):
        predict(settings)


def run_evaluate(options: argparse.Namespace) -> None:
    """Score the predictions.

    Args:
        options: Parsed arguments.
    """
    from experiments.brain_tumor.evaluate import evaluate
    from nas.utils.files import exclusive

    settings = _settings(options)
    with exclusive(settings.folder):
        evaluate(settings)


def _settings(options: argparse.Namespace) -> DictConfig:
    """Return the options as the settings of conf/brain_tumor.yaml."""
    from omegaconf import OmegaConf

    plain = {name: value for name, value in vars(options).items() if name not in ("run", "out", "root")}
    folder = options.out or Path("outputs/brain_tumor") / options.folder.resolve().name
    plain |= {"training": str(options.folder), "folder": str(folder)}
    plain["data"] = {"root": options.root, "labels": plain.pop("labels", None)}
    plain["allow_packages"] = plain.pop("allow_package")
    plain["predictions"] = options.predictions or str(folder / "predictions")
    if plain.get("subjects") in (["all"], ["train"], ["valid"], ["test"]):
        plain["subjects"] = options.subjects[0]
    return OmegaConf.create(plain)
