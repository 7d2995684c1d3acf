"""Scans with known nodules: synthetic chests, and nodules drawn into the lungs of a real or a synthetic CT.

python -m experiments.lung_screening.phantoms --out FOLDER [--ct CT --ct CT ...] [--scans 10] [--nodules 8] [--seed 0]

writes a folder in the form of LUNA16 (subset0 … subset9, annotations.csv), on which both stages can be trained.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from experiments.argument_types import count_type, seed_type
from experiments.cli import Parser, run_parser, with_options
from experiments.lung_screening.lungs import lung_mask
from experiments.lung_screening.scan import Scan
from nas.data.io.grid import Triple
from nas.errors import NASError
from nas.utils.files import write_text
from nas.utils.optional import medical

PROGRAM = "python -m experiments.lung_screening.phantoms"
EXAMPLES = (f"{PROGRAM} --out phantoms", f"{PROGRAM} --out phantoms --ct /path/to/ct --scans 4")
TISSUE, FAT, LUNG, BONE, AIR = 40.0, -90.0, -860.0, 500.0, -1000.0
NODULE_HU = (-40.0, 90.0)  # solid
DIAMETER_MM = (6.0, 22.0)
APART_MM = 30.0  # between the centres of two nodules
BLUR_MM = 0.6  # width of a nodule's edge within a slice, as of a scanner
LOBES = 0.12  # amplitude of a nodule's irregular outline, as a share of its radius
LAYERS = 5  # sub-slices whose mean is a slice: partial volume
FOLDS = 10


@dataclass(frozen=True, slots=True)
class Nodule:
    """A synthetic nodule.

    Attributes:
        centre_mm: World mm (x, y, z), LPS.
        diameter_mm: Mean diameter.
    """

    centre_mm: tuple[float, float, float]
    diameter_mm: float


def chest(
    rng: np.random.Generator,
    size: tuple[int, int, int] = (40, 128, 128),
    spacing_mm: Triple = (6.0, 2.8, 2.8),
    name: str = "phantom",
) -> tuple[Scan, np.ndarray]:
    """Draw a chest: two tapering lungs with vessels, heart, windpipe, spine, ribs, fat and a table; blurred and noisy.

    Args:
        rng: Source of the variation.
        size: Voxels (D, H, W).
        spacing_mm: Voxel size (D, H, W).
        name: Name of the scan.

    Returns:
        The scan and its lungs, (D, H, W) bool.
    """
    z, y, x = (
        (np.arange(n) - (n - 1) / 2).reshape([-1 if axis == at else 1 for axis in range(3)]) * mm
        for at, (n, mm) in enumerate(zip(size, spacing_mm, strict=True))
    )
    reach = np.abs(z).max()
    wide, deep = rng.uniform(150, 168), rng.uniform(100, 118)
    hu = np.full(size, AIR)
    body = (x / wide) ** 2 + (y / deep) ** 2 <= 1 + 0 * z
    hu[body] = FAT
    hu[(x / (wide - 14)) ** 2 + (y / (deep - 14)) ** 2 <= 1 + 0 * z] = TISSUE
    rib = np.abs(np.sqrt((x / (wide - 22)) ** 2 + (y / (deep - 22)) ** 2) - 1) < 0.045
    hu[rib & (np.mod(z + 0.25 * y + rng.uniform(0, 30), 30) < 9)] = BONE
    hu[np.hypot(x, y - 0.72 * deep) < 19 + 0 * z] = BONE
    lungs = np.zeros(size, dtype=bool)
    for side in (-1, 1):
        centre, taper = side * rng.uniform(72, 80), np.sqrt(np.clip(1 - ((z - 10) / (0.86 * reach)) ** 2, 0, 1))
        a, b = rng.uniform(50, 58), rng.uniform(0.62, 0.72) * deep
        lungs |= ((x - centre) / a) ** 2 + ((y + 3) / b) ** 2 <= taper**2 - 1e-9
    heart = ((x - 22) / 62) ** 2 + ((y + 25) / 48) ** 2 + ((z + 25) / 60) ** 2 <= 1
    lungs &= ~heart
    inside = np.full(size, LUNG) + 40 * ndimage.gaussian_filter(rng.standard_normal(size), 3) / 0.05
    inside[_vessels(lungs, spacing_mm, rng)] = TISSUE
    hu[lungs] = inside[lungs]
    hu[(np.hypot(x + 2, y + 8) < 8) & (z > 20)] = AIR
    hu[(np.abs(y - deep - 14) < 5) & (np.abs(x) < 190) & (z < np.inf)] = 60.0
    hu = ndimage.gaussian_filter(hu, [0.0, 0.5, 0.5]) + rng.normal(0, 20, size)
    image = medical("SimpleITK").GetImageFromArray(np.clip(hu, -1024, 3071).astype(np.int16))
    image.SetSpacing(spacing_mm[::-1])
    image.SetOrigin([float(axis.min()) for axis in (x, y, z)])
    return Scan(name, image), lungs


def _vessels(lungs_DHW: np.ndarray, spacing_mm: Triple, rng: np.random.Generator) -> np.ndarray:
    """Thin bright lines that run outwards from the middle of the chest."""
    drawn = np.zeros(lungs_DHW.shape, dtype=bool)
    inside = np.argwhere(lungs_DHW)
    middle = np.array(lungs_DHW.shape) / 2
    for end in inside[rng.choice(len(inside), 40)]:
        start = np.array([end[0] + rng.normal(0, 2), middle[1], middle[2]])
        for share in np.linspace(0.2, 1, 120):
            d, h, w = np.rint(start + share * (end - start)).astype(int)
            if 0 <= d < lungs_DHW.shape[0]:
                drawn[d, h, w] = True
    return drawn & lungs_DHW


def with_nodules(
    scan: Scan,
    lungs_DHW: np.ndarray,
    rng: np.random.Generator,
    count: int,
    diameter_mm: tuple[float, float] = DIAMETER_MM,
    keep_off_mm: Sequence[tuple[tuple[float, float, float], float]] = (),
) -> tuple[Scan, list[Nodule]]:
    """Draw solid nodules inside of the lungs or at the pleura, apart from one another.

    Args:
        scan: The CT.
        lungs_DHW: (D, H, W) bool, its lungs.
        rng: Source of positions and shapes.
        count: Number of nodules.
        diameter_mm: Smallest and largest diameter.
        keep_off_mm: Points (world mm) with radii in which no nodule is drawn, for findings that the scan has.

    Returns:
        The changed scan and the nodules.

    Raises:
        NASError: If the lungs have no room for as many.
    """
    hu_DHW = scan.hu_DHW.astype(np.float32)
    depth_mm = ndimage.distance_transform_edt(lungs_DHW, sampling=scan.spacing_mm)
    aerated_DHW = ndimage.uniform_filter(hu_DHW, [1, 7, 7]) < -650
    places_P = np.flatnonzero(lungs_DHW & aerated_DHW)
    depth_P = depth_mm.ravel()[places_P]
    nodules: list[Nodule] = []
    taken: list[tuple[np.ndarray, float]] = [(np.array(point), radius) for point, radius in keep_off_mm]
    for _ in range(200 * count):
        if len(nodules) == count:
            break
        diameter = float(np.exp(rng.uniform(*np.log(diameter_mm))))
        deep_enough = places_P[depth_P >= rng.uniform(0.6, 1.6) * diameter / 2]
        if not len(deep_enough):
            continue
        voxel = np.unravel_index(rng.choice(deep_enough), hu_DHW.shape)
        index = np.array(voxel) + rng.uniform(-0.5, 0.5, 3)
        point = scan.world(index[None])[0]
        if any(np.linalg.norm(point - other) < radius + diameter / 2 for other, radius in taken):
            continue
        _add(hu_DHW, index, diameter, scan.spacing_mm, rng)
        taken.append((point, APART_MM - diameter / 2))
        nodules.append(Nodule((float(point[0]), float(point[1]), float(point[2])), diameter))
    if len(nodules) < count:
        raise NASError(
            f"room for {len(nodules)} of {count} nodules in {scan.name}",
            "larger lungs",
            "a smaller --nodules",
        )
    return scan.with_hu(np.rint(hu_DHW).astype(np.int16), scan.name), nodules


def _add(hu_DHW: np.ndarray, centre: np.ndarray, diameter: float, spacing_mm: Triple, rng: np.random.Generator) -> None:
    """Blend a solid ball of irregular outline into the scan, by the share of each voxel that it fills."""
    mm = np.array(spacing_mm)
    reach = diameter / 2 * (1 + 2 * LOBES) + 3 * BLUR_MM
    low = np.maximum(0, np.floor(centre - reach / mm).astype(int))
    high = np.minimum(hu_DHW.shape, np.ceil(centre + reach / mm).astype(int) + 1)
    axes = rng.normal(size=(3, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    phases = rng.uniform(0, 2 * np.pi, 3)
    share = np.zeros(tuple(high - low))
    for layer in (np.arange(LAYERS) + 0.5) / LAYERS - 0.5:
        grid = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), -1)
        off_mm = (grid + np.array([layer, 0, 0]) - centre) * mm
        distance = np.linalg.norm(off_mm, axis=-1)
        ways = off_mm / np.maximum(distance, 1e-6)[..., None] @ axes.T
        radius = diameter / 2 * (1 + LOBES * np.sin(2 * ways + phases).mean(axis=-1))
        share += 1 / (1 + np.exp(np.clip((distance - radius) / (BLUR_MM / 1.7), -50, 50))) / LAYERS
    box = tuple(map(slice, low, high))
    values = rng.uniform(*NODULE_HU) + rng.normal(0, 15, share.shape)
    hu_DHW[box] += share * (np.maximum(values, hu_DHW[box]) - hu_DHW[box])


def write_luna16(folder: Path, scans: Sequence[tuple[str, Scan, Sequence[Nodule]]]) -> None:
    """Write scans as a LUNA16 folder, distributed over its ten subsets in turn.

    Args:
        folder: The folder.
        scans: SeriesInstanceUID, scan and nodules of each.
    """
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["seriesuid", "coordX", "coordY", "coordZ", "diameter_mm"])
    for number, (uid, scan, nodules) in enumerate(scans):
        subset = folder / f"subset{number % FOLDS}"
        subset.mkdir(parents=True, exist_ok=True)
        medical("SimpleITK").WriteImage(scan.image, str(subset / f"{uid}.mhd"))
        for nodule in nodules:
            rows.writerow([uid, *(f"{mm:.6f}" for mm in nodule.centre_mm), f"{nodule.diameter_mm:.6f}"])
    write_text(folder / "annotations.csv", text.getvalue())


def parser() -> Parser:
    """Return the parser of this command.

    Returns:
        The parser.
    """
    phantoms = Parser(PROGRAM, "Draw scans with nodules at known places, as a folder of LUNA16.", EXAMPLES)
    add = phantoms.add_argument
    add("--out", required=True, type=Path, metavar="FOLDER", help="folder of the scans")
    add("--ct", action="append", default=[], help="a CT as background, may be repeated (default: a synthetic chest)")
    add("--scans", type=count_type, default=10, help="number of scans (default: 10)")
    add("--nodules", type=count_type, default=8, help="nodules per scan (default: 8)")
    add("--seed", type=seed_type, default=0, help="seed (default: 0)")
    phantoms.set_defaults(run=run)
    return phantoms


def run(options: argparse.Namespace) -> None:
    """Write the scans.

    Args:
        options: Parsed arguments.
    """
    read = [Scan.read(path) for paths in options.ct for path in paths.split(",") if path]
    backgrounds = [(scan, lung_mask(scan.hu_DHW, scan.spacing_mm, scan.name)) for scan in read]
    scans = []
    for number in range(options.scans):
        rng = np.random.default_rng([options.seed, number])
        scan, lungs_DHW = backgrounds[number % len(backgrounds)] if backgrounds else chest(rng)
        scans.append((f"phantom.{number}", *with_nodules(scan, lungs_DHW, rng, options.nodules)))
    write_luna16(options.out, scans)
    print(f"wrote {len(scans)} scans with {options.nodules} nodules each into {options.out}")


if __name__ == "__main__":
    sys.exit(run_parser(parser(), with_options(sys.argv[1:])))
