"""A small folder in the form of the Medical Segmentation Decathlon, whose voxels tell where they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from nas.data.sources.msd import Msd
from nas.data.store import VolumeStore

SIDES_RAS = (10, 14, 9)


def world_value(left: np.ndarray, back: np.ndarray, head: np.ndarray) -> np.ndarray:
    """The intensity at a place in mm; linear, so that interpolation and smoothing keep it."""
    return 200.0 + left + 3 * back + 7 * head


def write_nifti(
    path: Path, array_RAS: np.ndarray, codes: str = "RAS", mm: Sequence[float] = (1, 1, 1), origin: float = 0.0
) -> None:
    """array_RAS: axes to the right, the front, the head (and channels); stored on axes `codes`, the world unchanged."""
    affine = np.diag([*mm, 1.0])
    affine[:3, 3] = origin
    image = nib.Nifti1Image(array_RAS, affine)
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(tuple(codes))
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image.as_reoriented(turn), path)


def case(sides: Sequence[int], mm: Sequence[float] = (1, 1, 1), gain: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Image (float32) and label (uint8): class 1 in the front half, 2 in the back half of a box in the middle."""
    right, front, head = (n * step for n, step in zip(np.indices(sides), mm, strict=True))
    image = gain * world_value(-right, -front, head)
    label = np.zeros(sides, dtype=np.uint8)
    inside = tuple(slice(side // 4, side - side // 4) for side in sides)
    label[inside] = 2
    label[inside[0], sides[1] // 2 : sides[1] - sides[1] // 4, inside[2]] = 1
    return image.astype(np.float32), label


def write_decathlon(
    root: Path,
    count: int = 6,
    modality: str = "MRI",
    codes: Sequence[str] = ("RAS",),
    mm: Sequence[float] = (1, 1, 1),
    gains: Sequence[float] = (1.0,),
) -> Path:
    """`count` volumes of different sizes, case i with codes[i] and gains[i] in turn."""
    training = []
    for number in range(count):
        sides = tuple(side + (number % 3) * 2 for side in SIDES_RAS)
        image, label = case(sides, mm, gains[number % len(gains)])
        image[0, 0, 0] *= 1 + number * 1e-6  # no volume is a copy of another patient's
        names = [f"./{folder}/case_{number:03d}.nii.gz" for folder in ("imagesTr", "labelsTr")]
        for name, array in zip(names, (image, label), strict=True):
            write_nifti(root / name, array, codes[number % len(codes)], mm)
        training.append(dict(zip(("image", "label"), names, strict=True)))
    labels = {"0": "background", "1": "front", "2": "back"}
    content = {"name": "Boxes", "modality": {"0": modality}, "labels": labels, "training": training, "test": []}
    (root / "dataset.json").write_text(json.dumps(content))
    return root


def prepared(root: Path, **arguments: object) -> VolumeStore:
    return Msd(str(root), str(root / "cache"), **arguments).prepare()  # type: ignore[arg-type]


def edit_description(root: Path, **changes: object) -> None:
    """A change of None removes the key."""
    path = root / "dataset.json"
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
