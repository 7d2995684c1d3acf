"""A task of a kind that VoxNAS does not bring along: the radius of a ball as a real number, with its data and space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from nas.architecture import Architecture, Gene
from nas.baselines.base import Baseline, Prediction
from nas.data.sample import Sample
from nas.data.source import Source
from nas.data.splits import Fold
from nas.data.store import VolumeStore
from nas.errors import TrialFailed
from nas.html.page import section
from nas.metrics.ensemble import mean_probability
from nas.metrics.metric import Metric, Scores
from nas.space import SearchSpace
from nas.task_spec import TaskSpec
from nas.tasks.base import Task, TestedCases, evaluation_mode


class Balls(Source):
    """Bright balls of different radius, two of each patient."""

    name = "balls"
    classes = ("radius",)

    def __init__(self, cache_dir: str, cases: int = 24, side: int = 8) -> None:
        self.cache_dir, self.cases, self.side = cache_dir, cases, side

    def samples(self) -> Iterator[Sample]:
        rng = np.random.default_rng(0)
        axis = np.arange(self.side) - (self.side - 1) / 2
        distance_DHW = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
        for number in range(self.cases):
            radius = rng.uniform(1.0, self.side / 2)
            volume = (distance_DHW < radius) + rng.normal(0, 0.05, distance_DHW.shape)
            yield Sample(
                f"ball{number}", volume[None].astype(np.float32), 0, f"p{number // 2}", (1.0,) * 3, value=radius
            )


class BallNets(SearchSpace):
    """One convolution of some width, and the mean over the volume."""

    kind: ClassVar[str] = "regression"

    def __init__(self, widths: Sequence[int] = (2, 4, 8)) -> None:
        self.widths = tuple(widths)
        self.genes = (Gene("width", self.widths, ordered=True),)

    def build(self, arch: Architecture, task: TaskSpec | None = None) -> nn.Module:
        task, (width,) = task or TaskSpec(self.kind, outputs=1), map(int, self.values(arch))
        layers = [nn.Conv3d(task.in_channels, width, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(width, task.outputs))


class Regression(Task):
    """Squared error in training; one real number for each case as prediction."""

    metrics = (Metric("mae", "MAE", "mm", "minimize", digits=2), Metric("r2", "R²"))

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
            raise TrialFailed("the network's numbers are not finite")
        return RegressionScores(prediction.astype(np.float64), target.astype(np.float64))

    def from_columns(self, columns: Mapping[str, np.ndarray], classes: Sequence[str]) -> Scores:
        prediction_N, target_N = columns[classes[0]], columns[f"true {classes[0]}"]
        return RegressionScores(prediction_N.astype(np.float64), target_N.astype(np.float64))

    def baselines(self) -> tuple[Baseline, ...]:
        return (Baseline("mean", mean_of_training),)

    def sections(self, cases: TestedCases) -> list[str]:
        worst = int(np.abs(cases.prediction - cases.target).argmax())
        return [section("Largest error", f"{cases.image(worst)[0]}, beside {', '.join(cases.others)}")]


@dataclass(frozen=True)
class RegressionScores:
    """Absolute error and explained variance."""

    prediction_N: np.ndarray
    target_N: np.ndarray

    def over(self, rows: np.ndarray | None = None) -> Mapping[str, float]:
        every = np.arange(len(self.target_N)) if rows is None else rows
        error_N, target_N = self.prediction_N[every] - self.target_N[every], self.target_N[every]
        spread = ((target_N - target_N.mean()) ** 2).sum()
        return {"mae": float(np.abs(error_N).mean()), "r2": float(1 - (error_N**2).sum() / spread)}

    def columns(self, classes: Sequence[str]) -> Mapping[str, np.ndarray]:
        return {classes[0]: self.prediction_N}

    def truth(self, classes: Sequence[str]) -> Mapping[str, np.ndarray]:
        return {f"true {classes[0]}": self.target_N}


def mean_of_training(store: VolumeStore, rounds: Sequence[Fold], seed: int) -> Prediction:
    known = [np.concatenate([part.train, part.valid]) for part in rounds]
    means = [store.targets(rows).mean() for rows in known]
    return mean_probability(
        [(part.test, np.full(len(part.test), mean)) for part, mean in zip(rounds, means, strict=True)]
    )
