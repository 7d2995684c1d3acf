"""Small data, networks and problems of several kinds, in 2D and 3D, on which parts are checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from nas.architecture import Architecture, Gene
from nas.context import RunContext
from nas.data.loading import VolumeSet
from nas.data.sample import Sample
from nas.data.store import VolumeStore
from nas.data.store_writer import write_store
from nas.errors import TrialFailed
from nas.history import Proposal
from nas.metrics.metric import Metric, Scores
from nas.problem import Problem
from nas.space import SearchSpace
from nas.task_spec import TaskSpec
from nas.tasks.base import Task, evaluation_mode
from nas.tasks.default import default_task

SIDE, CASES = 8, 24
CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh, "gelu": nn.GELU}


class TinyNets(SearchSpace):
    """Chains of convolutions for any kind of task but detection: 144 networks.

    Args:
        kind: Kind of task: "segmentation" has an output for every voxel, any other kind one for every volume.
    """

    def __init__(self, kind: str = "classification") -> None:
        self.kind = kind  # type: ignore[misc]
        self.genes = (
            Gene("width", (2, 4, 6, 8), ordered=True),
            Gene("depth", (1, 2, 3), ordered=True),
            Gene("kernel", (1, 3, 5), ordered=True),
            Gene("activation", tuple(ACTIVATIONS)),
        )

    def build(self, arch: Architecture, task: TaskSpec | None = None) -> nn.Module:
        task = task or TaskSpec(self.kind)
        width, depth, kernel, activation = self.values(arch)
        return tiny_network(task, int(width), int(depth), int(kernel), str(activation))


def tiny_network(
    task: TaskSpec, width: int = 4, depth: int = 1, kernel: int = 3, activation: str = "relu"
) -> nn.Module:
    """Build a network for a task that is no detection.

    Args:
        task: The task.
        width: Channels.
        depth: Convolutions.
        kernel: Side of their kernels, odd.
        activation: A key of `ACTIVATIONS`.

    Returns:
        (B, C, D, H, W) -> (B, outputs, D, H, W) for a segmentation, else (B, outputs); in 2D without D.
    """
    convolution = CONVOLUTIONS[task.dims]
    layers: list[nn.Module] = []
    for step in range(depth):
        layers.append(convolution(task.in_channels if step == 0 else width, width, kernel, padding=kernel // 2))
        layers.append(ACTIVATIONS[activation]())
    if task.kind == "segmentation":
        return nn.Sequential(*layers, convolution(width, task.outputs, 1))
    return nn.Sequential(*layers, nn.Flatten(2), _Mean(), nn.Linear(width, task.outputs))


class _Mean(nn.Module):
    """Mean over the voxels."""

    def forward(self, x_BCV: torch.Tensor) -> torch.Tensor:
        return x_BCV.mean(dim=2)


class Radius(Task):
    """Regression with a metric that is better if it is smaller.

    Args:
        in_channels: Channels of the images.
        outputs: Numbers that are predicted, of which the first counts.
        dims: Spatial dimensions, 2 or 3.
    """

    metrics = (Metric("mae", "MAE", "mm", "minimize"),)

    def __init__(self, in_channels: int = 1, outputs: int = 1, dims: int = 3) -> None:
        self.spec = TaskSpec("regression", dims, in_channels, outputs)

    def loss(self, output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.mse_loss(output[:, 0].float(), y)

    def predict(self, model: nn.Module, x_BCDHW: torch.Tensor) -> torch.Tensor:
        with evaluation_mode(model), torch.inference_mode():
            return model(x_BCDHW)[:, 0].float()

    def score(
        self, prediction: np.ndarray, target: np.ndarray, spacing_mm: np.ndarray | None = None, *, quick: bool = False
    ) -> Scores:
        if not np.isfinite(prediction).all():
            raise TrialFailed("the numbers are not finite")
        return _Errors(np.abs(prediction.astype(np.float64) - target))


@dataclass(frozen=True)
class _Errors(Scores):
    error_N: np.ndarray

    def over(self, rows: np.ndarray | None = None) -> Mapping[str, float]:
        return {"mae": float((self.error_N if rows is None else self.error_N[rows]).mean())}

    def columns(self, classes: Sequence[str]) -> Mapping[str, np.ndarray]:
        return {"error": self.error_N}

    def truth(self, classes: Sequence[str]) -> Mapping[str, np.ndarray]:
        return {}


def drawn_store(path: Path, task: TaskSpec, hidden: Sequence[int] = (), side: int = SIDE) -> VolumeStore:
    """Draw a data set for a task: balls, two of each patient.

    Args:
        path: The file (.h5).
        task: Kind, dimensions, channels and outputs.
        hidden: Rows whose target is another one, to see whether a prediction depends on it.
        side: Voxels a side, at least 8.

    Returns:
        The store.
    """
    classes = [f"class {number}" for number in range(task.outputs)]
    samples = _samples(task, set(hidden), side)
    return write_store(path, samples, name="drawn", classes=classes, provenance={}, scale=1 / 255)


def _samples(task: TaskSpec, hidden: set[int], side: int) -> Iterator[Sample]:
    shape_DHW = (side if task.dims == 3 else 1, side, side)
    middle_3 = (np.array(shape_DHW) - 1) / 2
    distance_DHW = np.sqrt(sum((axis - mid) ** 2 for axis, mid in zip(np.indices(shape_DHW), middle_3, strict=True)))
    rng = np.random.default_rng(0)
    for number in range(CASES):
        radius = rng.uniform(1.5, 3.5)
        ball_DHW = distance_DHW < radius
        label = (number // 2 + number % 2) % task.outputs
        volume = 60 + (40 + 60 * label) * ball_DHW + rng.normal(0, 20, (task.in_channels, *shape_DHW))
        shown, size = (label + 1) % task.outputs if number in hidden else label, radius + 9 * (number in hidden)
        targets = {
            "classification": {"label": shown},
            "segmentation": {"label": 0, "mask_DHW": (ball_DHW * max(shown, 1)).astype(np.uint8)},
            "regression": {"label": 0, "value": size},
            "detection": {"label": 0, "boxes_M7": _box(ball_DHW, shown)},
        }
        target = targets.get(task.kind, targets["classification"])
        voxels = volume.clip(0, 255).astype(np.uint8)
        yield Sample(
            name=f"case{number}",
            volume_CDHW=voxels,
            group=f"patient{number // 2}",
            spacing_mm=(1.0,) * 3,
            size_mm3=float(ball_DHW.sum()),
            **target,
        )


def _box(ball_DHW: np.ndarray, label: int) -> np.ndarray:
    inside = np.argwhere(ball_DHW)
    return np.array([[*inside.min(axis=0), *(inside.max(axis=0) + 1), label]], dtype=np.float32)


def example(folder: Path, kind: str, dims: int) -> tuple[Problem, RunContext, Proposal]:
    """Make a problem with its data and a proposal.

    Args:
        folder: An empty folder.
        kind: "classification", "segmentation" or "regression".
        dims: Spatial dimensions, 2 or 3.

    Returns:
        Problem, context and proposal.
    """
    store = drawn_store(folder / "drawn.h5", TaskSpec(kind, dims, outputs=1 if kind == "regression" else 2))
    task = Radius(dims=dims) if kind == "regression" else default_task(store)
    space = TinyNets(kind)
    score = task.metrics[0]
    problem = Problem.of(space, store, objectives={score.name: score.direction, "macs": "minimize"}, task=task)
    cut = CASES * 2 // 3
    train, valid = VolumeSet(store, range(cut), "cpu"), VolumeSet(store, range(cut, CASES), "cpu")
    context = RunContext(train, valid, folder / "runs", torch.device("cpu"), seed=0)
    return problem, context, Proposal(space.repair([1, 0, 1, 0]))
