"""Values of `arch=`: a file, or a published network of a space in conf/space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf

from nas.architecture import Architecture
from nas.artifact import Artifact, import_space, load
from nas.errors import NASError
from nas.provenance import Provenance, SearchRecord
from nas.space import SearchSpace
from nas.task_spec import TaskSpec


def resolve(name: str, task: TaskSpec, allow: Sequence[str]) -> Artifact:
    """Load the network that a setting names.

    Args:
        name: A file such as `outputs/demo/arch.json`, or a published network such as `naslung/model-1`.
        task: Task of a published network.
        allow: Packages beside `search_spaces` whose spaces may be imported.

    Returns:
        The network.

    Raises:
        NASError: If the file is missing or not valid, or the space or the name is unknown.
    """
    if _is_file(name):
        return load(name, allow)
    space, arch = _published(name, allow)
    return Artifact(space, arch, task, provenance=Provenance(published=name))


def searches_of(names: object, allow: Sequence[str]) -> list[SearchRecord]:
    """Return the searches of networks that are files.

    Args:
        names: The setting `arch`: a name or a list of names.
        allow: Packages beside `search_spaces` whose spaces may be imported.

    Returns:
        The searches that the files record.

    Raises:
        NASError: If a file is missing or not valid.
    """
    records = (load(name, allow).provenance.search for name in _listed(names) if _is_file(name))
    return [record for record in records if record is not None]


def require_networks(
    names: object, allow: Sequence[str], changes: Mapping[str, Any] | None = None, key: str = "arch"
) -> None:
    """Check that networks exist and their spaces have the changed arguments, before the data are prepared.

    Args:
        names: The setting: a name or a list of names.
        allow: Packages beside `search_spaces` whose spaces may be imported.
        changes: Changed arguments of the spaces, see `changed`.
        key: The setting, for messages.

    Raises:
        NASError: If a file is missing or not valid, or a name is no published network.
    """
    for name in _listed(names):
        space = load(name, allow).space if _is_file(name) else _published(name, allow, key)[0]
        _require_arguments(space, changes or {})


def changed(network: Artifact, changes: Mapping[str, Any] | None) -> Artifact:
    """Move a network to its space with other arguments.

    DiNTS, for example, searches at half the width that it trains with. The genes are the same, and the provenance
    keeps the arguments of the search.

    Args:
        network: The network.
        changes: New values of arguments of the space by name.

    Returns:
        The network in the other space; the network itself without changes.

    Raises:
        NASError: If the space does not have such an argument, or refuses its value.
    """
    if not changes:
        return network
    own = network.space.arguments
    _require_arguments(network.space, changes)
    space = network.space.with_arguments(changes)
    if len(space.genes) != len(network.arch.genes):
        raise NASError(
            f"space_changes={dict(changes)}, with which a network has {len(space.genes)} genes",
            f"changes that keep its {len(network.arch.genes)}",
            "change widths or the training of the network, not its topology",
        )
    provenance = replace(network.provenance, searched_space=own)
    arch = space.architecture(network.arch.genes)
    return replace(network, space=space, arch=arch, provenance=provenance, weights=None)


def resolve_all(
    names: object, task: TaskSpec, allow: Sequence[str], changes: Mapping[str, Any] | None = None
) -> list[Artifact]:
    """Load the networks that a setting names and change their spaces.

    Args:
        names: One name or a list of names, see `resolve`.
        task: Task of the data.
        allow: Packages beside `search_spaces` whose spaces may be imported.
        changes: Changed arguments of the spaces, see `changed`.

    Returns:
        The networks in the order of the names.

    Raises:
        NASError: If the list is empty, names a network twice, or names one of another task.
    """
    listed = _listed(names)
    found = [resolve(name, task, allow) for name in listed]
    ids = [artifact.arch.id for artifact in found]
    if not ids or len(set(ids)) < len(ids):
        raise NASError(f"arch={listed}", "at least one network, each once", "set arch to different networks")
    for artifact in found:
        artifact.space.require_kind(task)
        if artifact.task != task:
            raise NASError(
                f"a network for {artifact.task.text} ({artifact.arch.id})",
                f"{task.text}, as the data have",
                "choose the data it was searched on",
            )
    return [changed(artifact, changes) for artifact in found]


def _require_arguments(space: SearchSpace, changes: Mapping[str, Any]) -> None:
    if unknown := [name for name in changes if name not in space.network_arguments]:
        close = get_close_matches(unknown[0], space.network_arguments, n=1)
        raise NASError(
            f"space_changes.{unknown[0]}",
            f"one of {', '.join(space.network_arguments)}",
            f"write space_changes.{close[0]}" if close else "set space_changes to arguments of the space",
        )


def _published(name: str, allow: Sequence[str], key: str = "arch") -> tuple[SearchSpace, Architecture]:
    space_name, _, network = name.partition("/")
    if not network or not space_name.isidentifier():
        raise NASError(
            f"{key}={name}", "a file arch.json, or <space>/<published name>", f"for example {key}=naslung/model-1"
        )
    space = import_space(_class_path(space_name), allow)
    try:
        return space.from_name(network)
    except NASError as error:
        raise NASError(f"{key}={name}", error.expected, error.fix) from error


def _listed(names: object) -> list[str]:
    return [str(name) for name in (names if isinstance(names, list | tuple) else [names])]


def _is_file(name: str) -> bool:
    return Path(name).suffix == ".json" or Path(name).is_file()


def _class_path(space_name: str) -> str:
    loader = GlobalHydra.instance().config_loader()
    if isinstance(loader, ConfigLoaderImpl):  # the file alone where it names its class: composing takes half a second
        found = loader.repository.load_config(f"space/{space_name}")
        if found is not None and "_target_" in found.config:
            return str(OmegaConf.to_container(found.config, resolve=False)["_target_"])  # type: ignore[index,call-overload]
    try:
        conf = hydra.compose("search", overrides=[f"space={space_name}"]).space
    except HydraException as error:
        names = ", ".join(loader.get_group_options("space"))
        raise NASError(
            f"the space {space_name!r}",
            f"one of {names}, or a file",
            "set arch to <space>/<published name>, or to a file",
        ) from error
    return str(OmegaConf.to_container(conf, resolve=False)["_target_"])  # type: ignore[index,call-overload]
