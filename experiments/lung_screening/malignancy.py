"""Stage 3: malignancy of each candidate, by a network that a search found and run_train.py trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from experiments.lung_screening.candidates import Candidate
from experiments.lung_screening.networks import StageNetworks
from experiments.lung_screening.scan import Scan
from nas.data.transforms.preparation import CROPS, stored_crop
from nas.errors import NASError

BATCH = 16
FIX = "search and train on luna16, lidc_dicom or a manifest of CTs, or train a published network on them"


def require_malignancy(network: StageNetworks) -> None:
    """Check that networks classify crops of a CT into two classes.

    Args:
        network: The networks.

    Raises:
        NASError: If their task is another one, or they were not trained on crops of scans.
    """
    if network.kind != "classification" or len(network.classes) != 2:
        raise NASError(
            f"stage3 trained for {network.kind} with the classes {', '.join(network.classes)}",
            "a classification in two classes, benign and malignant",
            FIX,
        )
    if network.preparation().get("how") not in CROPS:
        raise NASError(
            f"stage3 trained on {network.data}, whose samples are not cut out of CTs around points",
            "crops of CTs with a nodule in the middle",
            FIX,
        )


def with_malignancy(
    scan: Scan,
    candidates: Sequence[Candidate],
    network: StageNetworks,
    on_candidates: Callable[[int], object] | None = None,
) -> list[Candidate]:
    """Add the probability of the second class to candidates.

    Each candidate is cut out as the samples of the training were: size, voxel size and HU window are theirs.

    Args:
        scan: The CT.
        candidates: The candidates.
        network: Networks that `require_malignancy` accepts.
        on_candidates: Called after each batch with its number of candidates.

    Returns:
        The candidates with `malignancy`.

    Raises:
        NASError: If a point lies outside of the scan.
    """
    how, rated = network.preparation(), list[Candidate]()
    for first in range(0, len(candidates), BATCH):
        batch = candidates[first : first + BATCH]
        crops = [torch.from_numpy(stored_crop(scan.image, one.point_mm, how, scan.name)) for one in batch]
        prob_N = network.prob(torch.stack(crops))[:, 1]
        rated += [replace(one, malignancy=float(prob)) for one, prob in zip(batch, prob_N, strict=True)]
        if on_candidates is not None:
            on_candidates(len(batch))
    return rated
