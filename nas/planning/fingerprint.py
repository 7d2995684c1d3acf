"""Fingerprint of a data set: sizes, voxels, intensities, objects, patients, and cases that look wrong.

The facts are those of nnU-Net's fingerprint (Isensee et al., Nature Methods 18:203, 2021, arXiv 1904.08128, methods
section "Dataset fingerprint"), with objects, positions of the classes and suspicious cases beside them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

AXES = ("head to foot", "front to back", "left to right")  # of D, H, W in volumes turned to LPS
ANISOTROPY = 3.0  # ratio of the coarsest spacing to the next one from which voxels count as anisotropic
NEARLY_ALL = 0.9  # of the cases
HOUNSFIELD = -500.0  # median smallest value of volumes from which on down they are taken as CT


@dataclass(frozen=True)
class CaseFacts:
    """Facts of one case.

    Args:
        name: Name of the case.
        patient: Its patient.
        shape_DHW: Voxels.
        spacing_mm: Voxel size (D, H, W) in mm.
        box_DHW: Sides of the box of all voxels that are not 0 in some channel.
        values_CV: Sampled intensities, of the foreground if there is a mask; (C, V).
        least_C: Smallest value of each channel.
        most_C: Largest value of each channel.
        voxels_K: Voxels of each class, the background first; empty without a mask.
        objects_K: Connected objects of each class.
        centres_K3: Mean position of each class as a share of the sides, NaN for a class that is not there.
        extents_K3: Sides of the box of each class as a share of those of the volume.
        label: Number of the class of a classification; -1 for a segmentation.
        object_mm3: Volume of the object of a classification, NaN if unknown.
        digest: Hash of the voxels, "" if unknown.
        reaches_A: For each axis, labelled voxels by their distance from the middle, see
            `nas.planning.cropping.reaches_of`; empty without a mask.
    """

    name: str
    patient: str
    shape_DHW: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    box_DHW: tuple[int, int, int]
    values_CV: np.ndarray
    least_C: np.ndarray
    most_C: np.ndarray
    voxels_K: np.ndarray
    objects_K: np.ndarray
    centres_K3: np.ndarray
    extents_K3: np.ndarray
    label: int = -1
    object_mm3: float = float("nan")
    digest: str = ""
    reaches_A: tuple[np.ndarray, ...] = ()


@dataclass(frozen=True)
class Fingerprint:
    """Facts of a data set.

    Args:
        kind: "segmentation" or "classification".
        source: Name of the data source in conf/data.
        path: Its folder or csv.
        channels: Names of the channels.
        classes: Names of the classes, of a segmentation with the background first.
        cases: Facts of every case.
        given_folds: Number of folds or parts that the data set states; 0 if it states none.
        points: Whether each case states the middle of its object.
    """

    kind: str
    source: str
    path: str
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    cases: tuple[CaseFacts, ...]
    given_folds: int = 0
    points: bool = False

    @property
    def patients(self) -> int:
        """Number of patients."""
        return len({case.patient for case in self.cases})

    @property
    def spacings_N3(self) -> np.ndarray:
        """Voxel sizes in mm."""
        return np.array([case.spacing_mm for case in self.cases], dtype=float)

    @property
    def boxes_N3(self) -> np.ndarray:
        """Sides of the boxes of voxels that are not 0."""
        return np.array([case.box_DHW for case in self.cases], dtype=float)

    @property
    def shapes_N3(self) -> np.ndarray:
        """Sides of the volumes in voxels."""
        return np.array([case.shape_DHW for case in self.cases], dtype=float)

    @property
    def nonzero_share(self) -> float:
        """Median share of the volumes that their boxes of voxels other than 0 fill."""
        return float(np.median(self.boxes_N3.prod(axis=1) / self.shapes_N3.prod(axis=1)))

    @property
    def anisotropy(self) -> float:
        """Ratio of the coarsest to the finest side of the median voxel."""
        median_3 = np.median(self.spacings_N3, axis=0)
        return float(median_3.max() / median_3.min())

    @property
    def is_ct(self) -> bool:
        """Whether volumes are CT, by their names or by values of air.

        A classification has one window for all channels: all of them have to be CT. A segmentation scales each channel
        by its own values: one is enough.
        """
        named = [name.upper() == "CT" for name in self.channels]
        if self.kind != "classification":
            return any(named)
        unnamed = len(named) == 1 and float(np.median([case.least_C[0] for case in self.cases])) <= HOUNSFIELD
        return all(named) or unnamed

    @property
    def scale(self) -> tuple[float, float] | None:
        """The ends of the values of all channels, if nearly all volumes have the same, as images of 8 bits have."""
        ends = Counter(tuple(zip(case.least_C.tolist(), case.most_C.tolist(), strict=True)) for case in self.cases)
        of_channels, count = ends.most_common(1)[0]
        low, high = of_channels[0]
        same = count >= NEARLY_ALL * len(self.cases) and len(set(of_channels)) == 1
        return (float(low), float(high)) if same and low < high else None

    @property
    def counts_K(self) -> np.ndarray:
        """Number of cases of each class, of a segmentation of those that contain it."""
        if self.kind == "classification":
            return np.bincount([case.label for case in self.cases], minlength=len(self.classes))
        return np.sum([case.voxels_K > 0 for case in self.cases], axis=0)

    @property
    def patients_K(self) -> np.ndarray:
        """Number of patients of each class, of a segmentation of those with a case that contains it."""
        found: list[set[str]] = [set() for _ in self.classes]
        for case in self.cases:
            for number in [case.label] if self.kind == "classification" else np.flatnonzero(case.voxels_K):
                found[number].add(case.patient)
        return np.array([len(patients) for patients in found])

    @property
    def shares_K(self) -> np.ndarray:
        """Share of each class in all voxels of a segmentation."""
        voxels_K = np.sum([case.voxels_K for case in self.cases], axis=0)
        return voxels_K / voxels_K.sum()

    def intensity(self) -> list[dict[str, float]]:
        """Compute mean, deviation, median, percentiles 0.5 and 99.5, and the ends of sampled intensities by channel.

        Returns:
            One mapping for each channel.
        """
        values_CV = np.concatenate([case.values_CV for case in self.cases], axis=1)
        found = []
        for values_V in values_CV:
            low, median, high = np.percentile(values_V, (0.5, 50, 99.5))
            named = {"mean": values_V.mean(), "sd": values_V.std(), "median": median, "p0.5": low, "p99.5": high}
            named |= {"least": values_V.min(), "most": values_V.max()}
            found.append({name: rounded(value) for name, value in named.items()})
        return found

    def object_sizes_mm3(self) -> dict[str, tuple[float, float, float]]:
        """Compute the least, median and largest volume of each class in a case that contains it.

        Returns:
            Class -> three volumes in mm^3, for the classes of a segmentation other than the background.
        """
        found = {}
        for number, name in list(enumerate(self.classes))[1:] if self.kind == "segmentation" else ():
            mm3 = [case.voxels_K[number] * np.prod(case.spacing_mm) for case in self.cases if case.voxels_K[number]]
            if mm3:
                found[name] = (float(min(mm3)), float(np.median(mm3)), float(max(mm3)))
        return found


def rounded(value: float) -> float | int:
    """Round a number to five digits, for files.

    Args:
        value: The number.

    Returns:
        A whole number if it is one.
    """
    short = float(f"{float(value):.5g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short
