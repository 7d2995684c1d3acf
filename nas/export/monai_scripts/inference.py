"""Class probabilities by a sliding window, averaged over views and networks, and the loop over scans."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from monai.inferers import Inferer, sliding_window_inference

ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
CHANNEL = re.compile(r"(.+)_(\d{4})$")
AT_ONCE = 4  # windows per batch


class FoldsInferer(Inferer):
    """Average the probabilities of the networks of several folds.

    Args:
        folds: Number of networks, whose logits follow each other along the channels of the output.
        window: Sides of the sliding window. If None, each image at once, padded to sides that the networks take.
        overlap: Overlap of neighbouring windows, in [0, 1).
        views: For each view of the image, the axis (0 = D, 1 = H, 2 = W) that each of its axes shows, and those of its
            axes that are mirrored.
        temperatures: Temperature of each network, by which the logits behind its mean over the views are divided. If
            empty, 1.
        multiple_of: Without a window, every side is padded to a multiple of this.
        at_least: Without a window, smallest side.
        fill_smallest: Without a window, whether images are padded with their smallest value instead of 0.
        inputs: Number of images that are stacked along the channels of an input, one for each network, or 1.
    """

    def __init__(
        self,
        folds: int,
        window: Sequence[int] | None = None,
        overlap: float = 0.25,
        views: Sequence[Sequence[Sequence[int]]] = (((0, 1, 2), ()),),
        temperatures: Sequence[float] = (),
        multiple_of: int = 1,
        at_least: int = 1,
        fill_smallest: bool = False,
        inputs: int = 1,
    ) -> None:
        super().__init__()
        self.folds, self.window, self.overlap, self.views = folds, window, overlap, views
        self.temperatures = tuple(temperatures) or (1.0,) * folds
        self.multiple_of, self.at_least = multiple_of, at_least
        self.fill_smallest, self.inputs = fill_smallest, inputs

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return probabilities (B, K, D, H, W) of images (B, C, D, H, W)."""
        x = torch.as_tensor(inputs).as_subclass(torch.Tensor)
        total: Any = 0
        for axes, mirrored in self.views:
            back = [2 + axes.index(axis) for axis in range(len(axes))]
            flipped = [2 + axis for axis in mirrored]
            logits = self._logits(x.permute(0, 1, *(2 + axis for axis in axes)).flip(flipped), network)
            prob = logits.reshape(len(logits), self.folds, -1, *logits.shape[2:]).softmax(dim=2)
            total = total + prob.flip([1 + axis for axis in flipped]).permute(0, 1, 2, *(1 + axis for axis in back))
        least = torch.finfo(torch.float32).tiny
        log_prob = (total / len(self.views)).clamp_min(least).log()
        divisors = log_prob.new_tensor(self.temperatures).reshape(1, -1, *[1] * (log_prob.ndim - 2))
        return (log_prob / divisors).softmax(dim=2).mean(dim=1)

    def _logits(self, x: torch.Tensor, network: Callable[..., Any]) -> torch.Tensor:
        if self.window is not None:
            return sliding_window_inference(x, self.window, AT_ONCE, network, self.overlap, mode="gaussian")  # type: ignore
        step = self.multiple_of
        wanted = [max(self.at_least, -(-side // step) * step) for side in x.shape[2:]]
        missing = [side - own for side, own in zip(wanted, x.shape[2:], strict=True)]
        before = [total // 2 for total in missing]
        pads = [pad for half, total in zip(before, missing, strict=True) for pad in (total - half, half)][::-1]
        parts = x.chunk(self.inputs, dim=1) if self.fill_smallest else [x]
        fills = [float(part.min()) if self.fill_smallest else 0.0 for part in parts]
        padded = [F.pad(part, pads, value=fill) for part, fill in zip(parts, fills, strict=True)]
        logits = network(torch.cat(padded, dim=1))
        inside = tuple(slice(half, half + side) for half, side in zip(before, x.shape[2:], strict=True))
        return logits[(slice(None), slice(None), *inside)]


def find_scans(folder: str, channels: int = 1) -> list[dict[str, Any]]:
    """List the scans of a folder.

    Args:
        folder: Folder of images: one file each, or nnU-Net's `<case>_0000`, `<case>_0001`, ... for the channels.
        channels: Channels of an image.

    Returns:
        {"image": its file, or its files} for each scan, in order of name.
    """
    files = sorted(path for path in Path(folder).iterdir() if path.name.lower().endswith(ENDINGS))
    cases: dict[str, list[str]] = {}
    for path in files:
        match = CHANNEL.match(path.name.partition(".")[0])
        cases.setdefault(match[1] if match and channels > 1 else path.name, []).append(str(path))
    return [{"image": paths[0] if len(paths) == 1 else paths} for paths in cases.values()]


def run(
    scans: Iterable[Mapping[str, Any]],
    preprocessing: Callable[..., Any],
    inferer: FoldsInferer,
    network: torch.nn.Module,
    postprocessing: Callable[..., Any],
    device: torch.device | str = "cpu",
) -> int:
    """Predict every scan and write its label map.

    Args:
        scans: Dictionaries with the files of an image.
        preprocessing: From files to the input of the network, under "image".
        inferer: The inferer.
        network: The network.
        postprocessing: From probabilities under "pred" to a file.
        device: Device of the network.

    Returns:
        Number of scans.
    """
    count = 0
    for scan in scans:
        data = preprocessing(dict(scan))
        with torch.no_grad():
            data["pred"] = inferer(data["image"][None].to(device), network)[0].cpu()
        postprocessing(data)
        count += 1
    return count
