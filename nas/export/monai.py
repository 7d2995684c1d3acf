"""Export of the networks of a training as a MONAI bundle, which `python -m monai.bundle run` runs without VoxNAS.

Source of the form: MONAI's specification of bundles, https://docs.monai.io/en/stable/mb_specification.html.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from nas.bundle import Bundle
from nas.errors import NASError, first_line
from nas.export.sides import free_sides
from nas.inference.model_spec import Sides
from nas.inference.sliding_window import AT_ONCE
from nas.utils.files import write_bytes, write_text
from nas.utils.views import views

FORMAT = "monai"
METADATA, INFERENCE = "configs/metadata.json", "configs/inference.json"
MODEL, README = "models/model.ts", "docs/README.md"
SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
SCRIPTS = Path(__file__).parent / "monai_scripts"
LIMIT = 1e-4  # largest difference of the written model from the networks
AXES = [["L", "R"], ["P", "A"], ["I", "S"]]  # names of the two directions of each axis of the world
OVERLAP = 0.25  # of windows of a network with fixed sides


class Folds(nn.Module):
    """Networks of several folds as one: their logits follow each other along the channels.

    Args:
        networks: The networks.
        channels: Channels of an image.
        shared: Whether all networks get the same input. If False, each gets channels of its own.
    """

    def __init__(self, networks: Sequence[nn.Module], channels: int, shared: bool) -> None:
        super().__init__()
        self.networks, self.channels, self.shared = nn.ModuleList(networks), channels, shared

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Compute the logits.

        Args:
            x_BCDHW: Images (B, C, D, H, W), or (B, folds * C, D, H, W).

        Returns:
            (B, folds * K, D, H, W).
        """
        found = []
        for number, network in enumerate(self.networks):
            own = slice(number * self.channels, (number + 1) * self.channels)
            found.append(network(x_BCDHW if self.shared else x_BCDHW[:, own]))
        return torch.cat(found, dim=1)


@dataclass(frozen=True)
class MonaiBundle:
    """An exported bundle.

    Attributes:
        folder: Its folder.
        networks: Number of networks.
        difference: Largest difference of the written model from the networks, over random inputs.
    """

    folder: Path
    networks: int
    difference: float


def export_monai(bundles: Sequence[Bundle], folder: Path) -> MonaiBundle:
    """Write the networks of a training as a MONAI bundle.

    Args:
        bundles: The networks, whose mean is the prediction.
        folder: Folder of the bundle.

    Returns:
        The bundle.

    Raises:
        NASError: If the networks do not segment whole 3D volumes, or cannot be written as TorchScript.
    """
    spec = bundles[0].spec
    if spec.task.get("kind") != "segmentation" or spec.preparation.get("how") != "grid" or spec.task.get("dims") != 3:
        raise NASError(
            f"a network for {spec.task.get('kind')} of data prepared as {spec.preparation.get('how')!r}",
            "a segmentation of whole 3D volumes (data=msd)",
            "--format onnx or openvino",
        )
    intensities = [bundle.spec.preparation.get("intensity") for bundle in bundles]
    shared = all(one == intensities[0] for one in intensities)
    shape = [int(length) for length in spec.inputs[0].shape[1:]]
    model = Folds([bundle.network().eval() for bundle in bundles], shape[0], shared).eval()
    sides = free_sides(bundles[0].network(), shape)
    window = spec.inference.get("window") or (list(sides.fixed) if sides.fixed else None)
    spatial = list(window or shape[1:])
    inputs = shape[0] if shared else shape[0] * len(bundles)
    content, difference = _traced(model, (inputs, *spatial), window is None, sides)
    write_bytes(folder / MODEL, content)
    write_text(folder / METADATA, _json(_metadata(bundles, inputs, spatial)))
    given = intensities[:1] if shared else intensities
    write_text(folder / INFERENCE, _json(_inference(bundles, window, sides, given)))
    for path in sorted(SCRIPTS.glob("*.py")):
        write_text(folder / "scripts" / path.name, path.read_text(encoding="utf-8"))
    write_text(folder / README, _readme(bundles))
    return MonaiBundle(folder, len(bundles), difference)


def _traced(model: Folds, shape: Sequence[int], is_free: bool, sides: Sides) -> tuple[bytes, float]:
    """TorchScript of the networks, compared with them on random inputs, also of other sides if these are free."""
    generator = torch.Generator().manual_seed(0)
    first, *others = shape[1:]
    shapes = [(AT_ONCE, *shape), (1, *shape)]
    if is_free:
        shapes.append((1, shape[0], first + sides.multiple_of, *others))
    examples = [torch.randn(one, generator=generator) for one in shapes]
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the tracer on sides as constants, and of its deprecation
            torch.jit.save(torch.jit.trace(model, examples[0], check_trace=False), buffer)
            buffer.seek(0)
            written = torch.jit.load(buffer)
            apart = max(float((written(x) - model(x)).abs().max()) for x in examples)
    except (RuntimeError, ValueError, TypeError) as error:
        raise NASError(
            f"networks that cannot be written as TorchScript ({first_line(error)})",
            "layers of PyTorch",
            "--format onnx",
        ) from error
    if not apart <= LIMIT:
        raise NASError(f"a TorchScript model {apart:.1e} from its networks", f"at most {LIMIT:.0e}", "--format onnx")
    return buffer.getvalue(), apart


