"""`model.json`: what an exported network takes and gives, how its input is prepared, and how far it was checked.

Read where torch is not installed: this file, like nas/inference/, needs nothing but the standard library.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nas.errors import NASError
from nas.utils.files import write_text

SCHEMA = 1
CARD = "model.json"
MODEL_FILES = {"onnx": "model.onnx", "openvino": "model.xml", "openvino_fp16": "model_fp16.xml"}  # by format


@dataclass(frozen=True)
class Port:
    """An input or output. axes: B batch, C channels, K classes, D, H, W space (towards the head, the back, the left
    where the preparation says so), ? what the network's own documentation says. shape: one entry an axis, a number or
    the name of a length that is free; equal names are equal lengths. channels: what axis C or K counts."""

    name: str
    axes: str
    shape: tuple[int | str, ...]
    channels: tuple[str, ...] = ()
    dtype: str = "float32"


@dataclass(frozen=True)
class Sides:
    """The lengths that the spatial axes may have. fixed: these and no others; else multiples of `multiple_of`, of at
    least `at_least` voxels each."""

    fixed: tuple[int, ...] | None = None
    multiple_of: int = 1
    at_least: int = 1


@dataclass(frozen=True)
class ModelFile:
    """One format. file: beside the card; sha256: of the file, and of the weights where they are a file of their own.

    difference: the largest absolute difference from torch over `shapes` of random inputs, limit: the one allowed,
    largest_output: the largest absolute output, precision: that of the weights and of the computation.
    """

    file: str
    sha256: Mapping[str, str]
    difference: float
    limit: float
    largest_output: float
    shapes: tuple[tuple[int, ...], ...]
    precision: str


@dataclass(frozen=True)
class ModelCard:
    """task: as nas.tasks.base.TaskSpec. preparation: see nas/data/transforms/preparation.py. inference: what the task
    does around the network (window, overlap, flips). files: by format. facts: architecture, training, data,
    versions."""

    task: Mapping[str, Any]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    sides: Sides
    files: Mapping[str, ModelFile]
    preparation: Mapping[str, Any] = field(default_factory=dict)
    inference: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def save(self, folder: str | Path) -> Path:
        path = Path(folder) / CARD
        write_text(path, json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1) + "\n")
        return path

    @classmethod
    def load(cls, path: str | Path) -> ModelCard:
        """Raises NASError for a file that is missing, no card, or of a newer schema."""
        try:
            content = json.loads(Path(path).read_text())
            schema = content.pop("schema")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise NASError(
                f"{path}, which cannot be read as a model card ({error})",
                f"the {CARD} that was written with the model",
                "keep it beside the model",
            ) from error
        if schema != SCHEMA:
            raise NASError(f"schema {schema} in {path}", f"schema {SCHEMA}", "update voxnas, or export again")
        try:
            content["inputs"], content["outputs"] = (
                tuple(Port(**_tuples(port)) for port in content[name]) for name in ("inputs", "outputs")
            )
            content["sides"] = Sides(**_tuples(content["sides"]))
            content["files"] = {name: ModelFile(**_tuples(file)) for name, file in content["files"].items()}
            return cls(**content)
        except (KeyError, TypeError, AttributeError) as error:
            raise NASError(f"{path} without {error}", "a complete model card", "export again") from error

    def require_file(self, path: Path) -> None:
        """Raises NASError where the model beside the card is another than the one that was exported with it."""
        for file in self.files.values():
            if file.file != path.name:
                continue
            for name, expected in file.sha256.items():
                if (found := sha256(path.with_name(name))) != expected:
                    raise NASError(
                        f"{path.with_name(name)} with sha256 {found[:12]}",
                        f"{expected[:12]}, as its card says",
                        "copy model and card together, or export again",
                    )
            return
        raise NASError(
            f"{path.name}, of which the card says nothing",
            f"one of {', '.join(file.file for file in self.files.values())}",
            "copy model and card together",
        )


def sha256(path: Path) -> str:
    """Of a file's content. Raises NASError where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise NASError(f"no file {path}", "an exported model", "mend the path") from error


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON knows lists only."""
    return {name: _tuple(value) for name, value in values.items()}


def _tuple(value: Any) -> Any:
    return tuple(_tuple(one) for one in value) if isinstance(value, list) else value
