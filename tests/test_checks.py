"""Deliberately wrong spaces and tasks, and what `nas.testing` says about each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nas.architecture import Architecture, Gene
from nas.baselines.base import Baseline
from nas.metrics.metric import Metric
from nas.space import Block, SearchSpace
from nas.task_spec import TaskSpec
from nas.tasks.base import Task, evaluation_mode
from nas.tasks.classification import Classification
from nas.tasks.detection import Detection
from nas.tasks.segmentation import Segmentation
from nas.testing import check_space, check_task
from nas.testing.examples import Radius, TinyNets, tiny_network
from search_spaces.detector import DetectorSpace
from tests.checks import says
from tests.regression import Regression

CUBE, SLICE = (1, 8, 8, 8), (1, 8, 8)


@pytest.mark.parametrize("shape", [CUBE, SLICE])
@pytest.mark.parametrize("kind", ["classification", "segmentation", "regression"])
def test_right_spaces(kind: str, shape: tuple[int, ...]) -> None:
    check_space(TinyNets(kind), shape, outputs=3)


class Deaf(TinyNets):
    """Does not read the last gene."""

    def build(self, arch: Architecture, task: TaskSpec | None = None) -> nn.Module:
        return super().build(self.repair([*arch.genes[:-1], 0]), task)


class Solid(TinyNets):
    """Builds networks in 3D for every task."""

    def build(self, arch: Architecture, task: TaskSpec | None = None) -> nn.Module:
        return super().build(arch, replace(task or TaskSpec(), dims=3))


class OneOutput(TinyNets):
    def build(self, arch: Architecture, task: TaskSpec | None = None) -> nn.Module:
        return super().build(arch, replace(task or TaskSpec(), outputs=1))


class Shrunk(TinyNets):
    """Masks of half the sides."""

    def build(self, arch: Architecture, task: TaskSpec | None = None) -> nn.Module:
        network = super().build(arch, task)
        return nn.Sequential(network, nn.AvgPool3d(2))


class Unsorted(TinyNets):
    """Ordered choices that are not sorted."""

    def __init__(self, kind: str = "classification") -> None:
        super().__init__(kind)
        self.genes = (Gene("width", (8, 2, 4, 6), ordered=True), *self.genes[1:])


class Unseeded(TinyNets):
    def build(self, arch: Architecture, task: TaskSpec | None = None) -> nn.Module:
        network = super().build(arch, task)
        with torch.no_grad():
            next(network.parameters()).copy_(torch.from_numpy(np.random.default_rng().normal(size=1)))
        return network


class Forgetful(TinyNets):
    """Does not keep its argument."""

    def __init__(self, wide: int = 2) -> None:
        super().__init__()


class Frozen(TinyNets):
    def build(self, arch: Architecture, task: TaskSpec | None = None) -> nn.Module:
        return super().build(arch, task).requires_grad_(False)


class Wandering(TinyNets):
    """Repairs what it has repaired before to something else."""

    def repair(self, genes: Sequence[int]) -> Architecture:
        return self._issue([(int(gene) + 1) % len(own.choices) for gene, own in zip(genes, self.genes, strict=True)])


class Twice(TinyNets):
    def __init__(self, kind: str = "classification") -> None:
        super().__init__(kind)
        self.genes = (self.genes[0], self.genes[0])


class Partial(TinyNets):
    """Blocks that leave out the head."""

    def blocks(
        self, genes_NG: np.ndarray, input_size: tuple[int, ...], task: TaskSpec | None = None
    ) -> tuple[tuple[Block, ...], np.ndarray]:
        spec = task or TaskSpec()
        archs = [self.architecture(genes.tolist()) for genes in genes_NG]
        vocabulary = tuple(
            Block(f"body{n}", lambda arch=arch: self.build(arch, spec)[:-1], (spec.in_channels, *input_size))  # type: ignore[index, misc]
            for n, arch in enumerate(archs)
        )
        return vocabulary, np.arange(len(archs))[:, None]


@pytest.mark.parametrize(
    ("space", "shape", "words"),
    [
        (
            Deaf(),
            CUBE,
            "the gene activation, whose choices ['relu', 'silu', 'tanh', 'gelu'] all build the same",
        ),
        (Solid(), SLICE, "on images [2, 1, 8, 8] in 2D, which raised"),
        (OneOutput(), CUBE, "an output of shape (2, 1)"),
        (OneOutput("segmentation"), SLICE, "expected (2, 2, 8, 8)"),
        (Shrunk("segmentation"), CUBE, "an output of shape (2, 2, 4, 4, 4)"),
        (Unsorted(), CUBE, "because width is ordered=True"),
        (Unseeded(), CUBE, "other weights under one seed"),
        (Forgetful(), CUBE, "without the attribute 'wide'"),
        (Frozen(), CUBE, "in which nothing can be trained"),
        (Wandering(), CUBE, "and repair of that = "),
        (Twice(), CUBE, "genes named width, width"),
        (Partial(), CUBE, "blocks that do not add up"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, SearchSpace) else None,
)
def test_wrong_spaces(space: SearchSpace, shape: tuple[int, ...], words: str) -> None:
    says(check_space, space, shape, words=words)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "task",
    [
        Classification(dims=3),
        pytest.param(Classification(outputs=3, dims=2, score="f1"), marks=SLOW),
        Segmentation(dims=2),
        pytest.param(Segmentation(outputs=3, dims=3, loss="soft_dice"), marks=SLOW),
        Regression(dims=2),
        Radius(dims=3),
    ],
    ids=lambda task: f"{type(task).__name__}-{task.spec.dims}D",
)
def test_right_tasks(task: Task) -> None:
    check_task(task)


def test_a_detector_brings_its_network() -> None:
    task = Detection(outputs=1, dims=2)
    says(check_task, task, words="without a network")
    backbone = {
        "depths": [1],
        "widths": [4],
        "block_counts": [1],
        "kernels": [3],
        "norms": ["group"],
        "ups": ["resize"],
    }
    space = DetectorSpace(settings={**backbone, "spatial_dims": 2}, stems=[1], pyramids=[8], heads=[1])
    check_task(task, space.build(space.repair([0] * len(space.genes)), task.spec))


class Correct(Classification):
    """A task that the wrong ones change in one place."""

    def __init__(self, in_channels: int = 1, outputs: int = 2, dims: int = 3) -> None:
        super().__init__(in_channels, outputs, dims)

    @property
    def settings(self) -> Mapping[str, Any]:
        return {}


class Exploding(Correct):
    def loss(self, output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.nll_loss(output.softmax(dim=1).log(), y)


class PerCase(Correct):
    def loss(self, output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(output, y, reduction="none")


class Detached(Correct):
    def loss(self, output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(output.detach(), y)


class KeepsMode(Correct):
    def predict(self, model: nn.Module, x_BCDHW: torch.Tensor) -> torch.Tensor:
        model.eval()
        return model(x_BCDHW).softmax(dim=1).detach()


class OverBatch(Correct):
    def predict(self, model: nn.Module, x_BCDHW: torch.Tensor) -> torch.Tensor:
        with evaluation_mode(model), torch.inference_mode():
            return model(x_BCDHW).softmax(dim=0)


class Measured(Correct):
    """Scores that are not those that were declared."""

    def score(self, prediction: np.ndarray, target: np.ndarray, spacing_mm: Any = None, *, quick: bool = False) -> Any:
        return Fixed(target)


class Fixed:
    """Scores that do not depend on the rows, and a column of three cases."""

    def __init__(self, target: np.ndarray) -> None:
        self.target = target

    def over(self, rows: np.ndarray | None = None) -> dict[str, float]:
        return {"recall": 0.5}

    def columns(self, classes: Sequence[str]) -> dict[str, np.ndarray]:
        return {"short": self.target[:3]}

    def truth(self, classes: Sequence[str]) -> dict[str, np.ndarray]:
        return {}


class Constant(Measured):
    def __init__(self, in_channels: int = 1, outputs: int = 2, dims: int = 3) -> None:
        super().__init__(in_channels, outputs, dims)
        self.metrics = (Metric("recall", "recall"),)


class Upside(Correct):
    """Declares that a smaller accuracy is better."""

    def __init__(self, in_channels: int = 1, outputs: int = 2, dims: int = 3) -> None:
        super().__init__(in_channels, outputs, dims)
        first = next(metric for metric in self.metrics if metric.name == "accuracy")
        rest = [metric for metric in self.metrics if metric.name != "accuracy"]
        self.metrics = (replace(first, direction="minimize"), *rest)


class WithBaseline(Correct):
    def __init__(self, wrong: str = "cheats", in_channels: int = 1, outputs: int = 2, dims: int = 3) -> None:
        super().__init__(in_channels, outputs, dims)
        self.wrong = wrong

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"wrong": self.wrong}

    def baselines(self) -> tuple[Baseline, ...]:
        def predict(store: Any, rounds: Any, seed: int) -> tuple[np.ndarray, np.ndarray]:
            rows = rounds[0].train if self.wrong == "train" else rounds[0].test
            if self.wrong == "classes":
                return rows, store.labels[rows]
            if self.wrong == "random":
                return rows, np.random.default_rng().dirichlet((1, 1), len(rows))
            return rows, np.eye(2)[store.labels[rows]]

        return (Baseline("own", predict),)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (Exploding(), "a loss of "),
        (PerCase(), "a loss of shape [24]"),
        (Detached(), "a loss without gradients"),
        (KeepsMode(), "a network in evaluation mode after predict()"),
        (OverBatch(dims=2), "other predictions of an image alone than in a batch"),
        (Measured(), "the metrics recall from score(); expected those of task.metrics: accuracy, auc"),
        (Constant(), "the same values for every bootstrap sample"),
        (Upside(), "of correct and 0 of wrong predictions, with minimize"),
        (WithBaseline("cheats"), "the baseline own that depend on the targets of the test part"),
        (WithBaseline("train"), "from the baseline own; expected the tested rows"),
        (WithBaseline("classes"), "predictions of shape (8,) from the baseline own"),
        (WithBaseline("random", dims=2), "other predictions of the baseline own the second time"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Task) else None,
)
def test_wrong_tasks(task: Task, words: str) -> None:
    says(check_task, task, words=words)


def test_networks_of_examples_fit_their_kind() -> None:
    for dims, side in ((2, (8, 8)), (3, (8, 8, 8))):
        x = torch.zeros(2, 1, *side)
        assert tiny_network(TaskSpec("segmentation", dims, outputs=3))(x).shape == (2, 3, *side)
        assert tiny_network(TaskSpec("regression", dims, outputs=1))(x).shape == (2, 1)
