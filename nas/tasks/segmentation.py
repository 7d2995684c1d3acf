"""Segmentation: a class for every voxel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import combinations
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Len
from torch import nn

from nas.errors import NASError, TrialFailed
from nas.metrics.surface import dice, surfaces
from nas.task_spec import TaskSpec
from nas.tasks.base import Resampled, Task
from nas.tasks.soft_dice import shares, soft_dice_loss
from nas.utils.checked import (
    Channels,
    Dims,
    Expected,
    Fraction,
    NonNegativeFloat,
    OneOf,
    PositiveFloat,
    Rule,
    Side,
    checked,
)
from nas.utils.optional import monai_part

WINDOWS = 4  # at once, at least: on a CPU single ones fall into a slow path of 3D convolutions
LENGTHS = ("hd95",)  # smaller is better; in mm where the voxel size is known, else in voxels
LOSSES = ("dice_ce", "soft_dice")


@checked("task")
class Segmentation(Task):
    """Dice and cross entropy (MONAI's DiceCELoss) in training; probabilities by a sliding window at inference.

    loss: "dice_ce", or "soft_dice" (nas/tasks/soft_dice.py) without cross entropy. scale_weights: of the outputs of a
    network with deep supervision, finest first; None: each counts half of the one before, all together 1.
    outputs: classes, 0 the background. window: sides of the sliding window in voxels, one number or one a side; None:
    each image at once. overlap: of neighbouring windows, a fraction. flips: axes (0 = D, 1 = H, 2 = W; in 2D H, W)
    along which images are also predicted mirrored, in every combination; the probabilities are averaged. tolerance:
    of the surface Dice, in mm.
    Metrics, over the classes other than the background: dice, surface_dice (the share of both surfaces that lies
    within the tolerance of the other, arXiv 2111.05408), hd95 (95th percentile of the distances between the surfaces,
    the larger of the two directions); each also for every class as dice_1, dice_2, ...
    Empty regions: a case in which a class is neither there nor predicted does not count for that class. Where it is
    only there or only predicted, dice and surface_dice are 0 and hd95 is the diagonal of the image. A class's metric
    is the mean over the cases that count, and the metric without a number the mean over classes.
    Needs MONAI, which the extra `medical` installs. Raises NASError without it, and for a setting out of range.
    """

    score = "dice"

    def __init__(
        self,
        in_channels: Channels = 1,
        outputs: Annotated[int, Ge(2), Expected("the background and at least one class")] = 2,
        dims: Dims = 3,
        window: Side | Sequence[Side] | None = None,
        overlap: Fraction = 0.25,
        tolerance: NonNegativeFloat = 1.0,
        flips: Annotated[Sequence[int], Rule(lambda axes: set(axes) <= {0, 1, 2}, "axes out of 0, 1, 2")] = (),
        loss: Annotated[str, OneOf(*LOSSES)] = "dice_ce",
        scale_weights: Annotated[Sequence[PositiveFloat], Len(1)] | None = None,
    ) -> None:
        self.spec = TaskSpec("segmentation", dims, in_channels, outputs)
        self.window = (window,) * dims if isinstance(window, int) else None if window is None else tuple(window)
        self.overlap, self.tolerance, self.flips = overlap, tolerance, tuple(flips)
        self.scale_weights = None if scale_weights is None else tuple(scale_weights)
        if self.window is not None and len(self.window) != dims:
            raise NASError(
                f"task.window={list(self.window)}", f"one side or {dims}, or null", "set task.window to null"
            )
        if max(self.flips, default=0) >= dims:
            axes = ", ".join(map(str, range(dims)))
            raise NASError(f"task.flips={list(self.flips)}", f"axes out of {axes}", "set task.flips to []")
        losses = monai_part("losses")
        self._of_classes = None if loss == "soft_dice" else losses.DiceCELoss(to_onehot_y=True, softmax=True)
        self._of_shares = soft_dice_loss if loss == "soft_dice" else losses.DiceCELoss(softmax=True)

    @property
    def any_size(self) -> bool:
        return self.window is not None

    @property
    def inference(self) -> Mapping[str, Any]:
        window = None if self.window is None else list(self.window)
        return {"window": window, "overlap": self.overlap, "flips": list(self.flips)}

    def loss(self, output: torch.Tensor | Sequence[torch.Tensor], y: torch.Tensor) -> torch.Tensor:
        """output: logits (B, K, D, H, W), or several, finest first, of a network with deep supervision: by default each
        counts half of the one before, all together 1 (nnU-Net, Isensee et al., Nature Methods 18, 2021). The target of
        a coarser output is the share of each class among the voxels that one of its own holds.
        y: classes (B, D, H, W). Raises NASError for more outputs than scale_weights."""
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
                "a weight an output",
                "add weights, or task.scale_weights=null",
            )
        parts = [weight * self._loss(logits, y) for weight, logits in zip(weights, output, strict=True)]
        return reduce(torch.add, parts)

    def _loss(self, logits_BKDHW: torch.Tensor, y_BDHW: torch.Tensor) -> torch.Tensor:
        sides = logits_BKDHW.shape[2:]
        if self._of_classes is not None and sides == y_BDHW.shape[1:]:
            return self._of_classes(logits_BKDHW.float(), y_BDHW[:, None])
        return self._of_shares(logits_BKDHW.float(), shares(y_BDHW, self.spec.outputs, sides))

    def predict(self, model: nn.Module, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Class probabilities (B, K, D, H, W) in fp32. The model's mode is left as it was.

        Where windows overlap, logits are averaged with Gaussian weights, largest in the middle of a window.
        """
        training = model.training
        model.eval()
        views = [axes for count in range(len(self.flips) + 1) for axes in combinations(self.flips, count)]
        try:
            with torch.inference_mode():
                pairs = (views[first : first + 2] for first in range(0, len(views), 2))
                return reduce(torch.add, (self._summed(model, x_BCDHW, pair) for pair in pairs)) / len(views)
        finally:
            model.train(training)

    def _summed(self, model: nn.Module, x_BCDHW: torch.Tensor, views: Sequence[tuple[int, ...]]) -> torch.Tensor:
        """Probabilities as seen with the axes of each view turned round, turned back; summed over the views.

        Views are seen in one batch: of one volume alone PyTorch computes fp32 convolutions slowly on a CPU.
        """
        turned = [[2 + axis for axis in view] for view in views]
        x_NCDHW = torch.cat([x_BCDHW.flip(axes) if axes else x_BCDHW for axes in turned])
        if self.window is None:
            logits_NKDHW = model(x_NCDHW)
        else:
            logits_NKDHW = monai_part("inferers").sliding_window_inference(
                x_NCDHW, self.window, max(WINDOWS, len(x_NCDHW)), model, overlap=self.overlap, mode="gaussian"
            )
        parts = zip(logits_NKDHW.float().softmax(dim=1).chunk(len(views)), turned, strict=True)
        return reduce(torch.add, (prob_BKDHW.flip(axes) if axes else prob_BKDHW for prob_BKDHW, axes in parts))

    def metrics(
        self, prediction: np.ndarray, target: np.ndarray, spacing_mm: np.ndarray | None = None
    ) -> Mapping[str, float]:
        """prediction (N, K, D, H, W) probabilities, target (N, D, H, W) classes. Raises NASError where a class is
        missing from the target, TrialFailed for probabilities that are not finite."""
        guess, target = self._checked(prediction, target)
        return _mean_over_cases(self.of_cases(guess, target, spacing_mm), np.arange(len(target)))

    def validate(self, prediction: np.ndarray, target: np.ndarray) -> Mapping[str, float]:
        """dice, and dice of each class: distances between surfaces would take longer than an epoch of a small net."""
        guess, target = self._checked(prediction, target)
        return _mean_over_cases({"dice": dice(guess, target, self.spec.outputs)}, np.arange(len(target)))

    def resampled(self, prediction: np.ndarray, target: np.ndarray, spacing_mm: np.ndarray | None = None) -> Resampled:
        """Each case is measured once. A class that no drawn case has is NaN."""
        cases = self.of_cases(*self._checked(prediction, target), spacing_mm)
        return lambda rows: _mean_over_cases(cases, rows) if len(rows) else {}

    def of_cases(
        self, guess: np.ndarray, target: np.ndarray, spacing_mm: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Metric -> (N, K - 1) values of each case and class, NaN where the case does not count for the class.

        guess, target: (N, D, H, W) classes.
        """
        if spacing_mm is None:
            spacing_mm = np.ones((len(target), target.ndim - 1))
        hd95, surface = surfaces(guess, target, self.spec.outputs, spacing_mm, self.tolerance)
        return {"dice": dice(guess, target, self.spec.outputs), "hd95": hd95, "surface_dice": surface}

    def _checked(self, prediction: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not np.isfinite(prediction).all():
            raise TrialFailed("the network's probabilities are not finite")
        missing = set(range(1, self.spec.outputs)) - set(np.unique(target).tolist())
        if missing:
            raise NASError(
                f"a split whose masks lack class {min(missing)}",
                "every class on every side of a split",
                "use fewer folds or more data",
            )
        return prediction.argmax(axis=1), target


def _mean_over_cases(cases: Mapping[str, np.ndarray], rows: np.ndarray) -> dict[str, float]:
    """Metric -> (N, K - 1) values of cases -> the mean over the cases `rows` that count; a class without one is NaN."""
    found: dict[str, float] = {}
    each: dict[str, float] = {}
    for name, values_NK in cases.items():
        drawn_NK = values_NK[rows]
        counts_K = np.isfinite(drawn_NK).sum(axis=0)
        sums_K = np.nansum(drawn_NK, axis=0)
        mean_K = np.divide(sums_K, counts_K, out=np.full(len(sums_K), np.nan), where=counts_K > 0)
        found[name] = float(mean_K.mean())
        each |= {f"{name}_{number}": float(value) for number, value in enumerate(mean_K, start=1)}
    return found | each
