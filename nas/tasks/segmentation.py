"""Segmentation: a class for every voxel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Le, Len
from torch import nn

from nas.baselines.base import Baseline
from nas.errors import NASError, TrialFailed
from nas.metrics.metric import MM, Metric, Scores
from nas.metrics.surface import dice, surfaces
from nas.task_spec import TaskSpec
from nas.tasks.base import Task, TestedCases, evaluation_mode
from nas.tasks.degenerate import NEAR_ZERO, never_answered, same_for_every_case
from nas.tasks.dice_cross_entropy import DiceCrossEntropy
from nas.tasks.folded_norm import with_folded_norms
from nas.tasks.precision import PRECISIONS, uses_bf16
from nas.tasks.segmentation_scores import SegmentationScores
from nas.tasks.soft_dice import shares, soft_dice_loss
from nas.tasks.temperature import ON_VALIDATION, Temperature, at_temperature, fitted, scaled
from nas.tasks.views import averaged_over_views, require_turnable, require_views
from nas.tasks.windows import window_logits
from nas.utils.annotations import (
    MOST,
    Channels,
    Dims,
    Expected,
    Flips,
    Fraction,
    Millimetres,
    OneOf,
    Planes,
    PositiveFloat,
    Side,
)
from nas.utils.checked import checked

if TYPE_CHECKING:
    from nas.data.store import VolumeStore

LOSSES = ("dice_ce", "soft_dice")
DEFAULT = "fp32"  # precision of predictions
METRICS = (
    Metric("dice", "Dice", meaning="overlap of prediction and target", chance=0.0),
    # not quick: distances between surfaces take longer than an epoch of a small network
    Metric(
        "hd95",
        "HD95",
        MM,
        "minimize",
        quick=False,
        length=True,
        meaning="95th percentile of the distances between the surfaces",
    ),
    Metric("surface_dice", "surface Dice", quick=False, meaning="share of both surfaces within the tolerance"),
)


@checked("task")
class Segmentation(Task):
    """Dice and cross entropy (MONAI's DiceCELoss) in training; probabilities by a sliding window at inference.

    Metrics, over the classes other than the background: dice, surface_dice (the share of both surfaces that lies
    within the tolerance of the other, arXiv 2111.05408), hd95 (95th percentile of the distances between the surfaces,
    the larger of the two directions); each also for every class as dice_1, dice_2, ...

    Empty regions: a case in which a class is neither present nor predicted does not count for that class. If it is only
    present or only predicted, dice and surface_dice are 0 and hd95 is the diagonal of the image without its padding. A
    class's metric is the mean over the cases that count, and the metric without a number the mean over classes. Needs
    MONAI, which the extra `medical` installs.

    Args:
        in_channels: Channels of the images.
        outputs: Number of classes, 0 being the background.
        dims: Spatial dimensions of the images, 2 or 3.
        window: Sides of the sliding window in voxels, one number or one for each side. If None, each image at once.
        overlap: Overlap of neighbouring windows, a fraction in [0, 1).
        tolerance: Tolerance of the surface Dice in mm.
        flips: Axes (0 = D, 1 = H, 2 = W; in 2D H, W) along which images are also predicted mirrored, in every
            combination; the probabilities are averaged. A training refuses axes that `training.augment.flip` lacks.
        loss: "dice_ce", or "soft_dice" (nas/tasks/soft_dice.py) without cross entropy.
        scale_weights: Weights of the outputs of a network with deep supervision, finest first. If None, each counts
            half of the one before, all together 1.
        include_background: Whether the Dice of the background counts in the loss "dice_ce"; "soft_dice" never has it.
        batch_dice: Whether the loss "dice_ce" computes Dice over all voxels of a batch, instead of each image by
            itself.
        class_weights: Weight of each class in the loss "dice_ce", the background first, above 0; only their ratios
            count. Two weights are those of the background and of every other class. If None, all classes count
            equally. Metrics do not depend on them.
        precision: Precision of the network in predictions: "fp32", with which exported networks agree; "bf16", about
            three times faster (probabilities and their means are fp32); or "auto": bf16 if the device supports it
            natively. Trainings have a setting of their own.
        temperature: Temperature by which the logits behind predictions are divided (Guo et al., ICML 2017), 0.05 to 20.
            "validation" fits it on the voxels around the foreground of the validation part of each trained network. If
            None, predictions are not scaled.
        rotations: Planes ("DH", "DW", "HW"; in 2D "HW") in which images are also predicted turned by 90, 180 and 270
            degrees. Its voxels must be squares. A training refuses planes that `training.augment.turns` lacks, unless
            `training.augment.rotate` is 90 or more.

    Without the background's Dice, with Dice over the batch and a small weight of the background, small classes emerge
    in short trainings that otherwise leave them out (docs/benchmark.md).

    Raises:
        NASError: If MONAI is missing or a setting is out of range.
    """

    def __init__(
        self,
        in_channels: Channels = 1,
        outputs: Annotated[int, Ge(2), Le(MOST), Expected("the background and at least one class")] = 2,
        dims: Dims = 3,
        window: Side | Sequence[Side] | None = None,
        overlap: Fraction = 0.25,
        tolerance: Millimetres = 1.0,
        flips: Flips = (),
        loss: Annotated[str, OneOf(*LOSSES)] = "dice_ce",
        scale_weights: Annotated[Sequence[PositiveFloat], Len(1)] | None = None,
        include_background: bool = True,
        batch_dice: bool = False,
        class_weights: Annotated[Sequence[PositiveFloat], Len(2)] | None = None,
        precision: Annotated[str, OneOf(*PRECISIONS)] = DEFAULT,
        rotations: Planes = (),
        temperature: Temperature = ON_VALIDATION,
    ) -> None:
        self.spec = TaskSpec("segmentation", dims, in_channels, outputs)
        each = (_of_class(metric, number) for metric in METRICS for number in range(1, outputs))
        self.metrics = (*METRICS, *each)
        self.window = (window,) * dims if isinstance(window, int) else None if window is None else tuple(window)
        self.overlap, self.tolerance = overlap, tolerance
        self.flips, self.rotations = tuple(flips), tuple(rotations)
        self.scale_weights = None if scale_weights is None else tuple(scale_weights)
        if self.window is not None and len(self.window) != dims:
            raise NASError(
                f"task.window={list(self.window)}", f"one side or {dims}, or null", "set task.window to null"
            )
        require_views(dims, self.flips, self.rotations)
        self._loss_name, self.precision, self.temperature = loss, precision, temperature
        weights = None if class_weights is None else tuple(class_weights)
        if weights is not None and len(weights) == 2:
            weights = (weights[0], *(weights[1] for _ in range(outputs - 1)))
        self.include_background, self.batch_dice, self.class_weights = include_background, batch_dice, weights
        if weights is not None and len(weights) != outputs:
            raise NASError(
                f"task.class_weights={list(weights)} for {outputs} classes",
                "one weight for each class, the background first, or two",
                "set task.class_weights to a list of that length, or to null",
            )
        if loss == "soft_dice" and (changed := next(iter(self._loss_options), None)):
            raise NASError(
                f"task.{changed}={self._loss_options[changed]} with task.loss=soft_dice",
                "task.loss=dice_ce",
                f"set task.loss to dice_ce, or leave out task.{changed}",
            )
        self._combined = None if loss == "soft_dice" else DiceCrossEntropy(include_background, batch_dice, weights)

    @property
    def settings(self) -> Mapping[str, Any]:
        return {
            "window": self.window,
            "overlap": self.overlap,
            "tolerance": self.tolerance,
            "flips": self.flips,
            "loss": self._loss_name,
            "scale_weights": self.scale_weights,
            **self._loss_options,
            **self._later,
            **({} if self.temperature == ON_VALIDATION else {"temperature": self.temperature}),
        }

    @property
    def _loss_options(self) -> dict[str, Any]:
        """The options of the loss that differ from their defaults, which earlier versions did not have."""
        options = {"include_background": True, "batch_dice": False, "class_weights": None}
        return {name: getattr(self, name) for name, default in options.items() if getattr(self, name) != default}

    @property
    def _later(self) -> dict[str, Any]:
        """Precision and rotations unless they are the defaults, which earlier versions did not record."""
        precision = {} if self.precision == DEFAULT else {"precision": self.precision}
        return precision | ({"rotations": list(self.rotations)} if self.rotations else {})

    @property
    def any_size(self) -> bool:
        return self.window is not None

    @property
    def inference(self) -> Mapping[str, Any]:
        window = None if self.window is None else list(self.window)
        own = {"window": window, "overlap": self.overlap, "flips": list(self.flips), **self._later}
        return own if isinstance(self.temperature, str | None) else {**own, "temperature": self.temperature}

    def chosen_on(self, predict: Callable[[], np.ndarray], target: np.ndarray) -> Segmentation:
        return at_temperature(self, fitted(self.temperature, predict, target))

    def output(self, input_shape: Sequence[int]) -> tuple[str, str, tuple[int | str, ...]]:
        axes = "BK" + "DHW"[-self.spec.dims :]
        return "probabilities", axes, ("batch", self.spec.outputs, *input_shape[1:])

    def loss(self, output: torch.Tensor | Sequence[torch.Tensor], y: torch.Tensor) -> torch.Tensor:
        """Compute the loss of a batch.

        Args:
            output: Logits (B, K, D, H, W), or several, finest first, of a network with deep supervision. By default
                each counts half of the one before, all together 1 (nnU-Net, Isensee et al., Nature Methods 18, 2021).
                The target of a coarser output is the share of each class among the voxels that each of its voxels
                covers.
            y: Classes (B, D, H, W).

        Returns:
            A scalar.

        Raises:
            NASError: If the network has more outputs than `scale_weights` has values.
        """
        if isinstance(output, torch.Tensor):
            return self._loss(output, y)
        if self.scale_weights is None:
            halves = [0.5**number for number in range(len(output))]
            weights = [half / sum(halves) for half in halves]
        elif len(output) <= len(self.scale_weights):
            weights = list(self.scale_weights[: len(output)])
        else:
            raise NASError(
                f"task.scale_weights={list(self.scale_weights)} for a network of {len(output)} outputs",
                "one weight per output",
                "add weights, or task.scale_weights=null",
            )
        parts = [weight * self._loss(logits, y) for weight, logits in zip(weights, output, strict=True)]
        return reduce(torch.add, parts)

    def _loss(self, logits_BKDHW: torch.Tensor, y_BDHW: torch.Tensor) -> torch.Tensor:
        if self._combined is not None:
            return self._combined(logits_BKDHW.float(), y_BDHW)
        return soft_dice_loss(logits_BKDHW.float(), shares(y_BDHW, self.spec.outputs, logits_BKDHW.shape[2:]))

    def predict(self, model: nn.Module, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Class probabilities (B, K, D, H, W) in fp32. The model's mode is restored.

        Where windows overlap, logits are averaged with Gaussian weights, largest in the middle of a window.
        """
        bf16 = uses_bf16(self.precision, x_BCDHW.device)
        autocast = torch.autocast(x_BCDHW.device.type, dtype=torch.bfloat16, enabled=bf16)
        with evaluation_mode(model), torch.inference_mode(), autocast:
            network = model if self.window is None else with_folded_norms(model)

            def probabilities(x_NCDHW: torch.Tensor) -> torch.Tensor:
                logits_NKDHW = window_logits(network, x_NCDHW, self.window or x_NCDHW.shape[2:], self.overlap)
                return logits_NKDHW.softmax(dim=1)

            mean_BKDHW = averaged_over_views(probabilities, x_BCDHW, self.flips, self.rotations)
            return scaled(mean_BKDHW.float(), self.temperature)

    def require_data(self, store: VolumeStore) -> None:
        super().require_data(store)
        require_turnable(store, self.rotations, self.any_size)

    def score(
        self, prediction: np.ndarray, target: np.ndarray, spacing_mm: np.ndarray | None = None, *, quick: bool = False
    ) -> Scores:
        """Measure class probabilities of voxels.

        Args:
            prediction: Class probabilities (N, K, D, H, W).
            target: Classes (N, D, H, W).
            spacing_mm: Voxel sizes (N, 3), in 2D (N, 2). If None, lengths are in voxels.
            quick: Measure Dice only: distances between surfaces take longer than an epoch of a small network.

        Returns:
            The scores; a class that does not count in any of the cases is NaN.

        Raises:
            NASError: If a class is missing from the target.
            TrialFailed: If a probability is not finite.
        """
        return self._score(prediction, target, spacing_mm, quick=quick)

    def _score(
        self,
        prediction: np.ndarray,
        target: np.ndarray,
        spacing_mm: np.ndarray | None,
        *,
        quick: bool = False,
        extent: np.ndarray | None = None,
    ) -> Scores:
        if not np.isfinite(prediction).all():
            raise TrialFailed("the network's probabilities are not finite")
        missing = set(range(1, self.spec.outputs)) - set(np.unique(target).tolist())
        if missing:
            raise NASError(
                f"a split whose masks lack class {min(missing)}",
                "every class on every side of a split",
                "use fewer folds or more data",
            )
        guess = prediction.argmax(axis=1)
        if quick:
            return SegmentationScores({"dice": dice(guess, target, self.spec.outputs)})
        return SegmentationScores(self._values(guess, target, spacing_mm, extent))

    def score_padded(
        self, prediction: np.ndarray, target: np.ndarray, spacing_mm: np.ndarray | None, extent: np.ndarray
    ) -> Scores:
        if type(self).score is not Segmentation.score:  # the metrics of a subclass
            return self.score(prediction, target, spacing_mm)
        return self._score(prediction, target, spacing_mm, extent=extent)

    def _values(
        self, guess: np.ndarray, target: np.ndarray, spacing_mm: np.ndarray | None, extent: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Measure label maps (N, D, H, W): metric -> values (N, K - 1)."""
        spacing = np.ones((len(target), target.ndim - 1)) if spacing_mm is None else spacing_mm
        hd95, surface = surfaces(guess, target, self.spec.outputs, spacing, self.tolerance, extent)
        return {"dice": dice(guess, target, self.spec.outputs), "hd95": hd95, "surface_dice": surface}

    def score_cases(self, cases: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray | None]]) -> Scores:
        values: dict[str, list[np.ndarray]] = {metric.name: [] for metric in METRICS}
        for guess, target, spacing_mm in cases:
            spacing = None if spacing_mm is None else spacing_mm[None]
            for name, value in self._values(guess[None], target[None], spacing).items():
                values[name].append(value)
        return SegmentationScores({name: np.concatenate(parts) for name, parts in values.items()})

    def from_columns(self, columns: Mapping[str, np.ndarray], classes: Sequence[str]) -> Scores:
        def values(metric: str) -> np.ndarray:
            texts_KN = [columns[f"{metric}, {name}"] for name in classes[1:]]
            return np.array([[float(text or "nan") for text in texts_N] for texts_N in texts_KN]).T

        return SegmentationScores({metric.name: values(metric.name) for metric in METRICS})

    def degenerate(self, prediction: np.ndarray, target: np.ndarray, classes: Sequence[str]) -> list[str]:
        guess = prediction.argmax(axis=1)
        if same_for_every_case(guess) and guess.any():
            return super().degenerate(guess, target, classes)
        return never_answered(np.unique(guess), np.unique(target), classes, "marks a voxel as")

    def collapsed(self, prediction: np.ndarray, metrics: Mapping[str, float]) -> str:
        lost = [number for number in range(1, self.spec.outputs) if metrics.get(f"dice_{number}", 1.0) < NEAR_ZERO]
        if lost:
            return f"Dice of class {lost[0]} near 0"
        return super().collapsed(prediction, metrics)

    def baselines(self) -> tuple[Baseline, ...]:
        from nas.baselines.simple import INTENSITY  # here, as the models take long to import

        return (INTENSITY,)

    def sections(self, cases: TestedCases) -> list[str]:
        from nas.html.slices import Example, chosen_cases, slices_section  # here, as plots take long to import

        guess = cases.prediction.argmax(axis=1)
        dice_N = np.ma.masked_invalid(dice(guess, cases.target, self.spec.outputs)).mean(axis=1).filled(np.nan)
        shown = [
            Example(*cases.image(position), cases.target[position], guess[position], float(dice_N[position]))
            for position in chosen_cases(dice_N)
        ]
        return [slices_section(shown, cases.classes)] if shown else []


def _of_class(metric: Metric, number: int) -> Metric:
    meaning = f"{metric.meaning} of class {number}"
    name, label = f"{metric.name}_{number}", f"{metric.label} {number}"
    return replace(metric, name=name, label=label, in_tables=False, meaning=meaning)
