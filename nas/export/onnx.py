"""Networks as files that run without torch: ONNX and OpenVINO IR, each compared with torch before it is written.

voxnas export outputs/train/NAME
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import io
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.onnx import OnnxExporterError
from torch.utils._pytree import keystr, tree_flatten_with_path

from nas.context import versions
from nas.errors import NASError, first_line
from nas.export.sides import REFUSALS, free_sides, tensors_of
from nas.inference.model_spec import MODEL_FILES, MODEL_JSON, ModelFile, ModelSpec, Port, Sides
from nas.inference.runtime import Runner, run_onnx, run_openvino
from nas.task_spec import TaskSpec
from nas.tasks.base import evaluation_mode
from nas.utils.files import staged, write_bytes

FORMATS = tuple(MODEL_FILES)
PACKAGES = {"onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino"), "openvino_fp16": ("onnx", "openvino")}
OPSET = 17
LIMIT = {"fp32": 1e-4, "fp16": 2e-2}  # of the difference from torch; times the largest output if it is above 1
INPUT = "image"
SPACE = {2: ("height", "width"), 3: ("depth", "height", "width")}
MOST_BYTES = 2**31 - 2**20  # of weights: a protobuf, and so a single ONNX file, ends at 2 GiB


def export(
    network: nn.Module,
    input_shape: Sequence[int],
    folder: str | Path,
    formats: Sequence[str] = ("onnx",),
    *,
    task: TaskSpec | None = None,
    channels: Sequence[str] = (),
    classes: Sequence[str] = (),
    preparation: Mapping[str, Any] | None = None,
    inference: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> ModelSpec:
    """Write a network as model.onnx, model.xml (with model.bin) or model_fp16.xml, and the specification model.json.

    The network is traced in evaluation mode, so outputs of training only are not exported. Each file is compared with
    torch on random inputs of two shapes before anything is written.

    Args:
        network: The network.
        input_shape: Shape of an input that the network takes: (C, D, H, W), in 2D (C, H, W). The size of a batch is
            free, and so are the sides, in steps that the network takes, if it takes other sides at all.
        folder: Folder of the files.
        formats: Some of onnx, openvino, openvino_fp16.
        task: Task of the network, for the specification.
        channels: Names of the channels of the input.
        classes: Names of the classes.
        preparation: How an input is made of a file, for the specification.
        inference: Settings of the task's prediction, for the specification.
        facts: Further facts for the specification.

    Returns:
        The specification.

    Raises:
        NASError: If a format is unknown or its package is missing, the network refuses the shape or has more than
            2 GiB of weights, or a file differs from torch by more than LIMIT (for example because the computation
            depends on the values of the input).
    """
    made = convert(network, input_shape, formats, classes)
    folder = Path(folder)
    spec = ModelSpec(
        task=asdict(task) if task else {},
        inputs=(_input(input_shape, made.sides, channels),),
        outputs=made.outputs,
        sides=made.sides,
        files=made.files,
        preparation=dict(preparation or {"how": "array"}),
        inference=dict(inference or {}),
        facts={**(facts or {}), "versions": _versions(formats)},
    )
    with staged(folder, last=MODEL_JSON) as place:  # a specification must not describe the files of an earlier export
        for name, content in made.contents.items():
            write_bytes(place / name, content)
        spec.save(place)
    return spec


@dataclass(frozen=True)
class Converted:
    """A network in some formats.

    Attributes:
        contents: File name -> content.
        files: Format -> entry of the specification.
        outputs: Outputs of the network.
        sides: Sides that the network takes.
    """

    contents: Mapping[str, bytes]
    files: Mapping[str, ModelFile]
    outputs: tuple[Port, ...]
    sides: Sides


def convert(
    network: nn.Module, input_shape: Sequence[int], formats: Sequence[str], classes: Sequence[str] = ()
) -> Converted:
    """Convert a network and compare the result with torch.

    Args:
        network: The network.
        input_shape: Shape of an input: (C, D, H, W), in 2D (C, H, W).
        formats: Some of onnx, openvino, openvino_fp16.
        classes: Names of the classes.

    Returns:
        The contents of the files.

    Raises:
        NASError: As `export` does.
    """
    require_formats(formats)
    with evaluation_mode(network):
        model = _Flat(network).eval()
        if any(t.device.type != "cpu" or t.dtype in (torch.bfloat16, torch.float16) for t in tensors_of(model)):
            model = copy.deepcopy(model).cpu().float()
        sides = free_sides(model, input_shape)
        trial = _Trial.of(model, input_shape, sides)
        onnx = _traced(model, trial, sides)
        if onnx is None and not sides.fixed:  # some layers have an ONNX form for one size only, as adaptive pooling
            sides = Sides(fixed=tuple(input_shape[1:]))
            trial = _Trial.of(model, input_shape, sides)
            onnx = _traced(model, trial, sides)
    if onnx is None:
        raise NASError(
            f"a network with a layer that ONNX lacks for an input of {tuple(input_shape)}",
            "layers of opset 17; adaptive pooling needs sides that are multiples of its output's",
            "another size, or another network",
        )
    files: dict[str, ModelFile] = {}
    contents: dict[str, bytes] = {}
    for kind in formats:
        made = {MODEL_FILES[kind]: onnx} if kind == "onnx" else _openvino_ir(onnx, kind)
        files[kind] = trial.compared(_runner(made, kind), made, kind)
        contents |= made
    return Converted(contents, files, trial.outputs(classes, sides), sides)


def require_formats(formats: Sequence[str]) -> None:
    """Check formats before a network is trained or loaded.

    Args:
        formats: Names of formats.

    Raises:
        NASError: If there is none, one is unknown, or its package is not installed.
    """
    for kind in formats:
        if kind not in FORMATS:
            raise NASError(f"export={kind}", f"one of {', '.join(FORMATS)}", "set export to [onnx,openvino]")
        for package in PACKAGES[kind]:
            if importlib.util.find_spec(package) is None:
                raise NASError(
                    f"no package {package}", f"the package that {kind} needs", "pip install 'voxnas[export]'"
                )
    if not formats:
        raise NASError("export=[]", f"some of {', '.join(FORMATS)}", "set export to [onnx,openvino]")


class _Flat(nn.Module):
    """A network with one tensor or a flat tuple of tensors as output, whatever nesting the original returns."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.names: tuple[str, ...] = ()

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        outputs = tree_flatten_with_path(self.model(x_BCDHW))[0]
        words = [
            "_".join(filter(None, "".join(c if c.isalnum() else " " for c in keystr(at)).split())) for at, _ in outputs
        ]
        self.names = ("logits",) if len(outputs) == 1 else tuple(f"output_{word}" for word in words)
        leaves = tuple(leaf for _, leaf in outputs)
        return leaves[0] if len(leaves) == 1 else leaves


