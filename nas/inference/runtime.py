"""An exported network with its card: arrays in, probabilities out."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import reduce
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from nas.errors import NASError
from nas.inference.model_card import CARD, ModelCard
from nas.inference.sliding_window import slide

OPENVINO_SETTINGS = {"INFERENCE_PRECISION_HINT": "f32"}  # its own choice on a CPU may be bf16: differences of 1e-2
OVERLAP = 0.25  # of windows where a network takes one size only

Runner = Callable[[np.ndarray], list[np.ndarray]]  # a batch -> the network's outputs


class ExportedNetwork:
    """model: model.onnx, or model.xml of OpenVINO, with the card model.json beside it. threads: None: all cores.

    Attributes: card, path. Raises NASError for a file that is missing, broken or not the card's, and where the package
    that runs it is not installed.
    """

    def __init__(self, model: str | Path, threads: int | None = None) -> None:
        self.path = Path(model)
        if self.path.suffix not in (".onnx", ".xml"):
            raise NASError(f"the model {self.path}", "model.onnx, or model.xml of OpenVINO", "name one of these files")
        self.card = ModelCard.load(self.path.with_name(CARD))
        self.card.require_file(self.path)
        try:
            self._run = (run_onnx if self.path.suffix == ".onnx" else run_openvino)(str(self.path), threads)
        except (RuntimeError, ValueError, OSError) as error:
            raise NASError(
                f"{self.path}, which does not load ({str(error).splitlines()[0][:200]})",
                "a model that was written by VoxNAS",
                "export it again",
            ) from error

    def __call__(self, x_BCDHW: np.ndarray) -> list[np.ndarray]:
        """What the network gives for a batch (B, C, D, H, W) of a size that the card allows, in the card's order."""
        return self._run(np.ascontiguousarray(x_BCDHW, dtype=np.float32))

    def probabilities(self, x_BCDHW: np.ndarray) -> np.ndarray:
        """Class probabilities (B, K), of a segmentation (B, K, D, H, W): as the task's `predict` gives them.

        A segmentation takes any sides: it slides its window, or without one is shown the image filled up to sides that
        the network takes. Raises NASError for other channels or sides, and for a network of another
        kind of task.
        """
        kind, channels = self.card.task.get("kind"), self.card.inputs[0].shape[1]
        if kind not in ("classification", "segmentation"):
            raise NASError(
                f"{self.path} for a task of {kind}", "classification or segmentation", "the command of that system"
            )
        if x_BCDHW.ndim != len(self.card.inputs[0].shape) or x_BCDHW.shape[1] != channels:
            raise NASError(
                f"an input of shape {x_BCDHW.shape[1:]}",
                f"{len(self.card.inputs[0].shape) - 2} sides and {channels} channels, "
                f"{', '.join(self.card.inputs[0].channels) or 'unnamed'}",
                "give what the network was trained on",
            )
        if kind == "classification":
            self._require_sides(x_BCDHW.shape[2:])
            return _softmax(self(x_BCDHW)[0])
        flips = self.card.inference.get("flips", ())
        views = [tuple(2 + axis for axis in axes) for n in range(len(flips) + 1) for axes in combinations(flips, n)]
        parts = (np.flip(_softmax(self._logits(np.flip(x_BCDHW, axes))), axes) for axes in views)
        return reduce(np.add, parts) / len(views)

    def _logits(self, x_BCDHW: np.ndarray) -> np.ndarray:
        def network(seen: np.ndarray) -> np.ndarray:
            return self(seen)[0]

        window, sides = self.card.inference.get("window"), self.card.sides
        if window is not None:
            self._require_sides(window)
            return slide(network, x_BCDHW, window, self.card.inference["overlap"])
        if sides.fixed is not None:
            return slide(network, x_BCDHW, sides.fixed, OVERLAP)
        whole = [_up(own, sides.multiple_of, sides.at_least) for own in x_BCDHW.shape[2:]]
        # as the store of a training fills up its volumes: raw values with the least one, others with their mean, 0
        fill = float(x_BCDHW.min()) if self.card.preparation.get("normalise") == "training" else 0.0
        return slide(network, x_BCDHW, whole, 0.0, fill)

    def _require_sides(self, sides: Sequence[int]) -> None:
        rule = self.card.sides
        if rule.fixed is not None:
            holds, expected = tuple(sides) == rule.fixed, " x ".join(map(str, rule.fixed))
        else:
            holds = all(side % rule.multiple_of == 0 and side >= rule.at_least for side in sides)
            expected = f"multiples of {rule.multiple_of}, at least {rule.at_least}"
        if not holds:
            raise NASError(f"an image of {'x'.join(map(str, sides))} voxels", expected, "crop or pad it")


def _up(length: int, step: int, least: int) -> int:
    return max(least, -(-length // step) * step)


def _softmax(logits_BK: np.ndarray) -> np.ndarray:
    grown = np.exp(logits_BK - logits_BK.max(axis=1, keepdims=True))
    return grown / grown.sum(axis=1, keepdims=True)


def run_onnx(model: str | bytes, threads: int | None = None) -> Runner:
    """A file, or its content, in onnxruntime. Raises NASError where that is not installed."""
    runtime = _package("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x_BCDHW: session.run(None, {name: x_BCDHW})


def run_openvino(model: Any, threads: int | None = None) -> Runner:
    """The path of an xml file, or an `openvino.Model`, in OpenVINO. Raises NASError where that is not installed."""
    settings: dict[str, Any] = dict(OPENVINO_SETTINGS)
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    compiled = _package("openvino").Core().compile_model(model, "CPU", settings)
    return lambda x_BCDHW: [np.array(one) for one in compiled(x_BCDHW).values()]


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise NASError(f"no package {name}", "what runs the model", f"pip install {name}") from error
