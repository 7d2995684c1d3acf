"""Data, split and task of a searched network's training: those of its search, unless the command names others."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.build import TARGET
from nas.data.source import Source
from nas.provenance import SearchRecord
from nas.utils.checked import signature_of
from nas.utils.locate import locate

GROUPS = ("data", "split", "task")
LOCAL = {"root": "data_root", "cache_dir": "data_cache"}  # arguments of a data set that belong to this machine
log = logging.getLogger(__name__)


def with_search_defaults(
    config: Mapping[str, Any], overrides: Sequence[str], searches: Iterable[SearchRecord], allow: Sequence[str] = ()
) -> dict[str, Any]:
    """Take data, split and task from the search of a network.

    A group that the command line chooses (`data=msd`), and every group if it chooses an experiment, stays. Single
    settings (`data.size=24`) change those of the search. One that conf/data/lidc_shapes.yaml lacks is added as Hydra
    wants it (`+data.patch=[16,16,16]`), and one that is removed (`~data.size`) gets the default of its class. An
    arch.json holds no folders: `data_root` and `data_cache` are those of the command.

    Args:
        config: The resolved configuration.
        overrides: The settings of the command line.
        searches: The searches of the networks; the first one counts. One of an earlier version changes nothing.
        allow: Packages beside VoxNAS whose classes the file may name.

    Returns:
        The configuration, with the parts of the search.

    Raises:
        NASError: If a part names a class of another package.
    """
    search = next(iter(searches), None)  # the networks of an ensemble share their data
    keys = [override.lstrip("+~").partition("=")[0] for override in overrides]
    if search is None or search.patients is None or "experiment" in keys:
        return dict(config)
    result = dict(config)
    for group in GROUPS:
        recorded = search.config.get(group)
        if group in keys or not isinstance(recorded, Mapping):
            continue
        _check_classes(recorded, allow)
        part = dict(recorded)
        own = config.get(group) or {}
        if group == "data":
            cls: type = locate(str(recorded.get(TARGET)), Source, allow=allow)
            known, _ = signature_of(cls)
            given = {name: own.get(name, config.get(source)) for name, source in LOCAL.items() if name in known}
            part |= {name: value for name, value in given.items() if value is not None}
        for name in (key.split(".")[1] for key in keys if key.startswith(f"{group}.")):
            if name in own:
                part[name] = own[name]
            else:
                part.pop(name, None)
        if part != own:
            log.info("%s of the search %s: %s", group, search.study, _shown(part))
        result[group] = part
    return result


def _check_classes(value: Any, allow: Sequence[str]) -> None:
    if isinstance(value, Mapping):
        if TARGET in value:
            locate(str(value[TARGET]), object, allow=allow)
        for item in value.values():
            _check_classes(item, allow)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_classes(item, allow)


def _shown(part: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in part.items() if key != "cache_dir")
