"""Detection: boxes around objects, by an anchor-free network.

A network returns one tensor (B, K + 2 + 3n, P) in fp32 for K classes in n dimensions: for each of P points of its
feature maps, in this order,
- K logits, `centre`: whether an object of the class has its middle here;
- 1 logit, `score`: how well the box fits;
- 2n edges of the box, in voxels (see nas/metrics/boxes.py);
- n coordinates of the point and 1 stride of its feature map, in voxels, which are constants.
So loss and decoding need to know nothing else of the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le, Lt
from torch import nn

from nas.errors import NASError, TrialFailed
from nas.metrics.boxes import overlaps, paired_overlaps, suppressed_by_class, volumes
from nas.metrics.coco import Matched, as_text, coco_metrics, from_text, match
from nas.metrics.metric import Metric, Scores
from nas.task_spec import TaskSpec
from nas.tasks.base import Prediction, Task, TestedCases, evaluation_mode
from nas.tasks.degenerate import never_answered
from nas.utils.annotations import Channels, Dims, PositiveInt, Share
from nas.utils.checked import checked

METRICS = (
    Metric("map50", "mAP@0.5", meaning="mean average precision of boxes that overlap by an IoU of 0.5", chance=0.0),
    Metric("map", "mAP@0.5:0.95", meaning="mean average precision over ten IoU thresholds from 0.5 to 0.95"),
    Metric("recall50", "recall@0.5", meaning="share of the objects that a box finds with an IoU of 0.5"),
)

MATCHES = "matches"  # column of predictions.csv: which boxes meet an object, from which all metrics follow
REACH = 8  # strides: a feature map is for boxes whose longest side is below that, and not below half of it
RADIUS = 1.5  # strides around the middle of a box within which points answer for it (FCOS's centre sampling)
ALPHA, GAMMA = 0.25, 2.0  # of the focal loss
BOX_WEIGHT = 2.0


@dataclass(frozen=True, slots=True)
class Points:
    """The parts of a network's output, with the leading axes of the output.

    Attributes:
        centre: Logits of the classes (..., K, P).
        score: Logits of how well the box fits (..., P).
        boxes: Edges of the boxes in voxels (..., P, 2n).
        place: Coordinates of the points in voxels (P, n).
        stride: Strides of their feature maps in voxels (P,).
    """

    centre: torch.Tensor
    score: torch.Tensor
    boxes: torch.Tensor
    place: torch.Tensor
    stride: torch.Tensor

    @classmethod
    def of(cls, output_BCP: torch.Tensor, spec: TaskSpec) -> Points:
        """Split an output into its parts.

        Args:
            output_BCP: Output of a network (B, K + 2 + 3n, P).
            spec: The task's classes and dimensions.

        Returns:
            The parts, in fp32.
        """
        K, n = spec.outputs, spec.dims
        centre, score, boxes, place, stride = output_BCP.float().split([K, 1, 2 * n, n, 1], dim=1)
        return cls(centre, score[:, 0], boxes.transpose(1, 2), place[0].T, stride[0, 0])


@checked("task")
class Detection(Task):
    """Loss, decoding and COCO metrics of an anchor-free detector (FCOS, Tian et al., arXiv 2006.09214).

    Targets are (B, M, 2n + 1) float32: boxes in voxels and their class, -1 in the rows beyond a sample's boxes.
    Predictions are (B, detections, 2n + 2): boxes, probability, class, by falling probability; probability 0 and class
    -1 in the rows beyond a sample's boxes. The probability is the product of those of centre and score.

    In training, points near the middle of an object answer for it, those of one feature map, chosen by its size. The
    loss is the focal loss on the centre, generalised IoU on the box, and cross entropy of the score with the IoU of
    the box.

    Metrics are COCO's: map50 (mean average precision at IoU 0.5), map (its mean over IoU 0.5, 0.55, ..., 0.95) and
    recall50 (the share of objects found at IoU 0.5 by any of the boxes kept); classes without an object in the target
    do not count.

    Args:
        in_channels: Channels of the images.
        outputs: Classes of objects; there is no background class.
        dims: Spatial dimensions of the images, 2 or 3.
        detections: Boxes kept of an image.
        overlap: IoU above which the less probable of two boxes of a class is removed, 0 to 1.
        least: Probability below which a box is not kept, between 0 and 1.

    Raises:
        NASError: If a setting is out of range.
    """

    metrics = METRICS

    def __init__(
        self,
        in_channels: Channels = 1,
        outputs: PositiveInt = 1,
        dims: Dims = 3,
        detections: Annotated[int, Ge(1), Le(100_000)] = 30,
        overlap: Share = 0.3,
        least: Annotated[float, Gt(0), Lt(1)] = 0.001,
    ) -> None:
        self.spec = TaskSpec("detection", dims, in_channels, outputs)
        self.detections, self.overlap, self.least = detections, overlap, least

    @property
    def inference(self) -> Mapping[str, Any]:
        """The settings that a prediction depends on, by the names of constructor arguments."""
        return {"detections": self.detections, "overlap": self.overlap, "least": self.least}

    def output(self, input_shape: Sequence[int]) -> tuple[str, str, tuple[int | str, ...]]:
        return "boxes", "BN?", ("batch", "boxes", 2 * self.spec.dims + 2)

    def loss(self, output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """output: (B, C, P) of the network. y: (B, M, 2n + 1) boxes and classes."""
        points = Points.of(output, self.spec)
        of_BP, classes_BP = assigned(points.place, points.stride, y)
        hit = of_BP >= 0
        truth_BKP = F.one_hot((classes_BP + 1).long(), self.spec.outputs + 1).movedim(-1, 1)[:, 1:].float()
        positives = hit.sum().clamp(min=1)
        centre = focal_loss(points.centre, truth_BKP).sum() / positives
        wanted_BPX = y[..., :-1].gather(1, of_BP.clamp(min=0)[..., None].expand(-1, -1, points.boxes.shape[-1]))
        overlap_H, generalised_H = paired_overlaps(points.boxes[hit], wanted_BPX[hit])
        box = (1 - generalised_H).sum() / positives
        fit = F.binary_cross_entropy_with_logits(points.score[hit], overlap_H.detach(), reduction="sum") / positives
        return centre + BOX_WEIGHT * box + fit

    def predict(self, model: nn.Module, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """(B, detections, 2n + 2), boxes clipped to the image. The model's mode is restored."""
        with evaluation_mode(model), torch.inference_mode():
            return self.decoded(model(x_BCDHW), x_BCDHW.shape[2:])

    def decoded(self, output_BCP: torch.Tensor, sides: Sequence[int]) -> torch.Tensor:
        """Decode the output of a network.

        Args:
            output_BCP: Output for images (B, K + 2 + 3n, P).
            sides: Sides of the images in voxels.

        Returns:
            Boxes, probability and class (B, detections, 2n + 2).
        """
        points = Points.of(output_BCP, self.spec)
        prob_BKP = points.centre.sigmoid() * points.score.sigmoid()[:, None]
        ends = points.boxes.new_tensor([float(side) for side in sides] * 2)
        boxes_BPX = torch.minimum(points.boxes.clamp(min=0), ends)
        return torch.stack([self._kept(boxes, prob) for boxes, prob in zip(boxes_BPX, prob_BKP, strict=True)])

    def _kept(self, boxes_PX: torch.Tensor, prob_KP: torch.Tensor) -> torch.Tensor:
        prob_N, flat_N = prob_KP.flatten().topk(min(10 * self.detections, prob_KP.numel()))
        # NaN stays: a network that diverged is reported by `score`, not hidden as an empty answer
        likely = ~(prob_N < self.least)
        prob_N, flat_N = prob_N[likely], flat_N[likely]
        classes_N, at_N = flat_N // prob_KP.shape[1], flat_N % prob_KP.shape[1]
        return self._strongest(torch.cat([boxes_PX[at_N], prob_N[:, None], classes_N[:, None]], dim=1))

    def _strongest(self, found_NX: torch.Tensor) -> torch.Tensor:
        """(N, 2n + 2) in any order -> (detections, 2n + 2) without overlapping ones."""
        kept = suppressed_by_class(found_NX[:, :-2], found_NX[:, -2], found_NX[:, -1], self.overlap)
        out = found_NX.new_zeros((self.detections, found_NX.shape[1]))
        out[:, -1] = -1
        kept = kept[: self.detections]
        out[: len(kept)] = found_NX[kept]
        return out

    def pool(self, predictions: Sequence[Prediction]) -> Prediction:
        """Combine the boxes of several networks.

        Among overlapping boxes the most probable one is kept. Its probability becomes the mean over the networks of
        the highest probability that each gave to an overlapping box, 0 for a network without one.

        Args:
            predictions: Of each network, rows of the store (N,) and boxes (N, detections, 2n + 2).

        Returns:
            All rows in rising order, and boxes of the same form.
        """
        rows = np.unique(np.concatenate([rows for rows, _ in predictions]))
        of_row: dict[int, list[torch.Tensor]] = {int(row): [] for row in rows}
        for its_rows, prediction in predictions:
            for row, found in zip(its_rows, prediction, strict=True):
                of_row[int(row)].append(torch.from_numpy(found))
        return rows, np.stack([self._mean(of_row[int(row)]).numpy() for row in rows])

    def _mean(self, networks: Sequence[torch.Tensor]) -> torch.Tensor:
        real = [found_NX[found_NX[:, -1] >= 0] for found_NX in networks]
        merged_NX = self._strongest(torch.cat(real))
        total_N = torch.zeros(len(merged_NX), dtype=merged_NX.dtype)
        for found_MX in real:
            same_NM = overlaps(merged_NX[:, :-2], found_MX[:, :-2]) > self.overlap
            same_NM &= merged_NX[:, None, -1] == found_MX[None, :, -1]
            if len(found_MX):
                total_N += (same_NM * found_MX[:, -2]).amax(dim=1)
        merged_NX[:, -2] = total_N / len(real)
        return merged_NX[merged_NX[:, -2].argsort(descending=True, stable=True)]

    def score(
        self, prediction: np.ndarray, target: np.ndarray, spacing_mm: np.ndarray | None = None, *, quick: bool = False
    ) -> Scores:
        """Measure boxes.

        Args:
            prediction: Boxes, probability and class (N, detections, 2n + 2).
            target: Boxes and class (N, M, 2n + 1).
            spacing_mm: Not used.
            quick: Not used: all metrics come from one matching.

        Returns:
            The scores; over images without an object they are empty.

        Raises:
            NASError: If no sample has a box.
            TrialFailed: If a prediction is not finite.
        """
        if not (target[..., -1] >= 0).any():
            raise NASError("a split without a box", "objects on every side of a split", "use fewer folds or more data")
        if not np.isfinite(prediction).all():
            raise TrialFailed("the network's boxes are not finite")
        return DetectionScores(prediction, target, match(prediction, target))

    def from_columns(self, columns: Mapping[str, np.ndarray], classes: Sequence[str]) -> Scores:
        matched = [from_text(str(text)) for text in columns[MATCHES]]
        return DetectionScores(np.empty((len(matched), 0, 2)), np.empty((len(matched), 0, 1)), matched)

    def degenerate(self, prediction: np.ndarray, target: np.ndarray, classes: Sequence[str]) -> list[str]:
        found = prediction[..., -1]
        if not (found >= 0).any():
            return ["finds no box in any case"]
        alike = super().degenerate(prediction, target, classes)
        present = target[..., -1]
        return alike or never_answered(np.unique(found), np.unique(present[present >= 0]), classes, "finds a box of")

    def sections(self, cases: TestedCases) -> list[str]:
        from nas.html.boxes import BoxExample, boxes_section, mean_overlaps  # here, as plots take long to import
        from nas.html.slices import chosen_cases

        shown = [
            BoxExample(*cases.image(position), cases.target[position], cases.prediction[position])
            for position in chosen_cases(mean_overlaps(cases.prediction, cases.target))
        ]
        return [boxes_section(shown, cases.classes)] if shown else []


