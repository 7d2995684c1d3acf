"""`voxnas export FOLDER`: write a trained network as ONNX and OpenVINO, checked against torch."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli import Parser, size_type, write_line
from nas.errors import NASError

if TYPE_CHECKING:
    from nas.artifact import Artifact
    from nas.inference.model_card import ModelCard

FORMATS = ("onnx", "openvino", "openvino_fp16")
TRAINING = "outputs/train/demo/checkpoints/ID/valid1"
EXAMPLES = (f"voxnas export {TRAINING} --format onnx", f"voxnas export {TRAINING} --size 32,48,32 --out exported")


def parser() -> Parser:
    """Return the parser of `voxnas export`."""
    export = Parser("voxnas export", "Write a trained network as ONNX and OpenVINO, compared with torch.", EXAMPLES)
    add = export.add_argument
    add("checkpoint", metavar="FOLDER", type=Path, help="folder of a training with best.pt and arch.json, or best.pt")
    add("--format", action="append", choices=FORMATS, help="may be repeated (default: onnx and openvino)")
    add("--size", type=size_type, help="of the input: one side, or D,H,W, or H,W (default: as trained)")
    add("--arch", metavar="FILE", help="arch.json (default: the one beside the checkpoint)")
    add("--allow-package", action="append", default=[], metavar="NAME", help="import spaces of this package too")
    add("--out", metavar="FOLDER", type=Path, help="folder of the files (default: export/ beside the checkpoint)")
    export.set_defaults(run=run)
    return export


def run(options: argparse.Namespace) -> None:
    """Export the checkpoint that the options name."""
    from nas.artifact import load
    from nas.training.checkpoint import ARCHITECTURE
    from nas.training.loop import BEST

    checkpoint = options.checkpoint / BEST if options.checkpoint.is_dir() else options.checkpoint
    folder = options.out or checkpoint.parent / "export"
    arch = load(options.arch or checkpoint.with_name(ARCHITECTURE), options.allow_package)
    size = options.size[0] if options.size and len(options.size) == 1 else options.size
    tell(export_checkpoint(checkpoint, arch, folder, options.format or FORMATS[:2], size), folder, write_line)


def export_checkpoint(
    checkpoint: Path, network: Artifact, folder: Path, formats: Sequence[str], size: int | Sequence[int] | None = None
) -> ModelCard:
    """Writes a trained network into `folder`, see nas.export.onnx.export. network: the arch.json beside the
    checkpoint; one of a search knows nothing of a training, and then `size` says what the network takes, one side or
    all of them.

    Raises NASError for weights of another network, and as `export` does.
    """
    from nas.export.onnx import export, require_formats
    from nas.training.checkpoint import load_weights

    require_formats(formats)
    trained: Mapping[str, Any] = network.provenance.get("trained", {})
    weights, metrics = load_weights(checkpoint)
    model = network.build()
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise NASError(
            f"weights in {checkpoint} that are not those of {network.arch.id} ({str(error).splitlines()[-1].strip()})",
            "a checkpoint of this architecture",
            "arch=<the arch.json it was trained from>",
        ) from error
    preparation = trained.get("preparation", {"how": "array"})
    return export(
        model,
        _input_shape(network, trained, size),
        folder,
        formats,
        task=network.task,
        channels=preparation.get("channels", ()),
        classes=trained.get("classes", ()),
        preparation=preparation,
        inference=trained.get("inference", {}),
        facts={
            "network": {
                "id": network.arch.id,
                "space": network.space.class_path,
                "name": network.provenance.get("published"),
            },
            "trained": {name: trained[name] for name in ("data", "split", "round", "seed") if name in trained},
            "validation": metrics,
        },
    )


def listed(formats: Any) -> list[str]:
    """One format or several."""
    return [formats] if isinstance(formats, str) else [str(kind) for kind in formats or ()]


def tell(card: ModelCard, folder: Path, say: Callable[[str], None]) -> None:
    """A line a file: how far it is from torch."""
    from nas.inference.model_card import CARD

    for file in card.files.values():
        say(
            f"wrote {folder / file.file}: {file.precision}, at most {file.difference:.1e} from torch "
            f"(allowed {file.limit:.0e}; largest output {file.largest_output:.3g})"
        )
    say(f"wrote {folder / CARD}")


def _input_shape(network: Artifact, trained: Mapping[str, Any], size: int | Sequence[int] | None) -> tuple[int, ...]:
    dims, channels = network.task.dims, network.task.in_channels
    if size is None:
        if "input_shape" not in trained:
            raise NASError(
                "an architecture that says nothing of a training", "the size of its input", "size=32, or size=[D,H,W]"
            )
        return tuple(trained["input_shape"])
    sides = [size] * dims if isinstance(size, int) else list(size)
    if len(sides) != dims or not all(isinstance(side, int) and side >= 1 for side in sides):
        raise NASError(f"size={size}", f"one side or {dims} of at least 1", "size=32")
    return (channels, *sides)
