"""A trained detector that boxes can be asked of: what the service and other programs import.

A trained detector is a folder with arch.json (the network) and detector.pt (its weights, classes, windows, size).
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from nas.artifact import Artifact, load
from nas.data.transforms.ct_slices import check_windows, fitted, windowed
from nas.errors import NASError
from nas.task_spec import TaskSpec
from nas.tasks.detection import Detection
from nas.utils.files import write_bytes

ARCH, WEIGHTS = "arch.json", "detector.pt"
FORMAT = 1
Units = Literal["hu", "grey"]


@dataclass(frozen=True)
class Detections:
    """Of one image. boxes_N4: float32 x0, y0, x1, y1, edges in pixels of the image that was given (pixel i reaches from
    i to i + 1). scores_N: probabilities in [0, 1], falling. labels: the class of each box."""

    boxes_N4: np.ndarray
    scores_N: np.ndarray
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Preprocessing:
    """What an image goes through before the network: windows of HU as channels (nas/data/transforms/ct_slices.py),
    `size` pixels a side."""

    windows: tuple[str, ...]
    size: int


class Predictor:
    """Boxes of CT slices. classes: names of what it looks for. threshold: probability from which a box is told."""

    def __init__(
        self,
        network: nn.Module,
        spec: TaskSpec,
        classes: Sequence[str],
        preprocessing: Preprocessing,
        threshold: float = 0.25,
    ) -> None:
        if not 0 < threshold < 1:
            raise NASError(f"threshold={threshold}", "a probability above 0 and below 1", "mend the threshold")
        self.network, self.classes, self.preprocessing = network.eval(), tuple(classes), preprocessing
        self.threshold = threshold
        self.task = Detection(spec.in_channels, spec.outputs, spec.dims, least=threshold)

    @classmethod
    def load(cls, folder_or_checkpoint: Path, threshold: float = 0.25) -> Predictor:
        """From a folder that `save` wrote, or its detector.pt. Raises NASError where it is none, is damaged, or holds
        weights of another network. No code is loaded from either file."""
        path = Path(folder_or_checkpoint)
        path = path / WEIGHTS if path.is_dir() else path
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            if state["format"] != FORMAT:
                raise NASError(f"format {state['format']} in {path}", f"format {FORMAT}", "update voxnas")
            artifact = load(path.with_name(ARCH))
            if artifact.arch.id != state["arch_id"]:
                raise NASError(
                    f"weights of {state['arch_id']} beside an {ARCH} of {artifact.arch.id}",
                    "two files of one training",
                    f"train again, or take both files from one folder ({path.parent})",
                )
            network = artifact.build()
            network.load_state_dict(state["weights"])
            how = state["preprocessing"]
            preprocessing = Preprocessing(check_windows(how["windows"]), int(how["size"]))
            classes = [str(name) for name in state["classes"]]
        except (OSError, RuntimeError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
            reason = (str(error).splitlines() or [""])[0][:120]
            raise NASError(
                f"{path}, which is no trained detector ({type(error).__name__}: {reason})",
                f"a folder with {ARCH} and {WEIGHTS}",
                "python -m experiments.lung_detector.train --out FOLDER makes one",
            ) from error
        return cls(network, artifact.task, classes, preprocessing, threshold)

    def predict(self, images: Sequence[np.ndarray], units: Units = "hu") -> list[Detections]:
        """images: (H, W) each, of any sides; of units "hu" in HU, of "grey" in [0, 1], windowed already (every window
        of the network is then shown the same). All are predicted as one batch.

        Raises NASError for an image that is not (H, W) or not finite.
        """
        if not images:
            return []
        pairs = [fitted(self._channels(image_HW, units), self.preprocessing.size) for image_HW in images]
        x_BCHW = torch.from_numpy(np.stack([image for image, _ in pairs])).float() / 255
        found_BNX = self.task.predict(self.network, x_BCHW).numpy()
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
        real = (boxes_N4[:, 2:] > boxes_N4[:, :2]).all(axis=1)  # none that lies in the black border
        labels = [self.classes[int(number)] for number in found_NX[real, -1]]
        return Detections(boxes_N4[real], found_NX[real, -2].astype(np.float32), tuple(labels))


def save(
    folder: Path, artifact: Artifact, network: nn.Module, classes: Sequence[str], preprocessing: Preprocessing
) -> None:
    """Writes the two files that `Predictor.load` reads."""
    artifact.save(folder / ARCH)
    content = io.BytesIO()
    state = {
        "format": FORMAT,
        "arch_id": artifact.arch.id,
        "weights": network.state_dict(),
        "classes": list(classes),
        "preprocessing": {**asdict(preprocessing), "windows": list(preprocessing.windows)},
    }
    torch.save(state, content)
    write_bytes(folder / WEIGHTS, content.getvalue())
