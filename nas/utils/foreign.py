"""Bounds on files from elsewhere, checked before anything is read or built: the one place for all loaders."""

from __future__ import annotations

import json
import math
import os
import re
import stat
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.errors import NASError

if TYPE_CHECKING:
    import yaml

EXPONENT = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$", re.ASCII)  # a number such as 1e-3
MOST_JSON_BYTES = 64 * 2**20
MOST_YAML_BYTES = 2**18  # PyYAML reads about 1 MiB in 3 s
MOST_CSV_BYTES = 2**30
MOST_DEPTH = 60  # of mappings and lists within one another
MOST_NODES = 100_000  # of the settings of a file, anchors and aliases filled in
MOST_NUMBER = 10**6  # absolute value of a whole number among the arguments of a class
MOST_TEXT = 100_000  # characters of a text among the arguments of a class
FREE_BYTES = 2**30  # size in memory that any file may have
MOST_BYTES = 2**36
MOST_RATIO = 100  # of the size in memory to that of the file, beyond FREE_BYTES


def require_regular(path: str | Path, most_bytes: int | None = None) -> int:
    """Check that a path, links resolved, is a file and no FIFO, device or socket, from which reading may never end.

    Args:
        path: The path.
        most_bytes: Largest size; None for any.

    Returns:
        The size in bytes.

    Raises:
        OSError: If there is no such file.
        ValueError: If it is something else, or larger.
    """
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe, a device or a socket"
        raise ValueError(f"{kind}, not a file")
    if most_bytes is not None and found.st_size > most_bytes:
        raise ValueError(f"{found.st_size} bytes; at most {most_bytes} are read")
    return found.st_size


def require_size(inflated: int, stored: int, free: int = FREE_BYTES) -> None:
    """Check the size that data take in memory against the size of their file.

    Args:
        inflated: Bytes in memory, as a header declares them.
        stored: Bytes of the file.
        free: Bytes in memory that any file may have.

    Raises:
        ValueError: If the data are too large, or if few bytes would become many.
    """
    if (inflated > free and inflated > MOST_RATIO * stored) or inflated > MOST_BYTES:
        raise ValueError(
            f"{inflated} bytes in memory from {stored}; beyond {free} at most {MOST_RATIO} times the file are read"
        )


def require_archive(path: str | Path) -> None:
    """Check the sizes that the members of a zip archive declare, before any is inflated.

    Args:
        path: The archive.

    Raises:
        OSError: If it cannot be opened.
        ValueError: If it is no archive, or inflates to too much.
    """
    stored = require_regular(path)
    try:
        with zipfile.ZipFile(path) as archive:
            require_size(sum(entry.file_size for entry in archive.infolist()), stored)
    except zipfile.BadZipFile as error:
        raise ValueError(str(error)) from error


def require_npy(path: str | Path) -> None:
    """Check the size that the header of an .npy file declares; NumPy would reserve memory for it.

    Args:
        path: The file.

    Raises:
        OSError: If it cannot be opened.
        ValueError: If it is no .npy file, or shorter than declared.
    """
    from numpy.lib import format as npy  # here, as this module serves commands without NumPy

    stored = require_regular(path)
    with open(path, "rb") as file:
        version = npy.read_magic(file)
        shape, _, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(file)
        if dtype.hasobject:
            raise ValueError("an array of Python objects")
        if math.prod(shape) * dtype.itemsize > stored - file.tell():
            raise ValueError(f"an array of shape {shape} in a file of {stored} bytes")


def read_text(path: str | Path, most_bytes: int) -> str:
    """Read a UTF-8 text file of bounded size.

    Args:
        path: The file.
        most_bytes: Largest size.

    Returns:
        Its content.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is too large, no regular file, or no UTF-8.
    """
    require_regular(path, most_bytes)
    return Path(path).read_text(encoding="utf-8")


def parse_json(text: str | bytes) -> Any:
    """Parse JSON of bounded depth.

    Args:
        text: The JSON; of bytes in UTF-8, UTF-16 or UTF-32, with or without a byte-order mark.

    Returns:
        Its content.

    Raises:
        ValueError: If it is no JSON, or nested too deeply.
    """
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    require_shallow(content)
    return content


