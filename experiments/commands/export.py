"""`voxnas export FOLDER`: write a trained network as ONNX, OpenVINO or a MONAI bundle, checked against torch."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.argument_types import size_type
from experiments.cli import Parser, write_line
from nas.errors import NASError

if TYPE_CHECKING:
    from nas.inference.model_spec import ModelSpec

FORMATS = ("onnx", "openvino", "openvino_fp16", "monai")
MONAI = FORMATS[-1]
EXAMPLES = (
    "voxnas export outputs/train/demo --format onnx",
    "voxnas export outputs/train/demo --all-folds",
    "voxnas export outputs/train/unet_hippocampus --format monai",
    "voxnas export outputs/demo/checkpoints/ID/best.pt --arch outputs/demo/arch.json --size 32",
)


def parser() -> Parser:
    """Return the parser of `voxnas export`.

    Returns:
        The parser.
    """
    export = Parser("voxnas export", "Write a trained network as ONNX, OpenVINO or a MONAI bundle.", EXAMPLES)
    add = export.add_argument
    add("folder", metavar="FOLDER", type=Path, help="folder of run_train.py or of one bundle; or best.pt of a search")
    add("--format", action="append", choices=FORMATS, help="may be repeated (default: onnx and openvino)")
    add("--size", type=size_type, help="of the input: one side, or D,H,W, or H,W (default: as trained)")
    add("--all-folds", action="store_true", help="the networks of all folds, into OUT/NAME-FOLD (default: the best)")
    network = "network of a training on several: its name (default: the first; with --all-folds as predict)"
    add("--network", metavar="NAME", help=network)
    add("--arch", metavar="FILE", help="arch.json of a best.pt that belongs to no bundle")
    export.add_allow_package()
    add("--out", metavar="FOLDER", type=Path, help="folder of the files (default: export/ beside the network)")
    export.set_defaults(run=run)
    return export


def run(options: argparse.Namespace) -> None:
    """Export the bundle or the checkpoint that the options name.

    Args:
        options: Parsed arguments.
    """
    from nas.export.trained import report_files

    home = options.folder.parent if options.folder.suffix == ".pt" else options.folder
    folder = options.out or home / "export"
    size = options.size[0] if options.size and len(options.size) == 1 else options.size
    formats = options.format or list(FORMATS[:2])
    if MONAI in formats:
        _export_monai(options, folder / MONAI)
        formats = [name for name in formats if name != MONAI]
        if not formats:
            return
    if options.folder.suffix == ".pt" or options.arch is not None:
        spec = _export_checkpoint(options, folder, formats, size)
    else:
        from nas.bundle import bundles_of
        from nas.export.choice import chosen_bundles
        from nas.export.trained import export_bundle

        if options.network is None and not options.all_folds:
            bundles = bundles_of(options.folder, best=1, trusted=options.allow_package)
        else:
            bundles = chosen_bundles(options.folder, options.network, options.allow_package)
        for bundle in bundles if options.all_folds else bundles[:1]:
            fold = bundle.spec.facts.get("trained", {}).get("round", "")
            out = folder / f"{bundle.artifact.arch.id}-{fold}" if options.all_folds else folder
            report_files(export_bundle(bundle, out, formats, size), out, write_line)
        return
    report_files(spec, folder, write_line)


def _export_monai(options: argparse.Namespace, folder: Path) -> None:
    """Write all networks that `voxnas predict` averages as one bundle."""
    from nas.export.choice import chosen_bundles
    from nas.export.monai import export_monai
    from nas.utils.files import for_shell

    if options.size is not None or options.arch is not None or options.folder.suffix == ".pt":
        raise NASError(
            f"{'--size' if options.size else options.folder} with --format monai",
            "the folder of a training, whose sides are those of the training",
            "leave out --size and --arch",
        )
    written = export_monai(chosen_bundles(options.folder, options.network, options.allow_package), folder)
    write_line(f"wrote {folder}: {written.networks} networks, at most {written.difference:.1e} from torch")
    write_line(
        f"cd {for_shell(folder)} && python -m monai.bundle run --config_file configs/inference.json --dataset_dir SCANS"
    )


def _export_checkpoint(
    options: argparse.Namespace, folder: Path, formats: list[str], size: int | tuple[int, ...] | None
) -> ModelSpec:
    """Export a checkpoint that belongs to no bundle, as those of a search."""
    from nas.artifact import load
    from nas.export.trained import export_checkpoint
    from nas.training.loop import BEST

    for name, example in (("arch", "--arch outputs/demo/arch.json"), ("size", "--size 32, or --size 32,48,32")):
        if getattr(options, name) is None:
            raise NASError(
                f"a checkpoint without --{name}, which it does not record",
                "--arch and --size with a checkpoint",
                f"add {example}, or export a folder of run_train.py",
            )
    assert size is not None
    checkpoint = options.folder / BEST if options.folder.is_dir() else options.folder
    return export_checkpoint(checkpoint, load(options.arch, options.allow_package), folder, formats, size)
