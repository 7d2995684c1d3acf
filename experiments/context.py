"""From a configuration to objects: what search and training build the same way."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from experiments.build import build
from experiments.config import CommandConfig
from experiments.devices import pick_device
from experiments.parts import check_parts
from nas.architecture import Architecture
from nas.context import TaskSetup
from nas.cost.profile import profile
from nas.data.source import Source
from nas.data.splits import Split
from nas.errors import NASError
from nas.space import SearchSpace
from nas.tasks.base import Task
from nas.tasks.default import default_task
from nas.utils.files import from_here, write_text
from nas.utils.foreign import read_yaml
from nas.utils.text_table import terminal_width

CONFIG = "config.yaml"


def task_setup(config: CommandConfig, worker: int = 0, allow: Sequence[str] | None = None) -> TaskSetup:
    """Prepare the data and make split and task.

    Args:
        config: The settings.
        worker: Number of the worker; workers take the GPUs in turn.
        allow: Packages whose classes the settings may name if they come from a file; None for any.

    Returns:
        The objects.

    Raises:
        NASError: If a setting is wrong, or data and task are of different kinds.
    """
    check_parts(config, ("data", "split", "task"), allow, worker)
    store = build(config.data, "data", Source, allow).prepare()
    split = build(config.split, "split", Split, allow, store=store)
    if config.task is None:
        task = default_task(store)
    else:
        given = {"in_channels": store.shape[0], "outputs": len(store.classes), "dims": store.dims}
        task = build(config.task, "task", Task, allow, **given)
    return TaskSetup(split, task, pick_device(config.device, worker))


def require_window(task: Task, channels: int, space: SearchSpace, arch: Architecture) -> None:
    """Check that a network takes the window of the task's sliding inference, before it is trained.

    Args:
        task: The task.
        channels: Channels of the data.
        space: The network's space.
        arch: The network.

    Raises:
        NASError: If the network refuses the window.
    """
    window = task.inference.get("window")
    if window is not None:
        with torch.device("meta"):
            network = space.build(arch, task.spec)
        profile(network, (1, channels, *window))


def describe_data(setting: TaskSetup, folder: Path, quiet: bool = False) -> None:
    """Write data.html, and print a summary of it in a few lines.

    Args:
        setting: Data, split and task.
        folder: Output folder of the command.
        quiet: Print nothing.
    """
    from nas.report.data_facts import summarise_data  # here, as plots and baselines take long to import
    from nas.report.data_page import DATA, data_page, headlines

    summary = summarise_data(setting)
    data_page(folder, setting, summary)
    if not quiet:
        lines = [textwrap.fill(line, terminal_width(), subsequent_indent="  ") for line in headlines(setting, summary)]
        print("\n".join([*lines, f"See {from_here(folder / DATA)}.", ""]), flush=True)


def require_own_folder(folder: Path, names: Mapping[str, Any]) -> None:
    """Check that an output folder is not that of another search or training.

    Args:
        folder: The output folder, which need not exist.
        names: Settings that config.yaml of the same job has, such as {"study": {"name": "a"}}.

    Raises:
        NASError: If the folder's config.yaml has other names.
    """
    try:
        found = read_yaml(folder / CONFIG)
    except (OSError, ValueError):  # none yet, or damaged: it is written anew
        return
    if not isinstance(found, dict):
        return
    kept = {"name": found["name"]} if "name" in found else {}
    if isinstance(study := found.get("study"), dict):
        kept = {"study": {"name": study.get("name")}}
    if kept and kept != dict(names):
        raise NASError(
            f"{folder}, the output folder of {'a training' if 'name' in kept else 'a search'} with {_named(kept)}",
            f"a folder of its own for {_named(names)}",
            "set another name or hydra.run.dir, or remove the folder",
        )


def _named(names: Mapping[str, Any]) -> str:
    return f"name={names['name']}" if "name" in names else f"study.name={names['study']['name']}"


def write_config(path: Path, config: Mapping[str, Any]) -> None:
    """Write a configuration as YAML.

    Args:
        path: The file.
        config: Plain values.
    """
    write_text(path, OmegaConf.to_yaml(OmegaConf.create(dict(config))))
