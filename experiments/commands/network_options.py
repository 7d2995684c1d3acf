"""Options of the commands that run trained networks, and the networks that they choose."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.argument_types import number_type
from experiments.cli import Parser, write_line
from experiments.memory_limit import add_memory, limit_memory
from experiments.time_limit import add_timeout, ends_within
from nas.errors import NASError

if TYPE_CHECKING:
    from nas.inference.cases import Case
    from nas.inference.many import Prediction
    from nas.inference.runtime import InferenceNetwork


def add_network(command: Parser) -> None:
    """Add the option that chooses a network of a training.

    Args:
        command: The parser.
    """
    text = "network of a training on several: its name, or ensemble (default: the answer of its report)"
    command.add_argument("--network", metavar="NAME", help=text)


def add_views(command: Parser) -> None:
    """Add the options of mirrored and turned views.

    Args:
        command: The parser.
    """
    text = "average over mirrored views: 0,1,2 or none (default: as the task was trained)"
    command.add_argument("--flips", metavar="AXES", help=text)
    text = "average over rotations by 90 degrees: planes such as HW, or none (default: as the task was trained)"
    command.add_argument("--rotations", metavar="PLANES", help=text)


def use_views(networks: Sequence[InferenceNetwork], options: argparse.Namespace) -> None:
    """Let networks average over mirrored and turned views.

    Args:
        networks: The networks.
        options: Parsed arguments, with those of `add_views`; without them the views are those of the training.

    Raises:
        NASError: If they name no axes or planes of the images, or views that the training did not show.
    """
    for network in networks:
        if options.flips is not None:
            network.mirrored(_flips(options.flips))
        if options.rotations is not None:
            network.turned(_planes(options.rotations))


def add_reading(command: Parser) -> None:
    """Add the options of values and axes that a file does not state.

    Args:
        command: The parser.
    """
    add = command.add_argument
    add(
        "--values-in-hu", action="store_true", help="CT and PET (DICOM) without rescale tags hold HU (activity) already"
    )
    add("--npy-axes", choices=("DHW", "CDHW", "DHWC"), help="axes of .npy volumes (default: DHW or CDHW, if clear)")


def use_reading(networks: Sequence[InferenceNetwork], options: argparse.Namespace) -> None:
    """Let networks read inputs as stated.

    Args:
        networks: The networks.
        options: Parsed arguments, with those of `add_reading`.
    """
    stated: dict[str, Any] = {"values_in_hu": True} if options.values_in_hu else {}
    if options.npy_axes:
        stated["npy_axes"] = options.npy_axes
    for network in networks if stated else ():
        network.spec = replace(network.spec, preparation={**network.spec.preparation, **stated})


def add_device(command: Parser) -> None:
    """Add the options that every command that runs networks has.

    Args:
        command: The parser.
    """
    command.add_allow_package()
    add_timeout(command)
    add_memory(command)
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, ...; of a folder (default: auto)")
    command.add_argument("--threads", type=number_type(int, 1, 4096), help="CPU threads (default: all cores)")


def within_time(predict: Prediction, options: argparse.Namespace) -> Prediction:
    """Limit the time of each prediction.

    Args:
        predict: Predicts a case.
        options: Parsed arguments, with those of `add_device`.

    Returns:
        The same, which ends the process after `--timeout`.
    """

    def limited(case: Case, output: Path | None) -> Mapping[str, Any]:
        with ends_within(options, case.text):
            return predict(case, output)

    return limited


def networks_of(model: str, options: argparse.Namespace) -> Sequence[InferenceNetwork]:
    """Load an exported network, or the bundles of a folder, which need torch.

    Args:
        model: The file or the folder.
        options: Parsed arguments, with those of `add_device`.

    Returns:
        The networks.

    Raises:
        NASError: If they cannot be loaded.
    """
    limit_memory(options)
    with ends_within(options, model):
        return _networks_of(model, options)


def _networks_of(model: str, options: argparse.Namespace) -> Sequence[InferenceNetwork]:
    from nas.inference.runtime import ExportedNetwork, exported_in

    if options.network is not None and (not Path(model).is_dir() or exported_in(Path(model))):
        raise NASError(
            f"--network {options.network} with {model}, an exported network", "the folder of a training", "leave it out"
        )
    if not Path(model).is_dir():
        return [ExportedNetwork(model, options.threads)]
    if exported := exported_in(Path(model)):
        return [ExportedNetwork(path, options.threads) for path in exported]
    try:
        from nas.export.torch_network import bundle_networks  # an exported network is run without torch
    except ModuleNotFoundError as error:
        raise NASError(
            f"no package {error.name}, which the bundle {model} needs",
            "torch, or an exported model",
            "pip install torch",
        ) from error
    from experiments.devices import pick_device

    networks = bundle_networks(
        model,
        options.threads,
        network=options.network,
        trusted=options.allow_package,
        device=pick_device(options.device),
    )
    names = list(dict.fromkeys(network.artifact.name for network in networks))
    if len(names) > 1:
        write_line(f"ensemble of {len(names)} networks, {len(networks)} trainings: {', '.join(names)}")
    return networks


def _planes(text: str) -> list[str]:
    planes = [] if text == "none" else text.split(",")
    if not set(planes) <= {"DH", "DW", "HW"} or len(set(planes)) < len(planes):
        raise NASError(f"--rotations {text}", "planes out of DH, DW, HW, or none", "--rotations HW")
    return planes


def _flips(text: str) -> list[int]:
    if text == "none":
        return []
    axes = text.split(",")
    if not all(axis in ("0", "1", "2") for axis in axes) or len(set(axes)) < len(axes):
        raise NASError(f"--flips {text}", "axes out of 0, 1, 2 (D, H, W), or none", "--flips 0,1,2")
    return [int(axis) for axis in axes]
