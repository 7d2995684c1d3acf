"""Training data of both stages, from a LUNA16 folder: slices with lung masks, patches with and without a nodule."""

from __future__ import annotations

import logging
import zlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from experiments.lung_screening.lungs import lung_mask
from experiments.lung_screening.scan import Scan
from experiments.lung_screening.slices import moved, patch, to_pixel, to_side
from nas.data.io.crops import hu_window
from nas.data.io.files import named_files
from nas.data.sample import Sample
from nas.data.source import CACHE, Source
from nas.data.sources._lidc_database import COHORT, database_path
from nas.data.sources.luna16 import (
    Point,
    Scans,
    annotated_nodules,
    find_csv,
    find_scans,
    patients_and_folds,
)
from nas.errors import NASError
from nas.utils.annotations import (
    HuWindow,
    Millimetres,
    PathName,
    Seed,
    Several,
    Side,
    Spacing,
)
from nas.utils.checked import checked

log = logging.getLogger(__name__)


def stored_hu(hu: np.ndarray, window: Sequence[float]) -> np.ndarray:
    """Return HU as the data sets of both stages store them.

    Args:
        hu: Values of any shape.
        window: Lower and upper end in HU, to which values are clipped.

    Returns:
        int16, of the same shape.
    """
    return np.rint(np.clip(hu, window[0], window[1])).astype(np.int16)


class _LunaScans(Source):
    """Samples of every scan of a LUNA16 folder, with the lungs that the classical method finds.

    HU are clipped to `window` and stored exactly; scale and offset turn the window into [0, 1]. The group of a sample
    is the patient of LIDC-IDRI, or the series if it is not of LIDC-IDRI; the fold is the subset. Scans in which no
    lungs are found are left out with a warning.
    """

    cohort = COHORT
    UNIDENTIFYING: ClassVar[Mapping[str, str]] = {
        **Source.UNIDENTIFYING,
        "root": "its scans count by content, subset and series",
        "annotations": "the nodules that are read from it count",
    }
    root: PathName | None
    size: int
    window: tuple[float, float]

    def _set_window(self, window: Sequence[float]) -> None:
        self.window = hu_window(window)
        low, high = self.window
        self.scale, self.offset = 1 / (high - low), -low / (high - low)

    @cached_property
    def scans(self) -> Scans:
        return find_scans(self.root)

    def samples(self) -> Iterator[Sample]:
        places = patients_and_folds(self.scans, self.scans)
        for uid, (path, _) in self.scans.items():
            scan = Scan.read(path)
            try:
                lungs_DHW = lung_mask(scan.hu_DHW, scan.spacing_mm, uid)
            except NASError as error:
                log.warning("left out %s: %s", uid, error)
                continue
            patient, fold = places[uid]
            yield from self._of_scan(uid, scan, lungs_DHW, patient, fold)

    @abstractmethod
    def _of_scan(self, uid: str, scan: Scan, lungs_DHW: np.ndarray, patient: str, fold: str) -> Iterator[Sample]: ...

    def stored(self, hu: np.ndarray) -> np.ndarray:
        """Return HU as int16 within the window."""
        return stored_hu(hu, self.window)

    def preparation(self) -> Mapping[str, Any]:
        """Return the settings by which the screening cuts patches and slices out of a new scan."""
        return {**super().preparation(), "size": self.size, "window": self.window}

    def files(self) -> Mapping[str, Path]:
        """List the scans by subset and series, and the database that names their patients."""
        scans = named_files((f"subset{fold}/{uid}", path) for uid, (path, fold) in self.scans.items())
        return {"patients": database_path(), **scans}

    def provenance(self) -> Mapping[str, Any]:
        return {"source": f"{self.root}, a folder in the form of LUNA16 (doi 10.1016/j.media.2017.06.015)"}


@checked("data")
class LungSlices(_LunaScans):
    """Slices with lung masks, for the first stage.

    Args:
        root: LUNA16 folder.
        cache_dir: Folder of prepared stores.
        size: Pixels per side; a slice that is not square is resampled to a square.
        per_scan: Axial slices of each scan, evenly from end to end.
        window: Lower and upper end in HU.
    """

    name = "luna16_lungs"
    classes = ("background", "lung")

    def __init__(
        self,
        root: PathName | None,
        cache_dir: PathName = CACHE,
        size: Side = 512,
        per_scan: Several = 24,
        window: HuWindow = (-1000, 1000),
    ) -> None:
        self.root, self.cache_dir, self.size, self.per_scan = root, cache_dir, int(size), int(per_scan)
        self._set_window(window)

    def _of_scan(self, uid: str, scan: Scan, lungs_DHW: np.ndarray, patient: str, fold: str) -> Iterator[Sample]:
        levels = np.unique(np.linspace(0, len(lungs_DHW) - 1, self.per_scan).round().astype(int))
        slices_NHW = self.stored(to_side(scan.hu_DHW[levels], self.size))
        masks_NHW = to_side(lungs_DHW[levels], self.size) >= 0.5
        depth_mm, height_mm, width_mm = scan.spacing_mm
        old_H, old_W = lungs_DHW.shape[1:]
        for level, slice_HW, mask_HW in zip(levels, slices_NHW, masks_NHW, strict=True):
            yield Sample(
                name=f"{uid}@{level}",
                volume_CDHW=slice_HW[None, None],
                label=0,
                group=patient,
                spacing_mm=(depth_mm, height_mm * old_H / self.size, width_mm * old_W / self.size),
                fold=fold,
                mask_DHW=mask_HW[None],
            )


