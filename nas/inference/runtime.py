"""Networks with their specification: arrays in, probabilities out. Needs no torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from nas.errors import NASError, first_line
from nas.inference.model_spec import BUNDLES, MODEL_FILES, MODEL_JSON, ModelSpec
from nas.inference.sliding_window import slide
from nas.metrics.calibration import tempered
from nas.utils.views import plane_axes, views

OPENVINO_SETTINGS = {"INFERENCE_PRECISION_HINT": "f32"}  # its own choice on a CPU may be bf16: differences of 1e-2
OVERLAP = 0.25  # of neighbouring windows, if a network takes one size only

NO_MEMORY = ("Failed to allocate memory", "bad_alloc")  # in messages of onnxruntime
KINDS = ("classification", "segmentation")  # of networks that predict without torch
Runner = Callable[[np.ndarray], list[np.ndarray]]  # a batch -> the network's outputs


class InferenceNetwork:
    """A network that predicts as its task did in training.

    Args:
        spec: Its specification.
        run: The network: a batch -> its outputs, logits first.
        path: Its file, for messages.
    """

    def __init__(self, spec: ModelSpec, run: Runner, path: Path) -> None:
        self.spec, self._run, self.path = spec, run, path

    def __call__(self, x_BCDHW: np.ndarray) -> list[np.ndarray]:
        """Run the network.

        Args:
            x_BCDHW: A batch (B, C, D, H, W), in 2D (B, C, H, W), of sides that the specification allows.

        Returns:
            The outputs in the order of the specification.

        Raises:
            NASError: If the first output is no array of finite numbers.
        """
        outputs = self._run(np.ascontiguousarray(x_BCDHW, dtype=np.float32))
        if not outputs or not isinstance(outputs[0], np.ndarray) or outputs[0].dtype.kind != "f":
            raise NASError(f"{self.path} without an output of real numbers", "logits", "export it again")
        if outputs[0].ndim < 2 or not np.isfinite(outputs[0]).all():
            raise NASError(
                f"{self.path}, whose output has the shape {outputs[0].shape} or holds NaN",
                "finite logits",
                "export it again",
            )
        return outputs

    def probabilities(self, x_BCDHW: np.ndarray) -> np.ndarray:
        """Predict class probabilities.

        A segmentation takes any sides: it slides its window over the image, or without a window pads the image to sides
        that the network takes.

        Args:
            x_BCDHW: A batch (B, C, D, H, W), in 2D (B, C, H, W).

        Returns:
            (B, K), of a segmentation (B, K, D, H, W), as the task's `predict` gives them.

        Raises:
            NASError: If channels or sides are not those of the network, or its task is of another kind.
        """
        kind, channels = self.spec.task.get("kind"), self.spec.inputs[0].shape[1]
        if kind not in KINDS:
            raise NASError(
                f"{self.path} for a task of {kind}", " or ".join(KINDS), "give the folder of its training, or use torch"
            )
        self.require_input(x_BCDHW, channels)
        own = self.spec.inference
        every = views(x_BCDHW.ndim - 2, tuple(own.get("flips", ())), tuple(own.get("rotations", ())))
        if kind == "classification":
            parts = (self._classes(self._checked(view.of(x_BCDHW))) for view in every)
        else:
            parts = (view.undone(_softmax(self._logits(view.of(x_BCDHW)))) for view in every)
        # of the mean over views, so that the temperature changes no answer
        return tempered(reduce(np.add, parts) / len(every), own.get("temperature", 1.0))

    def _checked(self, x_BCDHW: np.ndarray) -> np.ndarray:
        self._require_sides(x_BCDHW.shape[2:])
        return x_BCDHW

    def require_input(self, x_BCDHW: np.ndarray, channels: int | str) -> None:
        """Check axes and channels of a batch.

        Args:
            x_BCDHW: The batch.
            channels: Channels of the network.

        Raises:
            NASError: If they are others.
        """
        if x_BCDHW.ndim != len(self.spec.inputs[0].shape) or x_BCDHW.shape[1] != channels:
            raise NASError(
                f"an input of shape {x_BCDHW.shape[1:]}",
                f"{len(self.spec.inputs[0].shape) - 2} sides and {channels} channels, "
                f"{', '.join(self.spec.inputs[0].channels) or 'unnamed'}",
                "use images like those of the training",
            )

    def mirrored(self, flips: Sequence[int]) -> None:
        """Average over mirrored views from now on.

        Args:
            flips: Axes (0 = D, 1 = H, 2 = W; in 2D H, W) that are mirrored in every combination; none for one view.

        Raises:
            NASError: If the images have fewer axes, or the training mirrored no image along one of them.
        """
        if any(not 0 <= axis < self._dims for axis in flips):
            raise NASError(f"flips {list(flips)}", f"axes from 0 to {self._dims - 1}", "leave out the others")
        self._require_trained("flips", flips)
        self.spec = replace(self.spec, inference={**self.spec.inference, "flips": tuple(flips)})

    def turned(self, planes: Sequence[str]) -> None:
        """Average over turned views from now on.

        Args:
            planes: Planes in which images are turned by 90, 180 and 270 degrees, see `nas.utils.views.views`; none for
                no rotation.

        Raises:
            NASError: If the images have no such plane, its voxels are no squares, or the training turned no image in
                one of them.
        """
        spacing_mm = self.spec.preparation.get("spacing_mm")
        for plane in planes:
            if self._dims == 2 and plane != "HW":
                raise NASError(f"rotations {list(planes)} of slices", "the plane HW", "leave out the others")
            each = spacing_mm if isinstance(spacing_mm, Sequence) and len(spacing_mm) > 1 else [1, 1, 1]
            sides = [each[axis - 3] for axis in plane_axes(plane, 3)]  # from the end, as slices have two
            if len(set(sides)) > 1:
                raise NASError(
                    f"rotations in the plane {plane} of voxels of {sides[0]} x {sides[1]} mm",
                    "a plane whose voxels are squares",
                    "leave out the plane",
                )
        self._require_trained("rotations", planes)
        self.spec = replace(self.spec, inference={**self.spec.inference, "rotations": tuple(planes)})

    @property
    def _dims(self) -> int:
        return len(self.spec.inputs[0].shape) - 2

    def _require_trained(self, name: str, chosen: Sequence[int | str]) -> None:
        """Check that the training showed such views, if the specification records which views it showed."""
        trained = self.spec.facts.get("trained", {})
        recorded = trained.get("views") if isinstance(trained, dict) else None
        shown = recorded.get(name) if isinstance(recorded, dict) else None
        if not isinstance(shown, list):
            return
        if unseen := [one for one in chosen if one not in shown]:
            raise NASError(
                f"{name} {', '.join(map(str, unseen))} with {self.path}, whose training showed no such views",
                f"some of {', '.join(map(str, shown)) or 'none'}",
                "leave out the others: labels may differ between the sides",
            )

    @property
    def identity(self) -> dict[str, Any]:
        """Facts that decide a prediction: weights, preparation and inference, as JSON values."""
        spec = self.spec
        files = [file.sha256 for file in spec.files.values() if file.file == self.path.name]
        return {
            "weights": dict(spec.weights) or files,
            "preparation": dict(spec.preparation),
            "inference": dict(spec.inference),
        }

    def _classes(self, x_BCDHW: np.ndarray) -> np.ndarray:
        logits = self(x_BCDHW)[0]
        self._require_shape(logits, (len(x_BCDHW), len(self.spec.classes) or logits.shape[1]))
        return _softmax(logits)

    def _logits(self, x_BCDHW: np.ndarray) -> np.ndarray:
        def network(seen: np.ndarray) -> np.ndarray:
            logits = self(seen)[0]
            self._require_shape(logits, (len(seen), logits.shape[1], *seen.shape[2:]))
            return logits

        window, sides = self.spec.inference.get("window"), self.spec.sides
        if window is not None:
            self._require_sides(window)
            return slide(network, x_BCDHW, window, self.spec.inference["overlap"])
        if sides.fixed is not None:
            return slide(network, x_BCDHW, sides.fixed, OVERLAP)
        whole = [_up(own, sides.multiple_of, sides.at_least) for own in x_BCDHW.shape[2:]]
        # as stores pad their volumes: raw values with the smallest one, normalised ones with their mean, 0
        fill = float(x_BCDHW.min()) if self.spec.preparation.get("normalise") == "training" else 0.0
        return slide(network, x_BCDHW, whole, 0.0, fill)

    def _require_shape(self, logits: np.ndarray, shape: tuple[int, ...]) -> None:
        if logits.shape != shape:
            raise NASError(f"{self.path} with an output of shape {logits.shape}", f"{shape}", "export it again")

    def _require_sides(self, sides: Sequence[int]) -> None:
        rule = self.spec.sides
        if rule.fixed is not None:
            holds, expected = tuple(sides) == rule.fixed, " x ".join(map(str, rule.fixed))
        else:
            holds = all(side % rule.multiple_of == 0 and side >= rule.at_least for side in sides)
            expected = f"multiples of {rule.multiple_of}, at least {rule.at_least}"
        if not holds:
            raise NASError(f"an image of {'x'.join(map(str, sides))} voxels", expected, "crop or pad it")


class ExportedNetwork(InferenceNetwork):
    """An exported network, run by onnxruntime or OpenVINO.

    Args:
        model: model.onnx, or model.xml of OpenVINO, with the specification model.json beside it.
        threads: Number of threads. If None, all cores.

    Raises:
        NASError: If a file is missing, broken or not listed in model.json, or its package is not installed.
    """

    def __init__(self, model: str | Path, threads: int | None = None) -> None:
        path = Path(model)
        if path.suffix not in (".onnx", ".xml"):
            raise NASError(
                f"the model {path}", "model.onnx, model.xml of OpenVINO, or a folder of run_train.py", "check the path"
            )
        spec = ModelSpec.load(path.with_name(MODEL_JSON))
        spec.require_file(path)
        try:
            run = (run_onnx if path.suffix == ".onnx" else run_openvino)(str(path), threads)
        except NASError:
            raise
        except Exception as error:  # onnxruntime and OpenVINO have exceptions of their own, and models other faults
            raise NASError(
                f"{path}, which does not load ({first_line(error)})",
                "a model that was written by VoxNAS",
                "export it again",
            ) from error
        super().__init__(spec, run, path)


def exported_in(folder: Path) -> list[Path]:
    """List the exported networks of a folder: one, or one in each sub-folder.

    Args:
        folder: Folder of `voxnas export`.

    Returns:
        model.onnx of each network, or model.xml where there is none; none for a folder of a training.
    """
    inner = sorted(path for path in folder.iterdir() if path.is_dir())
    of_training = (folder / MODEL_JSON).is_file() or any(
        path.name == BUNDLES for path in inner
    )  # has its own `export/`
    found = [folder, *([] if of_training else inner)]
    files = ([one / name for name in MODEL_FILES.values() if (one / name).is_file()] for one in found)
    networks = [paths[0] for paths in files if paths]
    return networks[:1] if networks and networks[0].parent == folder else networks


def _up(length: int, step: int, least: int) -> int:
    return max(least, -(-length // step) * step)


def _softmax(logits_BK: np.ndarray) -> np.ndarray:
    grown = np.exp(logits_BK - logits_BK.max(axis=1, keepdims=True))
    return grown / grown.sum(axis=1, keepdims=True)


def run_onnx(model: str | bytes, threads: int | None = None) -> Runner:
    """Load a model in onnxruntime.

    Args:
        model: Path of the file, or its content.
        threads: Number of threads. If None, all cores.

    Returns:
        The network.

    Raises:
        NASError: If onnxruntime is not installed.
    """
    runtime = _package("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # errors are exceptions
    if threads is not None:
        options.intra_op_num_threads = threads
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(x_BCDHW: np.ndarray) -> list[np.ndarray]:
        try:
            return list(session.run(None, {name: x_BCDHW}))
        except Exception as error:  # onnxruntime's own exceptions share no base
            if any(words in str(error) for words in NO_MEMORY):
                raise MemoryError("the model needs more memory than it may use") from error
            raise RuntimeError(first_line(error)) from error

    return run


def run_openvino(model: Any, threads: int | None = None) -> Runner:
    """Load a model in OpenVINO, with computation in fp32.

    Args:
        model: Path of the xml file, or an `openvino.Model`.
        threads: Number of threads. If None, all cores.

    Returns:
        The network.

    Raises:
        NASError: If OpenVINO is not installed.
    """
    settings: dict[str, Any] = dict(OPENVINO_SETTINGS)
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    compiled = _package("openvino").Core().compile_model(model, "CPU", settings)
    return lambda x_BCDHW: [np.array(one) for one in compiled(x_BCDHW).values()]


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise NASError(f"no package {name}", "the package that runs the model", f"pip install {name}") from error
