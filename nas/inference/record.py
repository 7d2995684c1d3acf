"""Finished predictions of a folder, so that the same command again computes only what is missing. Needs no torch."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nas.data.identity import code_digest
from nas.data.io.files import files_of
from nas.errors import NASError
from nas.inference.predict import IMAGES, TABLES
from nas.inference.runtime import InferenceNetwork
from nas.inference.uncertainty import map_paths
from nas.utils.files import write_text
from nas.utils.foreign import parse_json
from nas.utils.hashing import digest, file_digest
from nas.utils.special_files import is_special

ARRAY = ".npy"
SHA256 = re.compile(r"[0-9a-f]{64}")
READERS = ("nas.data.transforms.preparation", "nas.data.io.label_files")  # and the modules that they import


def model_digest(networks: Sequence[InferenceNetwork], *options: str) -> str:
    """Hash everything of the networks that decides a prediction.

    Args:
        networks: The networks of an ensemble.
        *options: Options of the command that decide what is written.

    Returns:
        The SHA-256 over weights, preparation, settings of the inference, the version of VoxNAS and that of the code
        that reads and prepares images.
    """
    versions = [code_digest(*READERS)]
    with suppress(PackageNotFoundError):
        versions.append(version("voxnas"))
    return digest([versions, *(network.identity for network in networks), *options])


def volume_digest(path: Path) -> str:
    """Hash the content of a volume, whatever its files are called, as data sets do (`FileDigests.of_volume`).

    Args:
        path: An image file, or the folder of a DICOM series.

    Returns:
        The SHA-256.

    Raises:
        OSError: If a file cannot be read.
    """
    return digest(sorted(map(file_digest, files_of(path))))


class Record:
    """The finished cases of one model in a file of JSON lines, to which each finished case is appended.

    It also names every file that the command has written, with its digest, so that no other file is replaced. These
    names are kept when another model takes its place.

    Args:
        path: The file. The cases of another model are replaced with the first finished case.
        model: Result of `model_digest`.
        home: Folder of the outputs. If None, that of the file.
    """

    def __init__(self, path: Path, model: str, home: Path | None = None) -> None:
        self.path, self.model, self.home = path, model, home or path.parent
        self._done: dict[str, dict[str, Any]] = {}
        self._begun = False
        lines = _lines(path)
        self._written = _written(lines)
        self._of_earlier_version = bool(lines) and not any("written" in line for line in lines)
        self._planned: set[str] = set()
        if lines and lines[0].get("model") == model:
            self._begun = True
            self._done = {line["name"]: line for line in lines[1:] if "name" in line}

    @classmethod
    def beside(cls, out: Path, networks: Sequence[InferenceNetwork], *options: str) -> Record:
        """Open the record of a folder of label maps, of one label map or of a table, which lies beside it.

        Args:
            out: The folder `masks`, whose record is `masks.jsonl`; the table `table.csv`, whose record is
                `table.jsonl`; or the label map `a.nii.gz`, whose record is `a.nii.gz.jsonl`.
            networks: The networks of the ensemble.
            *options: Options of the command that decide what is written.

        Returns:
            The record.
        """
        whole = out.resolve()
        is_file = whole.name.endswith((*TABLES, *IMAGES, ARRAY)) and not whole.is_dir()
        name = whole.stem if is_file and whole.suffix in TABLES else whole.name
        home = whole.parent if is_file else whole
        return cls(whole.with_name(f"{name}.jsonl"), model_digest(networks, *options), home)

    def require_own(self, outputs: Iterable[Path]) -> None:
        """Check, before anything is predicted, that every output that exists was written by this command.

        Args:
            outputs: All files that will be written. A device or a pipe is written to in place.

        Raises:
            NASError: If an output, or the file of the record itself, is another file.
        """
        if _is_other_file(self.path):
            raise _other_file(self.path)
        files = [path for path in outputs if not is_special(path)]
        there = [path for path in files if path.exists()]
        if other := next((path for path in there if not self._is_own(path)), None):
            raise _other_file(other)
        self._written.update({self._key(path): file_digest(path) for path in there if path.suffix in TABLES})
        self._planned.update(map(self._key, files))

    def _is_own(self, path: Path) -> bool:
        if not path.is_file():
            return False
        if self._of_earlier_version and path.suffix in TABLES:  # it named no tables
            return True
        key = self._key(path)
        sha256 = self._written.get(key)
        if sha256 is None:  # a name without a digest: the command was interrupted while it wrote the file
            return key in self._written
        return file_digest(path) == sha256

    def _key(self, path: Path) -> str:
        """Name a file relative to the folder of the outputs, which may be moved with its record."""
        return Path(os.path.relpath(path.parent.resolve() / path.name, self.home.resolve())).as_posix()

    def result(self, name: str, inputs: str, output: Path | None) -> Mapping[str, Any] | None:
        """Return the result of a case that is finished.

        Args:
            name: Name of the case.
            inputs: Digest of its files.
            output: Its own file; None if the result itself is the output.

        Returns:
            The result; None if the case is not finished, its files have changed, or its output is missing or changed.
        """
        line = self._done.get(name)
        if line is None or line.get("inputs") != inputs:
            return None
        if output is not None and (not output.is_file() or file_digest(output) != line.get("output")):
            return None
        result = line.get("result")
        maps = result.get("maps", {}) if output is not None and isinstance(result, dict) else {}
        for file, sha256 in maps.items():  # further files beside the output
            path = Path(output or "").with_name(Path(file).name)
            if not path.is_file() or file_digest(path) != sha256:
                return None
        return result

    def forget(self) -> None:
        """Predict all cases again."""
        self._done, self._begun = {}, False

    def start(self, output: Path | None) -> None:
        """Name a file, and maps beside it, before they are written: an interrupted command may replace them.

        Args:
            output: The file; None if the result itself is the output.
        """
        files = [] if output is None else [output, *map_paths(output).values()]
        names = [name for name in map(self._key, files) if name in self._planned]
        if not names:
            return
        more = self._written if self._of_earlier_version else {}  # from now on the record names all its files
        self._note({"written": {**more, **dict.fromkeys(names)}})
        self._of_earlier_version = False

    def add(self, name: str, inputs: str, output: Path | None, result: Mapping[str, Any]) -> None:
        """Record a finished case.

        Args:
            name: Name of the case.
            inputs: Digest of its files.
            output: Its own file; None if the result itself is the output.
            result: JSON values.
        """
        self._begin()
        found = None if output is None else file_digest(output)
        line: dict[str, Any] = {"name": name, "inputs": inputs, "output": found, "result": dict(result)}
        if output is not None:
            maps = {self._key(output.with_name(file)): sha256 for file, sha256 in result.get("maps", {}).items()}
            line["written"] = {self._key(output): found, **maps}
        self._done[name] = line
        self._note(line)

    def finish(self, table: Path) -> None:
        """Record a table that is written.

        Args:
            table: Its file, which `start` has named.
        """
        if not is_special(table):
            self._note({"written": {self._key(table): file_digest(table)}})

    def remove_if_unused(self) -> None:
        """Remove the file if no case is finished and none of the files that it names exists."""
        if self._done or any((self.home / name).exists() for name in self._written):
            return
        if self.path.is_file() and all("name" not in line for line in _lines(self.path)):
            self.path.unlink()

    def _begin(self) -> None:
        """Take the place of the record of another model, whose files remain those of this command."""
        if not self._begun:
            header = {"model": self.model, "written": self._written}
            write_text(self.path, json.dumps(header) + "\n")
            self._begun = True

    def _note(self, line: Mapping[str, Any]) -> None:
        self._written.update(line.get("written", {}))
        if not self.path.is_file():
            self._begun = False
            self._begin()
        ends = _is_ended(self.path)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(("" if ends else "\n") + json.dumps(line) + "\n")


def _other_file(path: Path) -> NASError:
    return NASError(
        f"--out {path}, a file that this command did not write",
        "a new file or folder",
        "change --out, or remove the file",
    )


def _is_other_file(path: Path) -> bool:
    """Whether a file is there that is no record; an empty one is lost by nobody."""
    if not os.path.lexists(path):
        return False
    if not path.is_file():
        return True
    if path.stat().st_size == 0:
        return False
    header = next(iter(_lines(path)), {})
    return not set(header) <= {"model", "written"} or not SHA256.fullmatch(str(header.get("model")))


def _written(lines: Sequence[Mapping[str, Any]]) -> dict[str, str | None]:
    """Return the files that a record names: name -> digest, None while it is written."""
    found: dict[str, str | None] = {}
    for line in lines:
        if isinstance(line.get("written"), dict):
            found.update(line["written"])
        elif isinstance(line.get("name"), str):  # of an earlier version, which left out the ending
            found.update({line["name"] + ending: str(line.get("output")) for ending in (".nii.gz", ARRAY)})
            result = line.get("result")
            maps = result.get("maps", {}) if isinstance(result, dict) else {}
            found.update({Path(line["name"]).with_name(file).as_posix(): sha256 for file, sha256 in maps.items()})
    return found


def _is_ended(path: Path) -> bool:
    """Whether the last line of a file is whole."""
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _lines(path: Path) -> list[dict[str, Any]]:
    """Read the lines that are whole; the last one may have been cut off."""
    found = []
    with suppress(OSError, UnicodeDecodeError):
        for text in path.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):
                line = parse_json(text)
                if isinstance(line, dict):
                    found.append(line)
    return found
