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
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.onnx import OnnxExporterError
from torch.utils._pytree import keystr, tree_flatten_with_path

from nas.errors import NASError
from nas.inference.model_card import CARD, MODEL_FILES, ModelCard, ModelFile, Port, Sides
from nas.inference.runtime import Runner, run_onnx, run_openvino
from nas.task_spec import TaskSpec
from nas.utils.files import write_bytes

FORMATS = tuple(MODEL_FILES)
PACKAGES = {"onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino"), "openvino_fp16": ("onnx", "openvino")}
OPSET = 17
LIMIT = {"fp32": 1e-4, "fp16": 2e-2}  # of the difference from torch; times the largest output where that is above 1
INPUT = "image"
SPACE = {2: ("height", "width"), 3: ("depth", "height", "width")}
STEPS = (1, 2, 4, 8, 16, 32, 64)  # of which a network may want its sides to be multiples
MOST_BYTES = 2**31 - 2**20  # of weights: a protobuf, and so a single ONNX file, ends at 2 GiB
REFUSALS = (NASError, RuntimeError, ValueError, TypeError)  # what networks say to sides that they do not take


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
) -> ModelCard:
    """Writes `network` as model.onnx, model.xml (with model.bin), model_fp16.xml and the card model.json into `folder`.

    input_shape: (C, D, H, W), in 2D (C, H, W), of an input that the network takes. The batch is free; the sides are
    free in steps that the network takes, where it takes others at all. channels, classes: names of the input's channels
    and of the classes. The rest goes into the card as it is.
    The network is traced as it is in inference: outputs that it gives in training only are no part of the files.
    Each file is compared with torch on random inputs of two shapes before anything is written.
    Raises NASError for a format that is unknown or whose package is missing, a shape that the network refuses, a
    network above 2 GiB, and one that differs from torch by more than LIMIT (where what it computes depends on the
    values it sees, for example).
    """
    made = convert(network, input_shape, formats, classes)
    folder = Path(folder)
    (folder / CARD).unlink(missing_ok=True)  # until it is written again, no card tells of other files
    for name, content in made.contents.items():
        write_bytes(folder / name, content)
    card = ModelCard(
        task=asdict(task) if task else {},
        inputs=(_input(input_shape, made.sides, channels),),
        outputs=made.outputs,
        sides=made.sides,
        files=made.files,
        preparation=dict(preparation or {"how": "array"}),
        inference=dict(inference or {}),
        facts={**(facts or {}), "versions": _versions(formats)},
    )
    card.save(folder)
    return card


@dataclass(frozen=True)
class Converted:
    """A network in some formats. contents: by file name."""

    contents: Mapping[str, bytes]
    files: Mapping[str, ModelFile]
    outputs: tuple[Port, ...]
    sides: Sides


