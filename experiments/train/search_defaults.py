"""Data, split and task of a searched network's training: those of its search, unless the command names others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nas.data.source import Source
from nas.data.splits import Split
from nas.errors import NASError
from nas.provenance import SearchRecord
from nas.tasks.base import Task
from nas.utils.checked import signature_of
from nas.utils.locate import locate
from nas.utils.named import TARGET, require_named

GROUPS: Mapping[str, type] = {"data": Source, "split": Split, "task": Task}
WHOLE = ("experiment", "plan")  # settings that bring data, split and task of their own
LOCAL = {"root": "data_root", "cache_dir": "data_cache"}  # arguments of a data set that belong to this machine


def with_search_defaults(
    config: Mapping[str, Any], overrides: Sequence[str], searches: Iterable[SearchRecord], allow: Sequence[str] = ()
) -> dict[str, Any]:
    """Take data, split and task from the search of a network.

    A group that the command line chooses (`data=msd`) stays. Single settings (`data.size=24`) change those of the
    search. One that conf/data/lidc_shapes.yaml lacks is added as Hydra wants it (`+data.patch=[16,16,16]`), and one
    that is removed (`~data.size`) gets the default of its class. An experiment or a plan brings groups of its own,
    whose data and split have to be those of the search. An arch.json holds no folders: `data_root` and `data_cache` are
    those of the command.

    Args:
        config: The resolved configuration.
        overrides: The settings of the command line.
        searches: The searches of the networks; the first one counts. One of an earlier version changes nothing.
        allow: Packages beside VoxNAS whose classes the file may name.

    Returns:
        The configuration, with the parts of the search.

    Raises:
        NASError: If a part names a class of another package, the networks were searched on different data, or an
            experiment has other data or another split than the search.
    """
    known = [search for search in searches if search.patients is not None]
    if not known:
        return dict(config)
    search, keys = known[0], typed(overrides)
    for other in known[1:]:
        _check_agreement(other.config, search.config, keys, "the search of another network of arch=", allow)
    for whole in (name for name in WHOLE if name in keys):
        _check_agreement(config, search.config, keys, f"{whole}={_chosen(overrides, whole)}", allow)
        return dict(config)
    result = dict(config)
    for group, base in GROUPS.items():
        recorded = search.config.get(group)
        if group in keys or not isinstance(recorded, Mapping):
            continue
        require_named(recorded, group, base, allow)
        part = {name: value for name, value in recorded.items() if name not in LOCAL}  # folders of another machine
        own = config.get(group) or {}
        if group == "data":
            cls: type = locate(str(recorded[TARGET]), base, allow=allow)
            known_arguments, _ = signature_of(cls)
            given = {
                name: own.get(name, config.get(source)) for name, source in LOCAL.items() if name in known_arguments
            }
            part |= {name: value for name, value in given.items() if value is not None}
        for name in (key.split(".")[1] for key in keys if key.startswith(f"{group}.")):
            if name in own:
                part[name] = own[name]
            else:
                part.pop(name, None)
        result[group] = part
    return result


def announcement(config: Mapping[str, Any], overrides: Sequence[str], searches: Iterable[SearchRecord]) -> str | None:
    """Describe where data, split and task of a training come from.

    Args:
        config: The configuration, as `with_search_defaults` returns it.
        overrides: The settings of the command line.
        searches: The searches of the networks.

    Returns:
        One line; None for networks without a search.
    """
    search = next(iter(searches), None)
    if search is None:
        return None
    keys, recorded = typed(overrides), search.config
    given = [group for group in GROUPS if group in keys or not isinstance(recorded.get(group), Mapping)]
    if set(WHOLE) & set(keys):  # its data and split are those of the search, its task is its own
        given = [group for group in GROUPS if group in given or group == "task"]
    if search.patients is None:
        given = list(GROUPS)
    taken = [group for group in GROUPS if group not in given]
    name = "arch.json" if not search.study else f"arch.json (search {search.study})"
    if not taken:
        return f"{_joined(given)}: as configured, not those of {name}"
    parts = []
    for group in taken:
        part = {key: value for key, value in config[group].items() if key not in (TARGET, *LOCAL)}
        listed = ", ".join(f"{key}={shown(value)}" for key, value in part.items())
        parts.append(f"{group} {str(config[group].get(TARGET)).rpartition('.')[2]}({listed})")
    line = f"{_joined(taken)} from {name}: {', '.join(parts)}"
    changes = [key for key in keys if key.partition(".")[0] in taken and "." in key]
    line += f"; changed here: {', '.join(changes)}" if changes else ""
    own, its = (part.get("task") or {} for part in (config, recorded))
    same_task = given == ["task"] and (not its or own.get(TARGET) == its.get(TARGET))
    return line + (f"; {_joined(given)} as configured" if given and not same_task else "")


def require_same_data(name: str, overrides: Sequence[str], searches: Iterable[SearchRecord]) -> None:
    """Refuse a default data set other than that of the network's search.

    Args:
        name: Name of the data set.
        overrides: The settings of the command line.
        searches: The searches of the networks.

    Raises:
        NASError: If the command names no data and the search was on a data set of another name.
    """
    keys = typed(overrides)
    if any(key.partition(".")[0] in ("data", *WHOLE) for key in keys):
        return
    for search in searches:
        if search.data.name != name:
            raise NASError(
                f"data {name} for a network that was searched on {search.data.name}",
                f"{search.data.name}, or data that the command names",
                "add data=... (its arch.json does not record how to read them)",
            )


def typed(overrides: Sequence[str]) -> list[str]:
    """Return the keys of the settings of a command line.

    Args:
        overrides: The settings, in Hydra's grammar.

    Returns:
        The keys, without Hydra's signs.
    """
    return [override.lstrip("+~").partition("=")[0] for override in overrides]


def _check_agreement(
    config: Mapping[str, Any], recorded: Mapping[str, Any], keys: Sequence[str], origin: str, allow: Sequence[str]
) -> None:
    """Check that data and split are those of the search, but for settings that the command line names."""
    for group, base in (("data", Source), ("split", Split)):
        own, other = config.get(group), recorded.get(group)
        if group in keys or not isinstance(own, Mapping) or not isinstance(other, Mapping):
            continue
        if own.get(TARGET) != other.get(TARGET):
            raise _contradiction(group, own.get(TARGET), other.get(TARGET), origin)
        cls: type = locate(str(own.get(TARGET)), base, allow=allow)
        arguments, _ = signature_of(cls)
        ignored = {TARGET, *LOCAL, *getattr(cls, "UNIDENTIFYING", ())}
        for name in (name for name in (*own, *other) if name not in ignored and f"{group}.{name}" not in keys):
            default = arguments[name].default if name in arguments else None
            value, searched = (shown(part.get(name, default)) for part in (own, other))
            if value != searched:
                raise _contradiction(f"{group}.{name}", value, searched, origin)


def _contradiction(key: str, value: object, searched: object, origin: str) -> NASError:
    whole = origin.partition("=")[0]
    return NASError(
        f"{key}={value} of {origin}, but {key}={searched} in the search of the network",
        "the data and the split of the search",
        f"leave out {whole if whole in WHOLE else WHOLE[0]}=..., or write {key}=... to change it on purpose",
    )


def _chosen(overrides: Sequence[str], key: str) -> str:
    return next(text.partition("=")[2] for text in overrides if text.lstrip("+~").startswith(f"{key}="))


def shown(value: object) -> str:
    """Write a value as on a command line.

    Args:
        value: A number, text, list or None.

    Returns:
        The text.
    """
    if isinstance(value, list | tuple):
        return f"[{','.join(map(shown, value))}]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _joined(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
