"""`voxnas export checkpoint=…`: a trained network as ONNX and OpenVINO, checked against torch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.options import read_options
from nas.artifact import Artifact, load
from nas.errors import NASError
from nas.export.onnx import export, require_formats
from nas.inference.model_card import CARD, ModelCard
from nas.training.checkpoint import ARCHITECTURE, load_weights
from nas.training.loop import BEST

USAGE = (
    "voxnas export checkpoint=<best.pt, or the folder with it> [formats=[onnx,openvino,openvino_fp16]] "
    "[out=<folder>] [arch=<arch.json>] [size=32 or [D,H,W]]"
)
DEFAULTS: dict[str, Any] = {
    "checkpoint": None,
    "formats": ["onnx", "openvino"],
    "out": None,
    "arch": None,
    "size": None,
    "allow_packages": [],
}
log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Exit code 0, or 2 with one line for a user's mistake."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        options = read_options(arguments, DEFAULTS, USAGE)
        if options["checkpoint"] is None:
            raise NASError("no checkpoint", USAGE, "checkpoint=outputs/train/<name>/checkpoints/<id>/<round>/best.pt")
        checkpoint = Path(options["checkpoint"])
        checkpoint = checkpoint / BEST if checkpoint.is_dir() else checkpoint
        folder = Path(options["out"] or checkpoint.parent / "export")
        arch = load(options["arch"] or checkpoint.with_name(ARCHITECTURE), options["allow_packages"])
        card = export_checkpoint(checkpoint, arch, folder, listed(options["formats"]), options["size"])
        tell(card, folder, log.info)
    except NASError as error:
        log.error("error: %s", error)
        return 2
    return 0


def export_checkpoint(
    checkpoint: Path, network: Artifact, folder: Path, formats: Sequence[str], size: int | Sequence[int] | None = None
) -> ModelCard:
    """Writes a trained network into `folder`, see nas.export.onnx.export. network: the arch.json beside the
    checkpoint; one of a search knows nothing of a training, and then `size` says what the network takes, one side or
    all of them.

    Raises NASError for weights of another network, and as `export` does.
    """
    require_formats(formats)
    trained: Mapping[str, Any] = network.provenance.to_json().get("training", {})
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
                "name": network.provenance.published,
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
