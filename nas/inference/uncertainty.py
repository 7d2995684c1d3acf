"""Disagreement of the networks of an ensemble: maps and volumes of a segmentation, spread of probabilities of classes.

Variance and mutual information measure the uncertainty of the model (Lakshminarayanan et al., NeurIPS 2017; Smith and
Gal, UAI 2018), not that of the image. Needs no torch.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas.data.io.files import split_name
from nas.data.io.label_files import write_label_image
from nas.data.transforms.preparation import Prepared, back_on_image, values_on_image
from nas.errors import NASError
from nas.inference.runtime import InferenceNetwork
from nas.utils.files import write_bytes
from nas.utils.optional import medical

VARIANCE, INFORMATION = "variance", "mutual_information"
LEVEL = 0.95  # of the interval of a volume
DIGITS = 4  # decimals of volumes in ml


def require_several(networks: Sequence[InferenceNetwork]) -> None:
    """Check that there is an ensemble.

    Args:
        networks: The networks.

    Raises:
        NASError: If there is one network only.
    """
    if len(networks) < 2:
        raise NASError(
            f"--uncertainty with one network ({networks[0].path})",
            "an ensemble: a training of several folds, or --average-with",
            "give the folder of the training, or leave out --uncertainty",
        )


def variance_map(prob_MKDHW: np.ndarray) -> np.ndarray:
    """Compute the variance of the networks' probabilities in each voxel.

    Args:
        prob_MKDHW: Probabilities (M, K, ...) of M networks.

    Returns:
        (...): half of the sum over classes of the variance over networks (divided by M). For two classes it is the
        variance of the probability of either.
    """
    return prob_MKDHW.var(axis=0).sum(axis=0) / 2


def information_map(prob_MKDHW: np.ndarray) -> np.ndarray:
    """Compute the mutual information of class and network in each voxel, in nats.

    Args:
        prob_MKDHW: Probabilities (M, K, ...) of M networks.

    Returns:
        (...): entropy of the mean minus mean of the entropies, at least 0.
    """
    mean_KDHW = prob_MKDHW.mean(axis=0)
    return np.maximum(_entropy(mean_KDHW, 0) - _entropy(prob_MKDHW, 1).mean(axis=0), 0)


def _entropy(prob: np.ndarray, axis: int) -> np.ndarray:
    return -(prob * np.log(np.maximum(prob, np.finfo(np.float32).tiny))).sum(axis=axis)


@dataclass(frozen=True)
class Volume:
    """Volume of a class in one case.

    Attributes:
        ml: Volume of the label map of the ensemble in ml; in voxels for an array without voxel size.
        expected_ml: Sum of its probabilities of the class.
        low_ml: Lower end of the 95 % interval over networks.
        high_ml: Upper end.
        single_ml: Volume of the label map of each network.
    """

    ml: float
    expected_ml: float
    low_ml: float
    high_ml: float
    single_ml: Sequence[float]


def volume_interval(single_ml: Sequence[float]) -> tuple[float, float]:
    """Compute the interval in which the volume of one further network of the kind lies with 95 % probability.

    Source: prediction interval of a normal distribution, mean +- t(0.975, M - 1) s sqrt(1 + 1 / M).

    Args:
        single_ml: Volumes by M >= 2 networks.

    Returns:
        Lower end, at least 0, and upper end.
    """
    from scipy.stats import t  # here, as scipy.stats takes long to import

    values, count = np.asarray(single_ml, dtype=np.float64), len(single_ml)
    half = float(t.ppf((1 + LEVEL) / 2, count - 1)) * values.std(ddof=1) * np.sqrt(1 + 1 / count)
    return max(0.0, float(values.mean() - half)), float(values.mean() + half)


def volumes_of(prob_MKDHW: np.ndarray, ready: Prepared) -> list[Volume]:
    """Measure the volume of every class but the background, on the grid of the input.

    Args:
        prob_MKDHW: Probabilities (M, K, D, H, W) of each network.
        ready: The prepared input, on whose grid they are.

    Returns:
        One volume for each class from 1 on.
    """
    labels = [_labels(prob_KDHW, ready) for prob_KDHW in (prob_MKDHW.mean(axis=0), *prob_MKDHW)]
    unit_ml, expected_unit = _voxel_ml(ready)
    found = []
    for number in range(1, prob_MKDHW.shape[1]):
        whole, *single = (float((label == number).sum()) * unit_ml for label in labels)
        expected = float(prob_MKDHW[:, number].mean(axis=0).sum()) * expected_unit
        found.append(Volume(whole, expected, *volume_interval(single), single))
    return found


def _labels(prob_KDHW: np.ndarray, ready: Prepared) -> np.ndarray:
    if ready.image is None:
        return prob_KDHW.argmax(axis=0)
    return medical("SimpleITK").GetArrayFromImage(back_on_image(prob_KDHW, ready))


def _voxel_ml(ready: Prepared) -> tuple[float, float]:
    """Volume of a voxel of the image, and of the grid; 1 for an array without voxel size."""
    if ready.image is None or ready.grid is None:
        return 1.0, 1.0
    return tuple(float(np.prod(image.GetSpacing())) / 1000 for image in (ready.image, ready.grid))  # type: ignore[return-value]


def map_paths(output: Path) -> dict[str, Path]:
    """Return the files of the maps beside a label map.

    Args:
        output: The label map, such as case.nii.gz.

    Returns:
        variance and mutual_information -> case_variance.nii.gz, case_mutual_information.nii.gz.
    """
    stem, ending = split_name(output)
    return {kind: output.with_name(f"{stem}_{kind}{ending}") for kind in (VARIANCE, INFORMATION)}


def write_maps(output: Path, prob_MKDHW: np.ndarray, ready: Prepared, like: Path | None = None) -> dict[str, Path]:
    """Write variance and mutual information, float32, on the grid of the input.

    Args:
        output: The label map, beside which they are written.
        prob_MKDHW: Probabilities (M, K, D, H, W) of each network.
        ready: The prepared input.
        like: File of the input. A NIfTI map of a NIfTI image has its affine, bit for bit.

    Returns:
        Their files by kind.
    """
    paths = map_paths(output)
    for kind, values in ((VARIANCE, variance_map(prob_MKDHW)), (INFORMATION, information_map(prob_MKDHW))):
        if ready.image is None:
            content = io.BytesIO()
            np.save(content, values.astype(np.float32), allow_pickle=False)
            write_bytes(paths[kind], content.getvalue())
        else:
            write_label_image(paths[kind], values_on_image(values, ready), like, kind.replace("_", " "))
    return paths


def volume_rows(case: str, classes: Sequence[str], volumes: Sequence[Volume], *, in_ml: bool) -> list[dict[str, Any]]:
    """Return the lines of a case in uncertainty.csv.

    Args:
        case: Name of the case.
        classes: Names of the classes, the background first.
        volumes: Result of `volumes_of`.
        in_ml: Whether voxel sizes are known; else volumes are in voxels.

    Returns:
        One line for each class but the background.
    """
    unit = "ml" if in_ml else "voxels"
    return [
        {
            "input": case,
            "class": name,
            "unit": unit,
            "volume": round(volume.ml, DIGITS),
            "low": round(volume.low_ml, DIGITS),
            "high": round(volume.high_ml, DIGITS),
            "expected": round(volume.expected_ml, DIGITS),
            "smallest": round(min(volume.single_ml), DIGITS),
            "largest": round(max(volume.single_ml), DIGITS),
            "networks": len(volume.single_ml),
        }
        for name, volume in zip(classes[1:], volumes, strict=True)
    ]


def spread_of_classes(prob_MK: np.ndarray, classes: Sequence[str]) -> Mapping[str, float]:
    """Describe how far the networks of a classification differ.

    Args:
        prob_MK: Probabilities (M, K) of M >= 2 networks.
        classes: Names of the classes.

    Returns:
        "sd <class>" (standard deviation over networks, with M - 1) of every class, and mutual_information (nats).
    """
    spread = {f"sd {name}": round(float(sd), 6) for name, sd in zip(classes, prob_MK.std(axis=0, ddof=1), strict=True)}
    return {**spread, INFORMATION: round(float(information_map(prob_MK)), 6)}