@checked("data")
class NodulePatches(_LunaScans):
    """Patches of axial slices, for the second stage; class 1 has a nodule in the middle.

    Patches without a nodule lie around points of the lungs: a third anywhere, a third at bright places (vessels,
    borders), a third beside a nodule, which is then in the patch but not in its middle.

    Args:
        root: LUNA16 folder.
        cache_dir: Folder of prepared stores.
        size: Pixels per side.
        spacing_mm: Pixel size.
        window: Lower and upper end in HU.
        per_nodule: Patches of each nodule, from slices that show it.
        per_scan: Patches without a nodule of each scan.
        jitter_mm: Maximum distance of a nodule's centre from the middle.
        annotations: Name of LUNA16's csv of nodules.
        seed: Seed of all draws.
    """

    name = "luna16_patches"
    classes = ("no nodule", "nodule")
    BRIGHT_HU = -500.0
    CLEAR_MM = 6.0  # minimum distance of a nodule's surface from the middle of a patch without a nodule

    def __init__(
        self,
        root: PathName | None,
        cache_dir: PathName = CACHE,
        size: Side = 64,
        spacing_mm: Spacing = 0.7,
        window: HuWindow = (-1000, 400),
        per_nodule: Several = 6,
        per_scan: Several = 24,
        jitter_mm: Millimetres = 2.0,
        annotations: PathName = "annotations.csv",
        seed: Seed = 0,
    ) -> None:
        self.root, self.cache_dir, self.size, self.spacing_mm = root, cache_dir, int(size), float(spacing_mm)
        self.per_nodule, self.per_scan, self.jitter_mm = int(per_nodule), int(per_scan), float(jitter_mm)
        self.annotations, self.seed = annotations, int(seed)
        self._set_window(window)

    def preparation(self) -> Mapping[str, Any]:
        """Return the settings by which the screening cuts patches out of a new scan."""
        return {**super().preparation(), "spacing_mm": self.spacing_mm}

    @cached_property
    def nodules(self) -> dict[str, list[tuple[Point, float]]]:
        return annotated_nodules(find_csv(self.root, self.annotations))

    def content(self) -> Mapping[str, Any]:
        """Return the nodules and the digests of the files."""
        return {**super().content(), "nodules": self.nodules}

    def _of_scan(self, uid: str, scan: Scan, lungs_DHW: np.ndarray, patient: str, fold: str) -> Iterator[Sample]:
        rng = np.random.default_rng([self.seed, zlib.crc32(uid.encode())])
        nodules = self.nodules.get(uid, [])
        centres_N3 = scan.index(np.array([point for point, _ in nodules]).reshape(-1, 3))
        radii_N = np.array([diameter for _, diameter in nodules]) / 2
        with_one = self._with_nodule(scan, centres_N3, radii_N, rng)
        without = self._without(scan, lungs_DHW, centres_N3, radii_N, rng)
        depth_mm = scan.spacing_mm[0]
        for label, places in ((1, with_one), (0, without)):
            for d, h, w in places:
                slice_HW = to_pixel(scan.hu_DHW[int(d)], scan.spacing_mm[1:], self.spacing_mm)
                centre = moved(np.array([h, w]), scan.hu_DHW.shape[1:], slice_HW.shape)
                yield Sample(
                    name=f"{uid}@{int(d)},{h:.1f},{w:.1f}",
                    volume_CDHW=self.stored(patch(slice_HW, centre, self.size))[None, None],
                    label=label,
                    group=patient,
                    spacing_mm=(depth_mm, self.spacing_mm, self.spacing_mm),
                    fold=fold,
                )

    def _with_nodule(
        self, scan: Scan, centres_N3: np.ndarray, radii_N: np.ndarray, rng: np.random.Generator
    ) -> list[np.ndarray]:
        """Centres of patches as voxel indices (level, row, column)."""
        places = []
        for centre, radius in zip(centres_N3, radii_N, strict=True):
            levels = np.arange(len(scan.hu_DHW))
            off_mm = np.abs(levels - centre[0]) * scan.spacing_mm[0]
            shown = levels[off_mm <= max(0.6 * radius, scan.spacing_mm[0] / 2)]
            for _ in range(self.per_nodule if len(shown) else 0):
                off = rng.uniform(-self.jitter_mm, self.jitter_mm, 2) / scan.spacing_mm[1:]
                places.append(np.array([rng.choice(shown), *(centre[1:] + off)]))
        return places

    def _without(
        self,
        scan: Scan,
        lungs_DHW: np.ndarray,
        centres_N3: np.ndarray,
        radii_N: np.ndarray,
        rng: np.random.Generator,
    ) -> list[np.ndarray]:
        lung_P = np.flatnonzero(lungs_DHW)
        bright_P = lung_P[scan.hu_DHW.ravel()[lung_P] > self.BRIGHT_HU]
        places: list[np.ndarray] = []
        for number in range(50 * self.per_scan):
            if len(places) == self.per_scan:
                break
            kind = number % 3
            if kind == 2 and len(radii_N):
                chosen = rng.integers(len(radii_N))
                angle, far_mm = rng.uniform(0, 2 * np.pi), radii_N[chosen] + self.CLEAR_MM + rng.uniform(0, 10)
                off_mm = np.array([0.0, far_mm * np.sin(angle), far_mm * np.cos(angle)])
                place = np.rint(centres_N3[chosen] + off_mm / scan.spacing_mm)
                place = place.clip(0, np.array(lungs_DHW.shape) - 1)
                if not lungs_DHW[tuple(place.astype(int))]:
                    continue
            else:
                pool_P = bright_P if kind == 1 and len(bright_P) else lung_P
                place = np.array(np.unravel_index(rng.choice(pool_P), lungs_DHW.shape), dtype=float)
            distance_mm = np.linalg.norm((centres_N3 - place) * scan.spacing_mm, axis=1)
            if (distance_mm >= radii_N + self.CLEAR_MM).all():
                places.append(place)
        return places
