"""`voxnas export bundle=…`: a trained network as ONNX and OpenVINO, checked against torch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.options import read_options
from nas.artifact import load
from nas.bundle import bundles_of
from nas.errors import NASError
from nas.export.trained import export_bundle, export_checkpoint, listed, report_files
from nas.training.loop import BEST

USAGE = (
    "voxnas export bundle=<folder of run_train.py, or of one bundle> [formats=[onnx,openvino,openvino_fp16]] "
    "[out=<folder>] [size=32 or [D,H,W]], or checkpoint=<best.pt of a search> arch=<arch.json> size=32"
)
DEFAULTS: dict[str, Any] = {
    "bundle": None,
    "checkpoint": None,
    "formats": ["onnx", "openvino"],
    "out": None,
    "arch": None,
    "size": None,
    "allow_packages": [],
}
log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Args:
        arguments: Settings as key=value.

    Returns:
        The exit code: 0, or 2 with one line for a user's mistake.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        options = read_options(arguments, DEFAULTS, USAGE)
        if options["bundle"] is not None:
            _export_bundle(options)
        elif options["checkpoint"] is not None:
            _export_checkpoint(options)
        else:
            raise NASError("no bundle", USAGE, "bundle=outputs/train/<name>, or one of the folders in its bundles/")
    except NASError as error:
        log.error("error: %s", error)
        return 2
    return 0


def _export_bundle(options: dict[str, Any]) -> None:
    """Export the bundle, or the best one of a training."""
    for name in ("checkpoint", "arch"):
        if options[name] is not None:
            raise NASError(f"{name}={options[name]} with bundle=", "one of the two", f"leave out {name}=")
    home = Path(options["bundle"])
    (bundle,) = bundles_of(home, best=1, trusted=options["allow_packages"])
    folder = Path(options["out"] or home / "export")
    card = export_bundle(bundle, folder, listed(options["formats"]), options["size"])
    report_files(card, folder, log.info)


def _export_checkpoint(options: dict[str, Any]) -> None:
    """Export a checkpoint that belongs to no bundle, as those of a search."""
    checkpoint = Path(options["checkpoint"])
    checkpoint = checkpoint / BEST if checkpoint.is_dir() else checkpoint
    for name, example in (("arch", "arch=<arch.json>"), ("size", "size=32, or size=[D,H,W]")):
        if options[name] is None:
            raise NASError(
                f"checkpoint= without {name}=, which a checkpoint does not record",
                "arch= and size= beside checkpoint=",
                f"{example}, or bundle=outputs/train/<name> of run_train.py",
            )
    folder = Path(options["out"] or checkpoint.parent / "export")
    network = load(options["arch"], options["allow_packages"])
    card = export_checkpoint(checkpoint, network, folder, listed(options["formats"]), options["size"])
    report_files(card, folder, log.info)
