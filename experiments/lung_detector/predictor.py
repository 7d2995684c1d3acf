"""Boxes of CT slices by a trained detector: the interface of the service and of other programs.

A trained detector is a bundle, as run_train.py leaves it for a detection on slices with windows of HU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from nas.bundle import Bundle, bundles_of
from nas.data.transforms.ct_slices import check_windows, fitted, windowed
from nas.errors import NASError
from nas.tasks.detection import Detection

Units = Literal["hu", "grey"]


@dataclass(frozen=True)
class Detections:
    """Boxes of one image.

    Attributes:
        boxes_N4: float32 x0, y0, x1, y1, edges in pixels of the given image (pixel i reaches from i to i + 1).
        scores_N: Probabilities in [0, 1], falling.
        labels: Class of each box.
    """

    boxes_N4: np.ndarray
    scores_N: np.ndarray
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Preprocessing:
    """How a slice becomes an input, see nas/data/transforms/ct_slices.py.

    Attributes:
        windows: Names of windows of HU, one channel each.
        size: Pixels per side.
    """

    windows: tuple[str, ...]
    size: int

    @classmethod
    def of(cls, bundle: Bundle, folder: Path) -> Preprocessing:
        """Read the preprocessing of a detector.

        Args:
            bundle: The trained network.
            folder: Its folder, for messages.

        Returns:
            The preprocessing.

        Raises:
            NASError: If the network is no detector, or was not trained on CT slices with windows.
        """
        how, spec = bundle.spec.preparation, bundle.artifact.task
        if spec.kind != "detection" or spec.dims != 2 or not {"windows", "size"} <= set(how):
            raise NASError(
                f"{folder}, a {spec.kind} in {spec.dims}D that was trained on no CT slices with windows",
                "a detector of CT slices",
                "python run_train.py experiment=lung_detector arch=detector/lung-slices",
            )
        try:
            return cls(check_windows([str(name) for name in how["windows"]]), int(how["size"]))
        except (TypeError, ValueError) as error:
            raise NASError(f"size={how['size']} in {folder}", "pixels per side", "train the detector again") from error


class Predictor:
    """A detector of CT slices.

    Args:
        network: The network.
        task: Its task; boxes below `threshold` are dropped.
        classes: Names of the classes.
        preprocessing: How a slice becomes an input.
        threshold: Minimum probability of a reported box, above 0 and below 1.

    Raises:
        NASError: If the threshold is out of range.
    """

    def __init__(
        self,
        network: nn.Module,
        task: Detection,
        classes: Sequence[str],
        preprocessing: Preprocessing,
        threshold: float = 0.25,
    ) -> None:
        if not 0 < threshold < 1:
            raise NASError(f"threshold={threshold}", "a probability above 0 and below 1", "threshold=0.25")
        self.network, self.classes, self.preprocessing = network.eval(), tuple(classes), preprocessing
        self.threshold = threshold
        spec = task.spec
        self.task = Detection(spec.in_channels, spec.outputs, spec.dims, task.detections, task.overlap, least=threshold)

    @classmethod
    def load(cls, folder: Path, threshold: float = 0.25, allow: Sequence[str] = ()) -> Predictor:
        """Read a trained detector.

        Args:
            folder: Folder of run_train.py, whose network with the best validation score is taken, or of one bundle.
            threshold: Minimum probability of a reported box.
            allow: Further packages whose search spaces may be imported.

        Returns:
            The predictor, on the CPU.

        Raises:
            NASError: If there is no bundle, it is damaged, or it holds no detector of CT slices.
        """
        folder = Path(folder)
        (bundle,) = bundles_of(folder, best=1, trusted=allow)
        preprocessing = Preprocessing.of(bundle, folder)
        if not isinstance(bundle.task, Detection):
            raise NASError(f"a task {type(bundle.task).__name__} in {folder}", "Detection", "use its own predictor")
        return cls(bundle.network(), bundle.task, bundle.spec.classes, preprocessing, threshold)

    def predict(self, images: Sequence[np.ndarray], units: Units = "hu") -> list[Detections]:
        """Detect objects in slices, as one batch.

        Args:
            images: Slices (H, W) of any sides.
            units: "hu" for values in HU; "grey" for values in [0, 1] that are windowed already, which then stand in
                every window of the network.

        Returns:
            The boxes of each slice.

        Raises:
            NASError: If an image is not (H, W), is empty, or has values that are not finite.
        """
        if not images:
            return []
        pairs = [fitted(self._channels(image_HW, units), self.preprocessing.size) for image_HW in images]
        x_BCHW = torch.from_numpy(np.stack([image for image, _ in pairs])).float() / 255
        found_BNX = self.task.predict(self.network, x_BCHW).cpu().numpy()
        return [
            self._of_image(found_NX, factor, image_HW.shape)
            for found_NX, (_, factor), image_HW in zip(found_BNX, pairs, images, strict=True)
        ]

    def _channels(self, image_HW: np.ndarray, units: Units) -> np.ndarray:
        if image_HW.ndim != 2 or not image_HW.size or not np.isfinite(image_HW).all():
            raise NASError(f"an image of shape {image_HW.shape}", "(H, W), finite values", "give one slice at a time")
        if units == "hu":
            return windowed(image_HW, self.preprocessing.windows)
        return np.repeat(np.clip(image_HW, 0, 1)[None], len(self.preprocessing.windows), axis=0)

    def _of_image(self, found_NX: np.ndarray, factor: float, sides: Sequence[int]) -> Detections:
        found_NX = found_NX[found_NX[:, -1] >= 0]
        y0, x0, y1, x1 = (found_NX[:, :4] / factor).T
        boxes_N4 = np.stack([x0, y0, x1, y1], axis=1).clip(0, [sides[1], sides[0]] * 2).astype(np.float32)
        inside = (boxes_N4[:, 2:] > boxes_N4[:, :2]).all(axis=1)  # drops boxes in the black border
        labels = [self.classes[int(number)] for number in found_NX[inside, -1]]
        return Detections(boxes_N4[inside], found_NX[inside, -2].astype(np.float32), tuple(labels))
