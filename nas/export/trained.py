"""Export of trained networks: a bundle, or the checkpoint of a training, as ONNX and OpenVINO files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from nas.artifact import Artifact
from nas.bundle import WEIGHTS, Bundle
from nas.errors import NASError, last_line
from nas.export.onnx import export, require_formats
from nas.inference.model_spec import MODEL_JSON, ModelSpec
from nas.training.checkpoint import load_weights

TRAINED = (
    "data",
    "split",
    "round",
    "seed",
    "views",
)  # facts of a training that the specification of an exported network repeats


def export_bundle(
    bundle: Bundle, folder: Path, formats: Sequence[str], size: int | Sequence[int] | None = None
) -> ModelSpec:
    """Export a trained network, see `nas.export.onnx.export`.

    Args:
        bundle: The network.
        folder: Folder of the files.
        formats: Some of onnx, openvino, openvino_fp16.
        size: Side of the input in voxels, or one per axis. If None, that of the training.

    Returns:
        The specification of the exported network.

    Raises:
        NASError: If the folder is that of a bundle, and as `export` does.
    """
    require_formats(formats)
    spec = bundle.spec
    shape = _input_shape(bundle.artifact, size) if size is not None else tuple(map(int, spec.inputs[0].shape[1:]))
    trained = spec.facts.get("trained", {})
    return _export(
        bundle.network(),
        shape,
        folder,
        formats,
        network=bundle.artifact,
        classes=spec.classes,
        preparation=spec.preparation,
        inference=spec.inference,
        trained={name: trained[name] for name in TRAINED if name in trained},
        validation=spec.facts.get("validation", {}),
    )


def export_checkpoint(
    checkpoint: Path, network: Artifact, folder: Path, formats: Sequence[str], size: int | Sequence[int]
) -> ModelSpec:
    """Export the network of a checkpoint, which records neither classes nor preparation.

    Args:
        checkpoint: `best.pt` or `last.pt` of a training, for example of a trial of a search.
        network: The architecture.
        folder: Folder of the files.
        formats: Some of onnx, openvino, openvino_fp16.
        size: Side of the input in voxels, or one per axis.

    Returns:
        The specification of the exported network.

    Raises:
        NASError: If the weights are those of another network, and as `export_bundle` does.
    """
    require_formats(formats)
    weights, metrics = load_weights(checkpoint)
    model = network.build()
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise NASError(
            f"weights in {checkpoint} that are not those of {network.arch.id} ({last_line(error)})",
            "a checkpoint of this architecture",
            "arch=<the arch.json it was trained from>",
        ) from error
    return _export(model, _input_shape(network, size), folder, formats, network=network, validation=metrics)


def listed(formats: Any) -> list[str]:
    """Return the formats as a list.

    Args:
        formats: One name, several, or None.

    Returns:
        The names.
    """
    return [formats] if isinstance(formats, str) else [str(kind) for kind in formats or ()]


def report_files(spec: ModelSpec, folder: Path, write_line: Callable[[str], None]) -> None:
    """Write one line per exported file, with its largest difference from torch.

    Args:
        spec: The specification of the exported network.
        folder: Folder of the files.
        write_line: Receiver of the lines.
    """
    for file in spec.files.values():
        write_line(
            f"wrote {folder / file.file}: {file.precision}, at most {file.difference:.1e} from torch "
            f"(allowed {file.limit:.0e}; largest output {file.largest_output:.3g})"
        )
    write_line(f"wrote {folder / MODEL_JSON}")


def _export(
    model: nn.Module,
    input_shape: Sequence[int],
    folder: Path,
    formats: Sequence[str],
    *,
    network: Artifact,
    classes: Sequence[str] = (),
    preparation: Mapping[str, Any] | None = None,
    inference: Mapping[str, Any] | None = None,
    trained: Mapping[str, Any] | None = None,
    validation: Mapping[str, float] | None = None,
) -> ModelSpec:
    if (folder / WEIGHTS).exists():
        raise NASError(
            f"out={folder}, the folder of a bundle", f"another folder, because both have a {MODEL_JSON}", "out="
        )
    preparation = preparation or {"how": "array"}
    names = {"id": network.arch.id, "space": network.space.class_path, "name": network.provenance.published}
    return export(
        model,
        input_shape,
        folder,
        formats,
        task=network.task,
        channels=preparation.get("channels", ()),
        classes=classes,
        preparation=preparation,
        inference=inference,
        facts={"network": names, "trained": dict(trained or {}), "validation": dict(validation or {})},
    )


def _input_shape(network: Artifact, size: int | Sequence[int]) -> tuple[int, ...]:
    dims = network.task.dims
    sides = [size] * dims if isinstance(size, int) else list(size)
    if len(sides) != dims or not all(isinstance(side, int) and side >= 1 for side in sides):
        raise NASError(f"size={size}", f"one side or {dims} of at least 1", "size=32")
    return (network.task.in_channels, *sides)