def convert(
    network: nn.Module, input_shape: Sequence[int], formats: Sequence[str], classes: Sequence[str] = ()
) -> Converted:
    """What `export` writes, and compares with torch before: see there. Raises NASError as it does."""
    require_formats(formats)
    training = network.training
    try:
        model = _Flat(network).eval()
        if any(t.device.type != "cpu" or t.dtype in (torch.bfloat16, torch.float16) for t in _tensors(model)):
            model = copy.deepcopy(model).cpu().float()
        sides = free_sides(model, input_shape)
        trial = _Trial.of(model, input_shape, sides)
        onnx = _traced(model, trial, sides)
        if onnx is None and not sides.fixed:  # a layer may have an ONNX form for one size only, as adaptive pooling
            sides = Sides(fixed=tuple(input_shape[1:]))
            trial = _Trial.of(model, input_shape, sides)
            onnx = _traced(model, trial, sides)
    finally:
        network.train(training)
    if onnx is None:
        raise NASError(
            f"a network with a layer that ONNX lacks for an input of {tuple(input_shape)}",
            "layers of opset 17; adaptive pooling needs sides that are multiples of what it gives",
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
    """Raises NASError for a format that is unknown or whose package is missing."""
    for kind in formats:
        if kind not in FORMATS:
            raise NASError(f"the format {kind!r}", f"one of {', '.join(FORMATS)}", "export=[onnx,openvino]")
        for package in PACKAGES[kind]:
            if importlib.util.find_spec(package) is None:
                raise NASError(f"no package {package}", f"what {kind} needs", "pip install 'voxnas[export]'")
    if not formats:
        raise NASError("no format", f"some of {', '.join(FORMATS)}", "export=[onnx,openvino]")


def free_sides(model: nn.Module, input_shape: Sequence[int]) -> Sides:
    """Which sides a network takes besides those of `input_shape` (C, D, H, W), which it does: found by trying, on a
    copy without data."""
    channels, *sides = input_shape
    # without ever copying the weights: a copy of the network that is told that these are the copies of its tensors
    ghost = copy.deepcopy(model, {id(tensor): _without_data(tensor) for tensor in _tensors(model)}).eval()
    for step in STEPS:
        if any(side % step for side in sides) or _refuses(ghost, (channels, *(side + step for side in sides))):
            continue
        smaller = range(step, min(sides), step)
        least = next((side for side in smaller if not _refuses(ghost, (channels, *[side] * len(sides)))), max(sides))
        return Sides(multiple_of=step, at_least=least)
    return Sides(fixed=tuple(sides))


def _refuses(ghost: nn.Module, shape: Sequence[int]) -> bool:
    """Whether a network on the meta device does not take a shape."""
    try:
        with torch.no_grad():
            ghost(torch.empty(1, *shape, device="meta"))
    except REFUSALS:
        return True
    return False


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


def _tensors(model: nn.Module) -> list[torch.Tensor]:
    return [*model.parameters(), *model.buffers()]


def _without_data(tensor: torch.Tensor) -> torch.Tensor:
    ghost = torch.empty_like(tensor, device="meta")
    return nn.Parameter(ghost, requires_grad=False) if isinstance(tensor, nn.Parameter) else ghost


class _Flat(nn.Module):
    """A network whose output is one tensor or a tuple of tensors, whatever nest of them it gives."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.names: tuple[str, ...] = ()

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        found = tree_flatten_with_path(self.model(x_BCDHW))[0]
        words = [
            "_".join(filter(None, "".join(c if c.isalnum() else " " for c in keystr(at)).split())) for at, _ in found
        ]
        self.names = ("logits",) if len(found) == 1 else tuple(f"output_{word}" for word in words)
        leaves = tuple(leaf for _, leaf in found)
        return leaves[0] if len(leaves) == 1 else leaves


@dataclass(frozen=True)
class _Trial:
    """Random inputs of two shapes and what torch says of them. The first is what the network is traced with: a batch
    of two. The second is a batch of one, where sides are free a longer one."""

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
                said = [model(x_BCDHW) for x_BCDHW in inputs]
        except REFUSALS as error:
            raise NASError(
                f"an input of shape {tuple(input_shape)} ({_first_line(error)})",
                "channels and sides that the network takes",
                "mend the size",
            ) from error
        return cls(model.names, inputs, tuple((one,) if isinstance(one, torch.Tensor) else one for one in said))

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
        """Raises NASError where the network as it is in the files says something else than torch does."""
        precision = "fp16" if kind.endswith("fp16") else "fp32"
        largest = max(float(one.abs().max()) for outputs in self.expected for one in outputs)
        limit = LIMIT[precision] * max(1.0, largest)
        difference = 0.0
        for x_BCDHW, expected in zip(self.inputs, self.expected, strict=True):
            try:
                outputs = run(x_BCDHW.numpy())
            except Exception as error:  # the runtimes raise classes of their own
                raise NASError(
                    f"{MODEL_FILES[kind]}, which fails for an input of {tuple(x_BCDHW.shape)} ({_first_line(error)})",
                    "a network whose graph is the same for every batch",
                    "x.shape[0] in place of len(x) in its forward, which tracing takes for a constant",
                ) from error
            for said, meant in zip(outputs, expected, strict=True):
                same = said.shape == tuple(meant.shape)
                apart = float(np.abs(said - meant.numpy()).max()) if same else np.inf
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
    """The network as an ONNX file; None where ONNX lacks a layer of it.

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
        warnings.simplefilter("ignore")  # of tracing: checks of sides are not recorded, which is what is wanted
        torch.onnx.export(
            model,
            (trial.inputs[0],),
            content,  # type: ignore[arg-type]  # a file object will do, whatever its annotation says
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(trial.names),
            dynamic_axes=free,
            do_constant_folding=False,  # the runtimes do that; here it takes as long as all the rest
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
    """What the files say, as they will be read."""
    first, *weights = made.values()
    if kind == "onnx":
        return run_onnx(first, torch.get_num_threads())
    import openvino

    return run_openvino(openvino.Core().read_model(first, *weights), torch.get_num_threads())


def _versions(formats: Sequence[str]) -> dict[str, str]:
    packages = {"torch", "onnx", *(package for kind in formats for package in PACKAGES[kind])}
    return {"opset": str(OPSET), **{package: version(package) for package in sorted(packages)}}