def read_yaml(path: str | Path) -> Any:
    """Read a YAML file of plain values.

    Args:
        path: The file.

    Returns:
        Its content.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no YAML, too large, or nested too deeply.
    """
    return parse_yaml(read_text(path, MOST_YAML_BYTES))


def parse_yaml(text: str) -> Any:
    """Parse YAML of plain values, of bounded depth and size.

    Numbers are those of Hydra's files: 1e-3 is one, where YAML 1.1 asks for 1.0e-3.

    Args:
        text: The YAML.

    Returns:
        Its content.

    Raises:
        ValueError: If it is no YAML, has a key twice in one mapping, is too large, or nested too deeply.
    """
    import yaml

    if len(text) > MOST_YAML_BYTES:
        raise ValueError(f"{len(text)} characters of YAML; at most {MOST_YAML_BYTES} are read")
    try:
        content = yaml.load(text, _strict_loader())
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())[:200]) from error
    require_shallow(content, MOST_NODES)
    return content


@cache
def _strict_loader() -> type[yaml.SafeLoader]:
    """Return the loader of `parse_yaml`; PyYAML's own keeps the last of two equal keys without a word."""
    import yaml

    class Strict(yaml.SafeLoader):
        def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
            node = super().compose_mapping_node(anchor)
            assert node is not None
            keys = [(one.tag, one.value) for one, _ in node.value if isinstance(one, yaml.ScalarNode)]
            if twice := [key for key, count in Counter(keys).items() if count > 1]:
                line = [one.start_mark.line + 1 for one, _ in node.value if (one.tag, one.value) == twice[0]][1]
                raise yaml.YAMLError(f"{twice[0][1]} twice, again in line {line}")
            return node

    Strict.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("-+0123456789"))
    return Strict


def require_shallow(content: Any, most_nodes: int | None = None) -> None:
    """Check the depth of nested mappings and lists, of which later steps may be recursive.

    Args:
        content: Plain values.
        most_nodes: Largest number of values at one depth; None for any.

    Raises:
        ValueError: If it is nested more than `MOST_DEPTH` times, or too large.
    """
    level: Iterable[Any] = [content]
    for _ in range(MOST_DEPTH):
        following: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                following += value.values()
            elif isinstance(value, list | tuple):
                following += value
            if most_nodes is not None and len(following) > most_nodes:
                raise ValueError(f"more than {most_nodes} values")
        if not following:
            return
        level = following
    raise ValueError("nested too deeply")


def require_modest(arguments: Any, where: str) -> None:
    """Check the arguments of a class that a file states before the class is constructed.

    Args:
        arguments: Mapping of plain values.
        where: Description of the file, for the message.

    Raises:
        NASError: If it is no mapping of texts, or holds a number, text or list beyond the bounds of this module.
    """
    if not isinstance(arguments, Mapping) or not all(isinstance(name, str) for name in arguments):
        raise NASError(f"arguments {arguments!r:.80} in {where}", "a JSON object", "take an unedited file")
    try:
        require_shallow(dict(arguments), 10_000)
    except ValueError as error:
        raise NASError(
            f"arguments in {where} ({error})", "those of a class of VoxNAS", "take an unedited file"
        ) from error
    for name, value in arguments.items():
        for one in _leaves(value):
            large = isinstance(one, int | float) and not isinstance(one, bool) and abs(one) > MOST_NUMBER
            if large or (isinstance(one, str) and len(one) > MOST_TEXT):
                raise NASError(
                    f"{name}={str(one)[:40]} in {where}",
                    f"numbers up to {MOST_NUMBER:,} and texts up to {MOST_TEXT:,} characters",
                    "take an unedited file",
                )


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [leaf for part in value.values() for leaf in _leaves(part)]
    if isinstance(value, list | tuple):
        return [leaf for part in value for leaf in _leaves(part)]
    return [value]