@dataclass(frozen=True)
class _Trial:
    """Random inputs of two shapes and the outputs of torch.

    The network is traced with the first, a batch of two. The second is a batch of one, longer along the first axis if
    sides are free.
    """

    names: tuple[str, ...]
    inputs: tuple[torch.Tensor, ...]
    expected: tuple[tuple[torch.Tensor, ...], ...]

    @classmethod
    def of(cls, model: _Flat, input_shape: Sequence[int], sides: Sides) -> _Trial:
        channels, first, *others = input_shape
        longer = first if sides.fixed else first + sides.multiple_of
        generator = torch.Generator().manual_seed(0)
        shapes = ((2, *input_shape), (1, channels, longer, *others))
        inputs = tuple(torch.randn(shape, generator=generator) for shape in shapes)
        try:
            with torch.inference_mode():
                outputs = [model(x_BCDHW) for x_BCDHW in inputs]
        except REFUSALS as error:
            raise NASError(
                f"an input of shape {tuple(input_shape)} ({first_line(error)})",
                "channels and sides that the network takes",
                "another size",
            ) from error
        return cls(model.names, inputs, tuple((one,) if isinstance(one, torch.Tensor) else one for one in outputs))

    def outputs(self, classes: Sequence[str], sides: Sides) -> tuple[Port, ...]:
        dims = self.inputs[0].ndim - 2
        free = ["batch", "", *SPACE[dims]]
        ports = []
        for name, one, other in zip(self.names, *self.expected, strict=True):
            lengths: list[int | str] = list(one.shape)
            lengths[0] = "batch"
            follows = tuple(one.shape[2:]) == tuple(self.inputs[0].shape[2:]) and tuple(other.shape[2:]) == tuple(
                self.inputs[1].shape[2:]
            )
            axes = "BK" + "DHW"[-dims:] if follows else "BK" if one.ndim == 2 else "B" + "?" * (one.ndim - 1)
            for axis in range(2, one.ndim):
                if sides.fixed is None:
                    lengths[axis] = free[axis] if follows else f"{name}_{axis}"
            named = tuple(classes) if "K" in axes and len(classes) == one.shape[1] else ()
            ports.append(Port(name, axes, tuple(lengths), named))
        return tuple(ports)

    def compared(self, run: Runner, made: Mapping[str, bytes], kind: str) -> ModelFile:
        """Compare a format with torch.

        Args:
            run: The network, loaded from its files.
            made: File name -> content.
            kind: The format.

        Returns:
            The entry of the specification.

        Raises:
            NASError: If the difference is above LIMIT.
        """
        precision = "fp16" if kind.endswith("fp16") else "fp32"
        largest = max(float(one.abs().max()) for outputs in self.expected for one in outputs)
        limit = LIMIT[precision] * max(1.0, largest)
        difference = 0.0
        for x_BCDHW, expected in zip(self.inputs, self.expected, strict=True):
            try:
                outputs = run(x_BCDHW.numpy())
            except Exception as error:  # the runtimes raise classes of their own
                raise NASError(
                    f"{MODEL_FILES[kind]}, which fails for an input of {tuple(x_BCDHW.shape)} ({first_line(error)})",
                    "a network whose graph is the same for every batch",
                    "x.shape[0] in place of len(x) in its forward, which tracing takes for a constant",
                ) from error
            for output, wanted in zip(outputs, expected, strict=True):
                same = output.shape == tuple(wanted.shape)
                apart = float(np.abs(output - wanted.numpy()).max()) if same else np.inf
                difference = max(difference, apart if np.isfinite(apart) else np.inf)  # NaN is no maximum
        if not difference <= limit:
            raise NASError(
                f"{MODEL_FILES[kind]} that differs from torch by {difference:.2g}",
                f"at most {limit:.2g}",
                "a network whose computation does not depend on the values of its input, and finite weights",
            )
        return ModelFile(
            file=MODEL_FILES[kind],
            sha256={name: hashlib.sha256(content).hexdigest() for name, content in made.items()},
            difference=difference,
            limit=limit,
            largest_output=largest,
            shapes=tuple(tuple(x_BCDHW.shape) for x_BCDHW in self.inputs),
            precision=precision,
        )