@dataclass(frozen=True)
class DetectionScores(Scores):
    """Scores of boxes.

    Attributes:
        prediction: Boxes, probability and class (N, detections, 2n + 2).
        target: Boxes and class (N, M, 2n + 1).
        matched: Of each image, which boxes meet an object.
    """

    prediction: np.ndarray
    target: np.ndarray
    matched: Sequence[Matched]

    def over(self, rows: np.ndarray | None = None) -> Mapping[str, float]:
        return coco_metrics(self.matched if rows is None else [self.matched[row] for row in rows])

    def columns(self, classes: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Return, for each class, the highest probability of a box, 0 without one; and the matches of all boxes."""
        of_class, prob = self.prediction[..., -1], self.prediction[..., -2]
        highest = {label: np.where(of_class == k, prob, 0.0).max(axis=1) for k, label in enumerate(classes)}
        return {**highest, MATCHES: np.array([as_text(image) for image in self.matched])}

    def truth(self, classes: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Return, for each class, the number of objects."""
        return {f"objects: {label}": (self.target[..., -1] == k).sum(axis=1) for k, label in enumerate(classes)}


def assigned(place_Pn: torch.Tensor, stride_P: torch.Tensor, y_BMX: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Assign points to boxes.

    A point answers for a box if its feature map is for boxes of that size (`REACH`) and the point is either the
    nearest to the box's middle, or within `RADIUS` strides of it and inside the box; among several boxes, for the
    smallest.

    Args:
        place_Pn: Coordinates of the points in voxels (P, n).
        stride_P: Strides of their feature maps in voxels (P,).
        y_BMX: Boxes and classes (B, M, 2n + 1).

    Returns:
        The position among M of the box of each point (B, P), -1 for none, and the box's class (B, P), -1 for none.
    """
    low_BMn, high_BMn = y_BMX[..., :-1].chunk(2, dim=-1)
    middle_BMn, sides_BMn = (low_BMn + high_BMn) / 2, high_BMn - low_BMn
    longest_BM1 = sides_BMn.amax(dim=-1, keepdim=True)
    least_P = torch.where(stride_P == stride_P.min(), 0.0, REACH / 2 * stride_P)
    most_P = torch.where(stride_P == stride_P.max(), torch.inf, REACH * stride_P)
    for_size_BMP = (least_P <= longest_BM1) & (longest_BM1 < most_P)
    away_BMPn = place_Pn - middle_BMn[:, :, None]
    steps_BMP = away_BMPn.abs().amax(dim=-1) / stride_P
    inside_BMP = (away_BMPn.abs() < sides_BMn[:, :, None] / 2).all(dim=-1)
    real_BM1 = (y_BMX[..., -1] >= 0)[..., None]
    answers_BMP = real_BM1 & for_size_BMP & ((steps_BMP <= 0.5) | ((steps_BMP <= RADIUS) & inside_BMP))
    size_BMP = torch.where(answers_BMP, volumes(y_BMX[..., :-1])[..., None], torch.inf)
    smallest_BP, of_BP = size_BMP.min(dim=1)
    of_BP = torch.where(smallest_BP < torch.inf, of_BP, -1)
    classes_BP = torch.where(of_BP >= 0, y_BMX[..., -1].gather(1, of_BP.clamp(min=0)), -1.0)
    return of_BP, classes_BP


def focal_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Compute the focal loss of each element (Lin et al., ICCV 2017, arXiv 1708.02002, equation 5).

    Args:
        logits: Logits of any shape.
        truth: 1 or 0, of the same shape.

    Returns:
        -a (1 - p)^g log p where truth is 1, and -(1 - a) p^g log(1 - p) where it is 0.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    prob = logits.sigmoid()
    wrong = torch.where(truth == 1, 1 - prob, prob)
    return torch.where(truth == 1, ALPHA, 1 - ALPHA) * wrong**GAMMA * entropy
