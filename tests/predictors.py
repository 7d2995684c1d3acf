"""A trained classifier, and labelled scans, for tests of predictions and evaluations."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nas.data.sources.manifest import Manifest
from nas.tasks.classification import Classification
from search_spaces.naslung import NASLungSpace
from tests.data.written_decathlon import case, write_nifti
from tests.trainings import write_training


def classifier(folder: Path, root: Path) -> Manifest:
    """Eight volumes of two classes, and a training on their preparation."""
    lines = ["path,label,patient"]
    for number in range(8):
        volume = np.random.default_rng(number).normal(number % 2, size=(20, 18, 17)).astype(np.float32)
        write_nifti(root / f"{number}.nii.gz", volume, "LAS", (1, 1, 1.5))
        lines.append(f"{number}.nii.gz,{'well' if number % 2 else 'ill'},P{number}")
    (root / "my.csv").write_text("\n".join(lines))
    source = Manifest(str(root / "my.csv"), str(root / "cache"), size=16, window=(-4, 6))
    task = Classification()
    space = NASLungSpace(widths=(4, 8), max_depth=4)
    write_training(folder, space, task, source.preparation(), source.classes, 16)
    return source


def labelled(root: Path, count: int = 3, first: int = 0) -> Path:
    for number in range(first, first + count):
        image, label = case((13 + number, 12, 9), (1, 1, 2), 1.0)
        image += np.random.default_rng(number).normal(0, 20, image.shape).astype(np.float32)
        for folder, array, end in (("imagesTr", image, "_0000"), ("labelsTr", label, "")):
            write_nifti(root / folder / f"case{number}{end}.nii.gz", array, "PIL", (1, 1, 2))
    return root
