"""Phantom nodules with known boxes, in a synthetic chest or in real CT: detection without any annotated data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Le, Len
from scipy import ndimage

from nas.data.io.axial import axial_slices
from nas.data.io.files import named_files
from nas.data.io.images import AIR_HU
from nas.data.sample import Sample
from nas.data.source import CACHE, Source
from nas.data.sources._synthetic_chest import FIELD_MM, VOXEL_MM, add_ball, chest_slice, lung_block, noise_hu
from nas.data.transforms.ct_slices import WINDOWS_HU, resized, windowed
from nas.errors import NASError
from nas.utils.annotations import Dims, Fraction, PathName, PositiveFloat, Rule, Seed, SomeOf
from nas.utils.checked import checked

NODULE_HU = (-100.0, 60.0)  # solid nodules
GAP = 2  # voxels between a nodule and the edge of the lung, or another nodule
LUNG_HU, LUNG_SHARE = -500.0, 0.04  # of real CT: highest value of lung, least share of a slice
BLOCK = 4  # neighbouring slices of a real CT that a split keeps together


ASCENDING = Rule(lambda ends: ends[0] <= ends[1], "[smallest, largest], above 0")


@checked("data")
class NodulePhantoms(Source):
    """Slices (dims=2) or blocks of lung (dims=3) with solid ellipsoids whose boxes are known exactly.

    Vessels, 1 to 3 mm thick, are drawn as well, because nodules can be mistaken for them. Results on phantoms show
    that a detector works, and little about patients. Values are uint8 and scaled to [0, 1].

    Args:
        cache_dir: Folder of the prepared stores.
        patients: Synthetic chests; with `backgrounds`, blocks of 4 adjacent real slices. A split keeps each together.
        slices: Images of each.
        size: Voxels per side, 16 to 1024.
        dims: 2 for axial slices of 360 mm, 3 for blocks of lung with voxels of 2 mm.
        radius_mm: Smallest and largest radius of a nodule in mm.
        most: Most nodules of an image with nodules.
        negatives: Share of images without a nodule, in [0, 1).
        windows: Windows of HU, one channel per window (nas/data/transforms/ct_slices.py).
        backgrounds: Paths of CT volumes or DICOM folders whose slices replace the synthetic chest (dims=2 only).
        seed: Seed of all drawings.
        values_in_hu: Whether stored values of background slices (DICOM) without rescale tags are in HU already. If
            False, such series are refused.

    Raises:
        NASError: If an argument is out of range.
    """

    name = "nodule_phantoms"
    separate_volumes = False  # drawn, possibly in one background
    classes = ("nodule",)
    scale = 1 / 255
    UNIDENTIFYING: ClassVar[Mapping[str, str]] = {
        **Source.UNIDENTIFYING,
        "backgrounds": "the volumes count by content and name",
    }

    def __init__(
        self,
        cache_dir: PathName = CACHE,
        patients: Annotated[int, Ge(1), Le(100_000)] = 60,
        slices: Annotated[int, Ge(1), Le(10_000)] = 5,
        size: Annotated[int, Ge(16), Le(1024)] = 128,
        dims: Dims = 2,
        radius_mm: Annotated[Sequence[PositiveFloat], Len(2, 2), ASCENDING] = (6.0, 20.0),
        most: Annotated[int, Ge(1), Le(100)] = 3,
        negatives: Fraction = 0.25,
        windows: Annotated[Sequence[str], SomeOf(*WINDOWS_HU)] = ("lung",),
        backgrounds: Sequence[PathName] = (),
        seed: Seed = 0,
        values_in_hu: bool = False,
    ) -> None:
        self.cache_dir, self.patients, self.slices, self.size, self.dims = cache_dir, patients, slices, size, dims
        self.radius_mm, self.most, self.negatives = tuple(radius_mm), most, negatives
        self.windows, self.backgrounds, self.seed = tuple(windows), tuple(map(str, backgrounds)), seed
        self.values_in_hu = values_in_hu
        if dims == 3 and self.backgrounds:
            raise NASError(
                f"data.backgrounds={list(self.backgrounds)} with data.dims=3",
                "none for blocks",
                "set data.backgrounds=[]",
            )

    def files(self) -> Mapping[str, Path]:
        """List the files of the backgrounds, by number and name."""
        paths = [Path(path) for path in self.backgrounds]
        return named_files((f"{number} {path.name}", path) for number, path in enumerate(paths))

    def provenance(self) -> Mapping[str, Any]:
        """Return source and licence."""
        return {"source": "drawn phantoms", "unit": "block of slices" if self.backgrounds else "phantom"}

    def preparation(self) -> Mapping[str, Any]:
        """Return for slices also the arguments of `ct_slices.windowed` and `ct_slices.fitted`."""
        here = {"windows": list(self.windows), "size": self.size} if self.dims == 2 else {}
        return {**super().preparation(), **here}

    def samples(self) -> Iterator[Sample]:
        """Read every sample, see `Source.samples`."""
        real = [block for path in self.backgrounds for block in _real_blocks(path, self.size, self.values_in_hu)]
        for patient in range(self.patients):
            rng = np.random.default_rng([self.seed, patient])
            block = real[int(rng.integers(len(real)))] if real else None
            build = int(rng.integers(2**31))  # of the synthetic chest of this patient
            for number in range(self.slices):
                hu, lung, voxel_mm = block.draw(rng) if block else self._drawn(build, rng)
                count = 0 if rng.random() < self.negatives else int(rng.integers(1, self.most + 1))
                boxes = self._add_nodules(hu, lung, voxel_mm, count, rng)
                yield Sample(
                    name=f"phantom-{patient:04}-{number:02}",
                    volume_CDHW=self._volume(hu),
                    label=0,
                    group=block.name if block else f"phantom-{patient:04}",
                    spacing_mm=(voxel_mm,) * 3,
                    boxes_M7=boxes,
                )

    def _drawn(self, build: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
        if self.dims == 3:
            return *lung_block(self.size, rng), VOXEL_MM
        return *chest_slice(self.size, np.random.default_rng(build), rng), FIELD_MM / self.size

    def _volume(self, hu: np.ndarray) -> np.ndarray:
        """Return (C, D, H, W) uint8."""
        volume = np.rint(255 * windowed(hu, self.windows)).astype(np.uint8)
        return volume if self.dims == 3 else volume[:, None]

    def _add_nodules(
        self, hu: np.ndarray, lung: np.ndarray, voxel_mm: float, count: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Draw nodules into `hu` and return boxes (M, 7), fewer than `count` if there is no room."""
        depth = ndimage.distance_transform_edt(np.pad(lung, 1))[(slice(1, -1),) * hu.ndim]
        noise, boxes = noise_hu(hu.shape, rng), []
        for _ in range(count):
            radii = rng.uniform(self.radius_mm[0], self.radius_mm[1]) * rng.uniform(0.8, 1.0, hu.ndim) / voxel_mm
            room = np.argwhere(depth > radii.max() + GAP)
            if not len(room):
                continue
            centre = room[rng.integers(len(room))] + rng.uniform(0, 1, hu.ndim)
            share = np.zeros_like(hu)
            add_ball(share, centre, radii, 1.0)
            # with noise of its own, so that a nodule cannot be recognised by its smoothness
            hu += share * (rng.uniform(*NODULE_HU) + noise - hu)
            depth = np.minimum(depth, ndimage.distance_transform_edt(share == 0))
            low, high = np.clip(centre - radii, 0, None), np.minimum(centre + radii, hu.shape)
            flat = ([0.0], [1.0]) if hu.ndim == 2 else ([], [])
            boxes.append([*flat[0], *low, *flat[1], *high, 0.0])
        return np.array(boxes, dtype=np.float32).reshape(-1, 7)