def _input(input_shape: Sequence[int], sides: Sides, channels: Sequence[str]) -> Port:
    space: Sequence[int | str] = input_shape[1:] if sides.fixed else SPACE[len(input_shape) - 1]
    return Port(INPUT, "BC" + "DHW"[1 - len(input_shape) :], ("batch", input_shape[0], *space), tuple(channels))


def _traced(model: _Flat, trial: _Trial, sides: Sides) -> bytes | None:
    """Write the network as an ONNX file; None if ONNX lacks one of its layers.

    By tracing: over the networks of our spaces it took 0.05 to 0.4 s where torch.export took 2 to 20, with files up to
    three times smaller, the same differences from torch and no constraint on free sides
    (docs/how-to/export-and-predict.md).
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    if size > MOST_BYTES:
        raise NASError(f"{size / 2**30:.1f} GiB of weights", "at most 2 GiB in one file", "a smaller network")
    space = {} if sides.fixed else {axis + 2: name for axis, name in enumerate(SPACE[trial.inputs[0].ndim - 2])}
    free = {INPUT: {0: "batch", **space}}
    for port in trial.outputs((), sides):
        free[port.name] = {axis: length for axis, length in enumerate(port.shape) if isinstance(length, str)}
    content = io.BytesIO()
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), torch.no_grad(), suppress(OnnxExporterError):
        warnings.simplefilter("ignore")  # tracing warns that it does not record the checks of sides
        torch.onnx.export(
            model,
            (trial.inputs[0],),
            content,  # type: ignore[arg-type]  # a file object works, against the annotation
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(trial.names),
            dynamic_axes=free,
            do_constant_folding=False,  # the runtimes do it; here it would double the time
        )
    return content.getvalue() or None


def _openvino_ir(onnx: bytes, kind: str) -> dict[str, bytes]:
    """model.xml and model.bin, or model_fp16.xml and model_fp16.bin."""
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / MODEL_FILES[kind]
        openvino.save_model(openvino.Core().read_model(onnx), path, compress_to_fp16=kind.endswith("fp16"))
        return {one.name: one.read_bytes() for one in (path, path.with_suffix(".bin"))}


def _runner(made: Mapping[str, bytes], kind: str) -> Runner:
    """Load the network from the contents of its files."""
    first, *weights = made.values()
    if kind == "onnx":
        return run_onnx(first, torch.get_num_threads())
    import openvino

    return run_openvino(openvino.Core().read_model(first, *weights), torch.get_num_threads())


def _versions(formats: Sequence[str]) -> dict[str, str]:
    packages = {"torch", "onnx", *(package for kind in formats for package in PACKAGES[kind])}
    return {"opset": str(OPSET), **versions(sorted(packages))}
