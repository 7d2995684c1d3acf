"""Screening of one CT: lungs, candidates, malignancy, with time and memory."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le

from experiments.lung_screening.blobs import blob_candidates
from experiments.lung_screening.candidates import RADIUS_MM, Candidate, of_map
from experiments.lung_screening.lung_network import network_lung_mask
from experiments.lung_screening.lungs import lung_mask, volume_ml
from experiments.lung_screening.malignancy import with_malignancy
from experiments.lung_screening.networks import StageNetworks
from experiments.lung_screening.patches import BATCH, STRIDE_MM, nodule_map
from experiments.lung_screening.scan import Scan
from experiments.progress import ProgressLine
from nas.cost.profile import profile
from nas.utils.annotations import Millimetres, PositiveInt, Share
from nas.utils.checked import checked

CLASSICAL = "classical"


@checked("")
@dataclass(frozen=True)
class Settings:
    """Settings of the screening.

    Attributes:
        least: Minimum score of a reported candidate.
        most: Maximum number of reported candidates.
        radius_mm: Radius of the non-maximum suppression.
        stride_mm: Distance of neighbouring patches.
        batch: Patches per batch.
    """

    least: Share = 0.5
    most: PositiveInt = 20
    radius_mm: Millimetres = RADIUS_MM
    stride_mm: Annotated[float, Ge(0.05), Le(1000)] = STRIDE_MM
    batch: PositiveInt = BATCH


@dataclass(frozen=True)
class Stages:
    """The networks of the stages.

    Args:
        lungs: Segmentation of the lungs; if None, the classical method.
        nodules: Classification of candidates; if None, the classical method.
        malignancy: Classification of nodules; if None, malignancy is left out.
    """

    lungs: StageNetworks | None = None
    nodules: StageNetworks | None = None
    malignancy: StageNetworks | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """Methods and networks of the stages, for a report."""
        first, second = (CLASSICAL if one is None else one.facts for one in (self.lungs, self.nodules))
        return {"lungs": first, "nodules": second, "malignancy": self.malignancy and self.malignancy.facts}


@dataclass
class Screening:
    """The result of a screening.

    Attributes:
        scan: The CT.
        lungs_DHW: (D, H, W) bool, on the voxels of `scan.hu_DHW`.
        candidates: The candidates, best first.
        stages: The networks.
        settings: The settings.
        patches: Patches that the second stage classified.
        macs: MACs of the second stage.
        seconds: Time of each stage.
        peak_memory_mb: Peak memory of the process so far.
    """

    scan: Scan
    lungs_DHW: np.ndarray
    candidates: Sequence[Candidate]
    stages: Stages
    settings: Settings
    patches: int = 0
    macs: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_mb: float = 0.0

    @property
    def lungs_ml(self) -> float:
        """Volume of the lungs in ml."""
        return volume_ml(self.lungs_DHW, self.scan.spacing_mm)

    @property
    def voxels_N3(self) -> np.ndarray:
        """Voxel indices (d, h, w) of the candidates, rounded."""
        points = np.array([one.point_mm for one in self.candidates]).reshape(-1, 3)
        return np.rint(self.scan.index(points)).astype(int).clip(0, np.array(self.lungs_DHW.shape) - 1)


def screen(scan: Scan, stages: Stages, settings: Settings, silent: bool = False) -> Screening:
    """Screen a CT.

    Args:
        scan: The CT.
        stages: The networks.
        settings: The settings.
        silent: Show no progress bars.

    Returns:
        The result.

    Raises:
        NASError: If no lungs are found, or a network was trained on other data.
    """
    seconds: dict[str, float] = {}
    slices = len(scan.hu_DHW)
    with _stage("lungs", slices, seconds, silent) as step:
        if stages.lungs is None:
            lungs_DHW = lung_mask(scan.hu_DHW, scan.spacing_mm, scan.name)
            step(slices)
        else:
            lungs_DHW = network_lung_mask(scan, stages.lungs, on_slices=step)
    patches = macs = 0
    with _stage("nodules", slices, seconds, silent) as step:
        if stages.nodules is None:
            candidates = [one for one in blob_candidates(scan, lungs_DHW, settings.most) if one.score >= settings.least]
            step(slices)
        else:
            found = nodule_map(scan, lungs_DHW, stages.nodules, settings.stride_mm, settings.batch, step)
            candidates = of_map(scan, found, settings.least, settings.most, settings.radius_mm)
            patches, macs = len(found), len(found) * _macs(stages.nodules)
    if stages.malignancy is not None:
        with _stage("malignancy", len(candidates), seconds, silent) as step:
            candidates = with_malignancy(scan, candidates, stages.malignancy, step)
    return Screening(scan, lungs_DHW, candidates, stages, settings, patches, macs, seconds, _peak_memory_mb())


@contextmanager
def _stage(name: str, total: int, seconds: dict[str, float], silent: bool) -> Iterator[Callable[[int], object]]:
    started = time.perf_counter()
    with ProgressLine(name, total, silent=silent) as bar:
        yield bar.update
    seconds[name] = round(time.perf_counter() - started, 2)


def _macs(network: StageNetworks) -> int:
    """MACs of one patch, summed over the networks of the stage."""
    shape = network.bundles[0].spec.inputs[0].shape[1:]
    return len(network.models) * profile(network.models[0], (1, *map(int, shape))).macs


def _peak_memory_mb() -> float:
    """Peak memory of the process; 0 on Windows, which does not report it."""
    try:
        import resource
    except ModuleNotFoundError:
        return 0.0
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)
