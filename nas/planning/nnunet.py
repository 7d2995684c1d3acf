"""Plans to and from `nnUNetPlans.json` of nnU-Net 2, for what both have.

Both have: spacing, patch, batch, normalisation, Dice over the batch, and the plain U-Net with its widths, convolutions,
kernels and strides. nnU-Net keeps axes in an order of its own (`transpose_forward`); here they are D, H, W.
Source of the form: Isensee et al., Nature Methods 18:203, 2021, and nnU-Net's documentation/explanation_plans_files.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas.errors import NASError
from nas.planning.plan import Decision, Plan
from nas.planning.rules import patches_for
from nas.utils.files import read_json, write_text

FULL = "3d_fullres"  # the configuration that is read and written
NAME = "voxnasPlans"
CT, Z_SCORE = "CTNormalization", "ZScoreNormalization"
PLAIN = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
FIXED = {"norm_op": "InstanceNorm3d", "nonlin": "LeakyReLU", "dropout_op": "None"}
DATA = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
SEGMENTATION = {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None}
PROBABILITIES = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
MASKED = 0.75  # share of the box of nonzero voxels from which on down nnU-Net leaves out the others
RESAMPLING = "resample_data_or_seg_to_shape"


def read_nnunet(path: str | Path, plan: Plan) -> Plan:
    """Take over what an `nnUNetPlans.json` decides.

    Args:
        path: The file; its configuration 3d_fullres is read.
        plan: The plan of the same data, which gives all other decisions.

    Returns:
        The plan with nnU-Net's spacing, patch, batch, normalisation, Dice over the batch and network. The space holds
        half and twice of each of its widths; the network itself is the reference.

    Raises:
        NASError: If the file is missing or has another form, its network or normalisation cannot be expressed, or it is
            of data with other channels.
    """
    path = Path(path)
    _require_u_nets(plan)
    try:
        content = read_json(path)
        configuration = content["configurations"][FULL]
        back = [int(axis) for axis in content["transpose_backward"]]
        arguments = _arguments(configuration["architecture"], path)
        schemes = [str(scheme) for scheme in configuration["normalization_schemes"]]
        batch, batch_dice = int(configuration["batch_size"]), bool(configuration["batch_dice"])
        spacing = [float(configuration["spacing"][axis]) for axis in back]
        patch = [int(configuration["patch_size"][axis]) for axis in back]
        strides = [[int(stride[axis]) for axis in back] for stride in arguments["strides"]][1:]
        kernels = [[int(kernel[axis]) for axis in back] for kernel in arguments["kernel_sizes"]]
        widths = [int(width) for width in arguments["features_per_stage"]]
        encoder, decoder = (list(arguments[f"n_conv_per_stage{part}"]) for part in ("", "_decoder"))
    except FileNotFoundError as error:
        raise NASError(f"no file {path}", "an nnUNetPlans.json", "correct the path") from error
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        text = f"{path}, which cannot be read ({type(error).__name__}: {error})"
        raise NASError(text, f"an nnUNetPlans.json of nnU-Net 2 with {FULL}", "plan the data set again") from error
    _require_expressible(strides, kernels, encoder, decoder, path)
    _require_parts(arguments, schemes, plan, path)
    depth = len(strides)
    flat_axes = [[axis for axis in range(3) if kernel[axis] == 1] for kernel in kernels]
    same = all(min(stride) == 2 for stride in strides) and not any(flat_axes)
    values: dict[str, Any] = {
        "data.spacing_mm": spacing,
        "data.patch": patch,
        "data.patches_per_volume": patches_for(_resampled(plan, spacing), patch),
        "data.normalise": "training" if schemes[0] == CT else "volume",
        "task.window": patch,
        "task.batch_dice": batch_dice,
        "training.batch_size": max(batch, 2),
        "space": "unet_flexible",
        "space.depths": [depth],
        "space.widths": [sorted({_even(width // 2), width, _even(width * 2)}) for width in widths],
        "space.encoder_blocks": sorted({1, 2, encoder[0]}),
        "space.decoder_blocks": sorted({1, 2, decoder[0]}),
        "space.encoder_kernels": [3],
        "space.decoder_kernels": [3],
        "space.norms": ["instance"],
        "space.activation": "leaky_relu",
        "space.strides": None if same else strides,
        "space.flat_axes": None if same else flat_axes,
    }
    reference = {
        "depth": depth,
        **{f"width{level}": width for level, width in enumerate(widths)},
        **{"encoder_blocks": encoder[0], "decoder_blocks": decoder[0], "encoder_kernel": 3, "decoder_kernel": 3},
        **{"norm": "instance", "residual": False, "up": "transposed", "down": "stride"},
    }
    reason = f"{FULL} of {path.name}"
    mixed = f"{reason}: {schemes[0]} of the first channel, for all ({', '.join(schemes)})"
    reasons = {"data.normalise": mixed if len(set(schemes)) > 1 else reason}
    of_others = ("constraints", "data.crop")  # of another network, and in voxels of another spacing
    kept = [one for one in plan.decisions if one.key not in values and one.key not in of_others]
    own = [Decision(key, value, reasons.get(key, reason)) for key, value in values.items()]
    return replace(plan, decisions=(*own, *kept), reference=reference)


def write_nnunet(plan: Plan, path: str | Path) -> None:
    """Write the plan of a segmentation as a plans file of nnU-Net 2, which its trainer reads.

    The network is the plan's reference network.

    Args:
        plan: The plan.
        path: The file, in nnUNet_preprocessed/<data set>; its name without .json is the name of the plans.

    Raises:
        NASError: If the plan is not that of a segmentation by U-Nets.
    """
    path = Path(path)
    _require_u_nets(plan)
    write_text(path, json.dumps(as_nnunet(plan, path.parent.name or "Dataset", path.stem), indent=4) + "\n")


def is_of_nnunet(path: Path) -> bool:
    """Check whether a file is not one of `write_nnunet`, whose only configuration is 3d_fullres.

    Args:
        path: The file.

    Returns:
        True for plans of nnU-Net's own planner, and for any other file.
    """
    try:
        return set(read_json(path)["configurations"]) != {FULL}
    except (OSError, ValueError, KeyError, TypeError):
        return True


def as_nnunet(plan: Plan, data_set: str, name: str = NAME) -> dict[str, Any]:
    """Return the content of a plans file of nnU-Net 2.

    Args:
        plan: The plan of a segmentation.
        data_set: Name of nnU-Net's data set, such as Dataset004_Hippocampus.
        name: Name of the plans.

    Returns:
        JSON values.
    """
    facts, network = plan.fingerprint, plan.reference
    depth = int(network["depth"])
    spacing, channels = plan.value("data.spacing_mm"), len(facts["channels"])
    median = facts["nonzero_box"]["median"]
    old = facts["spacing_mm"]["median"]
    scheme = CT if plan.value("data.normalise") == "training" else Z_SCORE
    configuration = {
        "data_identifier": f"{name}_{FULL}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": plan.value("training.batch_size"),
        "patch_size": list(plan.value("data.patch")),
        "median_image_size_in_voxels": _resampled(plan, spacing),
        "spacing": list(spacing),
        "normalization_schemes": [scheme] * channels,
        "use_mask_for_norm": [scheme == Z_SCORE and facts["nonzero_share"] < MASKED] * channels,
        "resampling_fn_data": RESAMPLING,
        "resampling_fn_data_kwargs": DATA,
        "resampling_fn_seg": RESAMPLING,
        "resampling_fn_seg_kwargs": SEGMENTATION,
        "resampling_fn_probabilities": RESAMPLING,
        "resampling_fn_probabilities_kwargs": PROBABILITIES,
        "architecture": _architecture(plan, depth),
        "batch_dice": bool(plan.value("task.batch_dice", default=False)),
    }
    return {
        "dataset_name": data_set,
        "plans_name": name,
        "original_median_spacing_after_transp": [float(mm) for mm in old],
        "original_median_shape_after_transp": [round(side) for side in median],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {FULL: configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            str(number): _intensity(one) for number, one in enumerate(facts["intensity"])
        },
    }


def _require_u_nets(plan: Plan) -> None:
    if plan.task != "segmentation" or "depth" not in plan.reference:
        raise NASError(
            f"a plan for {plan.task} with nnU-Net's plans", "the plan of a segmentation with U-Nets", "leave it out"
        )


def _resampled(plan: Plan, spacing_mm: Sequence[float]) -> list[float]:
    """Sides of the median box of voxels that are not 0, at another spacing."""
    sides, old = plan.fingerprint["nonzero_box"]["median"], plan.fingerprint["spacing_mm"]["median"]
    return [float(round(side * mm / new)) for side, mm, new in zip(sides, old, spacing_mm, strict=True)]


def _intensity(one: Mapping[str, float]) -> dict[str, float]:
    named = {"mean": "mean", "median": "median", "std": "sd", "min": "least", "max": "most"}
    named |= {"percentile_00_5": "p0.5", "percentile_99_5": "p99.5"}
    return {key: float(one[name]) for key, name in named.items()}


def _architecture(plan: Plan, depth: int) -> dict[str, Any]:
    network = plan.reference
    strides = plan.value("space.strides") or [[2, 2, 2]] * depth
    flat_axes = plan.value("space.flat_axes") or [[]] * (depth + 1)
    kernel = int(network["encoder_kernel"])
    return {
        "network_class_name": PLAIN,
        "arch_kwargs": {
            "n_stages": depth + 1,
            "features_per_stage": [network[f"width{level}"] for level in range(depth + 1)],
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[1 if axis in flat else kernel for axis in range(3)] for flat in flat_axes[: depth + 1]],
            "strides": [[1, 1, 1], *(list(stride) for stride in strides[:depth])],
            "n_conv_per_stage": [network["encoder_blocks"]] * (depth + 1),
            "n_conv_per_stage_decoder": [network["decoder_blocks"]] * depth,
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def _arguments(architecture: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    if architecture["network_class_name"] != PLAIN:
        name = str(architecture["network_class_name"]).rpartition(".")[2]
        raise NASError(f"the network {name} in {path}", "PlainConvUNet", "plan with nnU-Net's ExperimentPlanner")
    found: Mapping[str, Any] = architecture["arch_kwargs"]
    return found


def _require_expressible(
    strides: Sequence[Sequence[int]],
    kernels: Sequence[Sequence[int]],
    encoder: Sequence[int],
    decoder: Sequence[int],
    path: Path,
) -> None:
    got = ""
    if any(set(stride) - {1, 2} or 2 not in stride for stride in strides):
        got = f"strides {strides}"
    elif any(set(kernel) - {1, 3} for kernel in kernels):
        got = f"kernels {kernels}"
    elif len(set(encoder)) > 1 or len(set(decoder)) > 1:
        got = f"{encoder} and {decoder} convolutions a level"
    if got:
        expected = "strides of 1 and 2, kernels of 1 and 3 voxels, and one number of convolutions for all levels"
        raise NASError(f"{got} in {path}", expected, "leave the file out")


def _require_parts(arguments: Mapping[str, Any], schemes: Sequence[str], plan: Plan, path: Path) -> None:
    """Check the parts of nnU-Net's plan that have one value here."""
    channels = plan.fingerprint["channels"]
    if len(schemes) != len(channels):
        raise NASError(
            f"{len(schemes)} channels in {path}",
            f"{len(channels)}, as the data have",
            "take the plans of this data set",
        )
    found: list[tuple[str, str, tuple[str, ...]]] = [
        ("normalization_schemes", scheme, (CT, Z_SCORE)) for scheme in schemes
    ]
    found += [(key, str(arguments.get(key, own)).rpartition(".")[2], (own,)) for key, own in FIXED.items()]
    for key, value, known in found:
        if value not in known:
            raise NASError(f"{key} {value} in {path}", " or ".join(known), "leave the file out")


def _even(width: int) -> int:
    return max(4 * round(width / 4), 4)