@dataclass(frozen=True, slots=True)
class _Block:
    """Neighbouring slices of a CT that show enough lung."""

    name: str
    hu_NHW: np.ndarray
    voxel_mm: float

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
        hu_HW = self.hu_NHW[rng.integers(len(self.hu_NHW))].copy()
        return hu_HW, lung_of(hu_HW), self.voxel_mm


def lung_of(hu_HW: np.ndarray) -> np.ndarray:
    """Find the lungs of an axial slice.

    Args:
        hu_HW: A slice in HU.

    Returns:
        (H, W) bool, regions of air that do not touch the edge and are at least half a percent of the slice.
    """
    air, _ = ndimage.label(hu_HW < LUNG_HU)
    is_lung = np.bincount(air.ravel()) >= 0.005 * air.size
    is_lung[np.concatenate([[0], air[0], air[-1], air[:, 0], air[:, -1]])] = False
    return is_lung[air]


def _real_blocks(path: str, size: int, values_in_hu: bool) -> list[_Block]:
    """Read the blocks of a CT; raises NASError if it cannot be read or shows no lung."""
    slices = axial_slices(Path(path), values_in_hu)
    hu_DHW, factor = resized(slices.values_DHW, size, AIR_HU)
    showing = [number for number, hu_HW in enumerate(hu_DHW) if lung_of(hu_HW).mean() >= LUNG_SHARE]
    if not showing:
        raise NASError(
            f"{path} without a slice that shows lungs", "a CT of the chest in HU", "correct data.backgrounds"
        )
    voxel_mm = slices.spacing_mm[2] / factor
    starts = range(0, len(hu_DHW), BLOCK)
    blocks = [[number for number in showing if start <= number < start + BLOCK] for start in starts]
    return [
        _Block(f"{Path(path).name}-{start}", hu_DHW[numbers], voxel_mm)
        for start, numbers in zip(starts, blocks, strict=True)
        if numbers
    ]
