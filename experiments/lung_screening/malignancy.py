"""Stage 3: malignancy of each candidate, by a network that a search found and run_train.py trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from experiments.lung_screening.candidates import Candidate
from experiments.lung_screening.scan import Scan
from experiments.trained import Trained
from nas.errors import NASError

BATCH = 16
FIX = "train the architecture on luna16, lidc_dicom or a manifest of CTs"


def require_malignancy(network: Trained) -> None:
    """Raises NASError for a network that tells no two classes apart, or not of crops of a scan."""
    classes = tuple(network.source.classes)
    if network.task.spec.kind != "classification" or len(classes) != 2:
        raise NASError(
            f"stage3 trained for {network.task.spec.kind} with the classes {', '.join(classes)}",
            "a classification in two classes, benign and malignant",
            FIX,
        )
    if not network.source.cuts:
        raise NASError(
            f"stage3 trained on {network.source.name}, whose samples are not cut out of CTs around points",
            "crops of CTs with a nodule in the middle",
            FIX,
        )


def with_malignancy(
    scan: Scan, candidates: Sequence[Candidate], network: Trained, on_candidates: Callable[[int], object] | None = None
) -> list[Candidate]:
    """The candidates with the probability of the second class. Each is cut out as the training's samples were: size,
    voxel size and HU window are those of its source. Raises NASError for a point outside of the scan."""
    found: list[Candidate] = []
    for first in range(0, len(candidates), BATCH):
        part = candidates[first : first + BATCH]
        cuts = [torch.from_numpy(network.source.cut(scan.image, one.point_mm, scan.name)) for one in part]
        prob_N = network.prob(torch.stack(cuts))[:, 1]
        found += [replace(one, malignancy=float(prob)) for one, prob in zip(part, prob_N, strict=True)]
        if on_candidates is not None:
            on_candidates(len(part))
    return found
