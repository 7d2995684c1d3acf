"""A small folder in the form of the BraTS challenges: brains of noise, with a tumour that each modality shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from nas.data.sources.brats import Brats
from tests.data.written_decathlon import write_nifti

SIDES_RAS = (24, 30, 20)
MODALITIES = ("t1", "t1ce", "t2", "flair")
BRIGHT = {"t1": (0, -40, -40, 0, 0), "t1ce": (0, -40, 0, 0, 120), "t2": (0, 80, 60, 0, 60), "flair": (0, 40, 90, 0, 80)}


def subject(seed: int, sides: Sequence[int] = SIDES_RAS) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Modality -> volume (int16, 0 outside of the brain), and labels 0, 1, 2, 4; axes right, front, head."""
    rng = np.random.default_rng(seed)
    at = np.stack(np.indices(sides), axis=-1).astype(float)
    middle = np.array(sides) / 2 - 0.5
    brain = (((at - middle) / (np.array(sides) * 0.42)) ** 2).sum(-1) < 1
    away = np.linalg.norm(at - middle - rng.uniform(-2.5, 2.5, 3), axis=-1)
    label = np.select([away < 2.2, away < 3.6, away < 6], [1, 4, 2], 0).astype(np.uint8)
    images = {}
    for modality in MODALITIES:
        values = 100 + np.take(BRIGHT[modality], label) + rng.normal(0, 8, sides)
        images[modality] = np.where(brain, values, 0).round().astype(np.int16)
    return images, np.where(brain, label, 0).astype(np.uint8)


def write_subject(
    folder: Path, seed: int = 0, codes: str = "LPS", mm: Sequence[float] = (1, 1, 1), origin: float = 0.0
) -> Path:
    images, label = subject(seed)
    for modality, array in images.items():
        write_nifti(folder / f"{folder.name}_{modality}.nii.gz", array, codes, mm, origin)
    write_nifti(folder / f"{folder.name}_seg.nii.gz", label, codes, mm, origin)
    return folder


def write_brats(root: Path, count: int = 6) -> Path:
    """Half of the subjects in HGG, half in LGG, as in 2018."""
    for number in range(count):
        write_subject(root / ("HGG" if number % 2 else "LGG") / f"Brats18_{number:03d}_1", seed=number)
    return root


def real_part(root: Path, folder: Path) -> Path:
    """A part of the real subject below `root`, with the tumour, on the grid that its files have: quicker to read."""
    folder.mkdir(parents=True)
    for path in sorted(root.rglob("*.nii.gz")):
        nib.save(nib.load(path).slicer[50:120, 50:130, 50:125], folder / path.name)
    return folder


def source(root: Path, **arguments: object) -> Brats:
    return Brats(str(root), str(root.parent / "cache"), **{"size": 16, **arguments})  # type: ignore[arg-type]
