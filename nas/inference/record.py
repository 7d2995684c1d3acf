"""Finished predictions of a folder, so that the same command again computes only what is missing. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nas.data.identity import code_digest
from nas.data.io.files import files_of
from nas.inference.predict import TABLES
from nas.inference.runtime import InferenceNetwork
from nas.utils.files import write_text
from nas.utils.foreign import parse_json
from nas.utils.hashing import digest, file_digest

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

    Args:
        path: The file. That of another model is replaced with the first finished case.
        model: Result of `model_digest`.
    """

    def __init__(self, path: Path, model: str) -> None:
        self.path, self.model = path, model
        self._done: dict[str, dict[str, Any]] = {}
        self._begun = False
        lines = _lines(path)
        if lines and lines[0].get("model") == model:
            self._begun = True
            self._done = {line["name"]: line for line in lines[1:] if "name" in line}

    @classmethod
    def beside(cls, out: Path, networks: Sequence[InferenceNetwork], *options: str) -> Record:
        """Open the record of a folder of label maps or of a table, which lies beside it.

        Args:
            out: The folder `masks`, whose record is `masks.jsonl`, or the table `table.csv`, whose record is
                `table.jsonl`.
            networks: The networks of the ensemble.
            *options: Options of the command that decide what is written.

        Returns:
            The record.
        """
        whole = out.resolve()
        name = whole.stem if whole.suffix in TABLES and not whole.is_dir() else whole.name
        return cls(whole.with_name(f"{name}.jsonl"), model_digest(networks, *options))

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

    def add(self, name: str, inputs: str, output: Path | None, result: Mapping[str, Any]) -> None:
        """Record a finished case.

        Args:
            name: Name of the case.
            inputs: Digest of its files.
            output: Its own file; None if the result itself is the output.
            result: JSON values.
        """
        if not self._begun:
            write_text(self.path, json.dumps({"model": self.model}) + "\n")
            self._begun = True
        found = None if output is None else file_digest(output)
        self._done[name] = {"name": name, "inputs": inputs, "output": found, "result": dict(result)}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self._done[name]) + "\n")


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