def _metadata(bundles: Sequence[Bundle], inputs: int, spatial: Sequence[int]) -> dict[str, Any]:
    spec = bundles[0].spec
    facts = spec.facts.get("trained", {})
    data = facts.get("data", {})
    data = data if isinstance(data, Mapping) else {}
    names = [str(name) for name in spec.inputs[0].channels] or [f"channel {number}" for number in range(inputs)]
    is_ct = bool(spec.preparation.get("hounsfield"))
    channel_names = [names[number % len(names)] for number in range(inputs)]
    outputs = len(spec.classes) * len(bundles)
    return {
        "schema": SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": "exported by VoxNAS"},
        "monai_version": _version("monai"),
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {"nibabel": _version("nibabel")},
        "supported_apps": {},
        "name": f"{data.get('name', 'segmentation')} by {bundles[0].artifact.name}",
        "task": f"Segmentation of {', '.join(spec.classes[1:])}",
        "description": f"Mean of {len(bundles)} network(s) of VoxNAS ({bundles[0].artifact.name}).",
        "authors": "not stated",
        "copyright": "not stated",
        "data_source": str(data.get("name", "not stated")),
        "data_type": "nifti",
        "image_classes": ", ".join(names),
        "label_classes": ", ".join(f"{number}: {name}" for number, name in enumerate(spec.classes)),
        "pred_classes": ", ".join(f"{number}: {name}" for number, name in enumerate(spec.classes)),
        "eval_metrics": {name: value for name, value in spec.facts.get("validation", {}).items() if _is_number(value)},
        "intended_use": "Research. It is no medical device.",
        "references": [],
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "hounsfield" if is_ct else "magnitude",
                    "modality": "CT" if is_ct else "MR",
                    "num_channels": inputs,
                    "spatial_shape": list(spatial),
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": spec.inference.get("window") is not None,
                    "channel_def": {str(number): name for number, name in enumerate(channel_names)},
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "segmentation",
                    "num_channels": outputs,
                    "spatial_shape": list(spatial),
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": spec.inference.get("window") is not None,
                    "channel_def": {str(number): spec.classes[number % len(spec.classes)] for number in range(outputs)},
                }
            },
        },
    }


def _inference(
    bundles: Sequence[Bundle], window: Sequence[int] | None, sides: Sides, intensities: Sequence[Any]
) -> dict[str, Any]:
    spec = bundles[0].spec
    preparation, settings = spec.preparation, spec.inference
    overlap = settings.get("overlap", OVERLAP) if settings.get("window") else OVERLAP
    given = [dict(one) for one in intensities if one is not None]
    return {
        "imports": ["$import torch", "$import scripts.inference as inference"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/scans'",
        "output_dir": "$@bundle_root + '/masks'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "datalist": f"$inference.find_scans(@dataset_dir, {int(spec.inputs[0].shape[1])})",
        "network_def": f"$torch.jit.load(@bundle_root + '/{MODEL}', map_location=@device).eval()",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image", "ensure_channel_first": True, "image_only": True},
                {"_target_": "Orientationd", "keys": "image", "axcodes": "SPL", "labels": AXES},
                {
                    "_target_": "scripts.volumes.ToNetworkd",
                    "keys": "image",
                    "spacing_mm": _listed(preparation.get("spacing_mm")),
                    "crop": _listed(preparation.get("crop")),
                    "normalise": preparation["normalise"],
                    "hounsfield": bool(preparation["hounsfield"]),
                    "intensities": given if preparation["normalise"] != "volume" else [],
                },
            ],
        },
        "inferer": {
            "_target_": "scripts.inference.FoldsInferer",
            "folds": len(bundles),
            "window": _listed(window),
            "overlap": overlap,
            "views": [
                [list(view.axes), list(view.mirrored)]
                for view in views(3, tuple(settings.get("flips", ())), tuple(settings.get("rotations", ())))
            ],
            "temperatures": [float(bundle.spec.inference.get("temperature", 1.0)) for bundle in bundles],
            "multiple_of": sides.multiple_of,
            "at_least": sides.at_least,
            "fill_smallest": preparation["normalise"] == "training",
            "inputs": max(1, len(given)),
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "scripts.volumes.OntoScand", "keys": "pred", "ref": "image"},
                {
                    "_target_": "SaveImaged",
                    "keys": "pred",
                    "output_dir": "@output_dir",
                    "output_postfix": "",
                    "output_dtype": "$torch.uint8",
                    "resample": False,
                    "separate_folder": False,
                    "print_log": False,
                },
            ],
        },
        "run": ["$inference.run(@datalist, @preprocessing, @inferer, @network_def, @postprocessing, @device)"],
    }


def _readme(bundles: Sequence[Bundle]) -> str:
    spec = bundles[0].spec
    classes = "\n".join(f"| {number} | {name} |" for number, name in enumerate(spec.classes))
    return f"""# Segmentation of {", ".join(spec.classes[1:])}

Mean prediction of {len(bundles)} network(s), {bundles[0].artifact.name}, exported by VoxNAS. `models/model.ts` is
TorchScript: its channels are the logits of the networks, one after another. `scripts/` brings a scan onto the voxels of
the training and the prediction back onto those of the scan.

    cd <this folder>
    python -m monai.bundle run --config_file configs/inference.json --dataset_dir /path/to/scans --output_dir masks

needs MONAI with `fire`, PyTorch and nibabel. Each scan of the folder gets a label map of its name.

| value | class |
|---|---|
{classes}

Research only; it is no medical device.
"""


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=4) + "\n"


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
