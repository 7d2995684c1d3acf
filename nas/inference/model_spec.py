"""`model.json`: inputs and outputs of a trained or exported network, and the preparation of its input.

The file is also read without torch, so this module needs the standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nas.errors import NASError
from nas.inference.spec_checks import first_fault, require_types
from nas.utils.files import read_json
from nas.utils.hashing import file_digest
from nas.utils.sealed import SEAL, is_damaged, write_sealed

SCHEMA = 2
READABLE = (1, 2)  # 1: exported networks of earlier versions, which have no weights and no task_class
MODEL_JSON = "model.json"
BUNDLES = "bundles"  # folder of a training that holds <architecture>/<fold>/
RESULT = "result.json"  # of a training or an evaluation
EVALUATION = "evaluation"  # protocol of an evaluation; that of another program's predictions states no costs
MODEL_FILES = {"onnx": "model.onnx", "openvino": "model.xml", "openvino_fp16": "model_fp16.xml"}  # by format


@dataclass(frozen=True)
class Port:
    """An input or output of a network.

    Attributes:
        name: Name of the tensor.
        axes: One letter per axis: B batch, C channels, K classes, D, H, W space (towards the head, the back and the
            left, if the preparation turns images), N boxes, ? an axis that the network itself documents.
        shape: One entry per axis, a length or the name of a free length; equal names are equal lengths.
        channels: Names of the entries of axis C or K; of boxes, the names of the classes.
        dtype: Type of the values.
    """

    name: str
    axes: str
    shape: tuple[int | str, ...]
    channels: tuple[str, ...] = ()
    dtype: str = "float32"


@dataclass(frozen=True)
class Sides:
    """The lengths that the spatial axes may have, in voxels.

    Attributes:
        fixed: The only lengths that are allowed. If None, the two other rules hold.
        multiple_of: Every length is a multiple of this number.
        at_least: Smallest length.
    """

    fixed: tuple[int, ...] | None = None
    multiple_of: int = 1
    at_least: int = 1


@dataclass(frozen=True)
class ModelFile:
    """An exported model in one format.

    Attributes:
        file: File name, in the folder of the specification.
        sha256: Checksum by file name: of the model, and of its weights if these are a separate file.
        difference: Largest absolute difference from torch over random inputs of `shapes`.
        limit: Largest difference allowed.
        largest_output: Largest absolute output in the comparison.
        shapes: Shapes of the inputs of the comparison.
        precision: "fp32" or "fp16", of the weights.
    """

    file: str
    sha256: Mapping[str, str]
    difference: float
    limit: float
    largest_output: float
    shapes: tuple[tuple[int, ...], ...]
    precision: str


@dataclass(frozen=True)
class ModelSpec:
    """Description of a trained network (`nas.bundle`) or of an exported one (`nas.export`).

    Attributes:
        task: The fields of `nas.task_spec.TaskSpec`.
        inputs: Inputs of the network.
        outputs: Outputs: of a bundle the predictions of its task, of an exported network its own outputs.
        sides: Lengths that the spatial axes may have. A bundle records those of its training.
        files: Exported models by format; empty in a bundle.
        preparation: How an input is made of a file, see nas/data/transforms/preparation.py.
        inference: Settings of the task that a prediction depends on (window, overlap, mirrored views, ...).
        facts: Provenance: network, training data, split, validation metrics, versions.
        weights: Checksum (SHA-256) of a bundle's weights by file name; empty for an exported network.
        task_class: Dotted path of the class of the task; empty for an exported network.
    """

    task: Mapping[str, Any]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    sides: Sides
    files: Mapping[str, ModelFile] = field(default_factory=dict)
    preparation: Mapping[str, Any] = field(default_factory=dict)
    inference: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    task_class: str = ""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the outputs."""
        return self.outputs[0].channels

    def save(self, folder: str | Path) -> Path:
        """Write the specification into a folder.

        Args:
            folder: The folder.

        Returns:
            Path of the file.
        """
        path = Path(folder) / MODEL_JSON
        write_sealed(path, {"schema": SCHEMA, **asdict(self)})
        return path

    @classmethod
    def load(cls, path: str | Path, *, sealed: bool = True) -> ModelSpec:
        """Read a specification.

        Args:
            path: The file `model.json`.
            sealed: Whether the checksum is compared.

        Returns:
            The specification.

        Raises:
            NASError: If the file is missing, is no specification, is incomplete, has a newer schema, or does not match
                its checksum.
        """
        path = Path(path)
        try:
            content = read_json(path)
            damaged = sealed and is_damaged(path, content)
            schema = content.pop("schema")
            content.pop(SEAL, None)
            require_types(content)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise NASError(
                f"{path}, which cannot be read as a model specification ({error})",
                f"the {MODEL_JSON} that was written with the model",
                "keep it beside the model",
            ) from error
        if schema not in READABLE:
            raise NASError(f"schema {schema} in {path}", f"schema {SCHEMA}", "update voxnas, or export again")
        try:
            content["inputs"], content["outputs"] = (
                tuple(Port(**_tuples(port)) for port in content[name]) for name in ("inputs", "outputs")
            )
            content["sides"] = Sides(**_tuples(content["sides"]))
            content["files"] = {name: ModelFile(**_tuples(file)) for name, file in content["files"].items()}
            spec = cls(**content)
        except (KeyError, TypeError, AttributeError) as error:
            raise NASError(f"{path} without {error}", "a complete model specification", "export again") from error
        for name in ("task", "preparation", "inference", "facts", "weights"):
            if not isinstance(value := getattr(spec, name), dict):
                raise NASError(
                    f"{name}={value!r:.40} in {path}", "a JSON object", "restore the file that the export wrote"
                )
        shapes = [port.shape for port in (*spec.inputs, *spec.outputs)]
        complete = spec.inputs and spec.outputs and isinstance(spec.task_class, str)
        if not complete or not all(isinstance(value, tuple) for value in (*shapes, spec.sides.fixed or ())):
            raise NASError(f"{path} without inputs or outputs", "a complete model specification", "export again")
        sides = [*(spec.sides.fixed or ()), spec.sides.multiple_of, spec.sides.at_least]
        fault = first_fault(spec.preparation, spec.inference, [port.shape for port in spec.inputs], sides)
        if fault is not None:
            raise NASError(f"{fault[0]} in {path}", fault[1], "restore the file that the export wrote")
        if damaged:
            raise NASError(
                f"{path}, whose content does not match its checksum ({SEAL})",
                "the file as it was written with the model",
                "copy the folder again",
            )
        return spec

    def require_file(self, path: Path) -> None:
        """Check that a model belongs to this specification.

        Args:
            path: The model, in the folder of the specification.

        Raises:
            NASError: If the specification does not describe the file, or a checksum differs.
        """
        for file in self.files.values():
            if file.file != path.name:
                continue
            for name, expected in file.sha256.items():
                if (found := _digest(path.with_name(name))) != expected:
                    raise NASError(
                        f"{path.with_name(name)} with sha256 {found[:12]}",
                        f"{expected[:12]}, as recorded in its specification",
                        "copy model and specification together, or export again",
                    )
            return
        raise NASError(
            f"{path.name}, which the specification does not list",
            f"one of {', '.join(file.file for file in self.files.values()) or 'the files of an exported network'}",
            "copy model and specification together",
        )


def _digest(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError as error:
        raise NASError(f"no file {path}", "an exported model", "check the path") from error


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """Turn lists of JSON into tuples."""
    return {name: _tuple(value) for name, value in values.items()}


def _tuple(value: Any) -> Any:
    return tuple(_tuple(one) for one in value) if isinstance(value, list) else value
