"""Small folders of data for commands that read a user's own: bright balls with masks, and volumes with labels."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest


def ball_DHW(side: int, centre_3: np.ndarray, radius: float) -> np.ndarray:
    """A ball of ones."""
    grid_3DHW = np.indices((side, side, side)) + 0.5
    return (((grid_3DHW - centre_3[:, None, None, None]) ** 2).sum(axis=0) <= radius**2).astype(np.uint8)


def decathlon(folder: Path, cases: int = 15, side: int = 16) -> Path:
    """A Decathlon folder of noisy volumes with one bright ball each."""
    nibabel = pytest.importorskip("nibabel")
    rng, listed = np.random.default_rng(0), []
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    for number in range(cases):
        mask_DHW = ball_DHW(side, rng.uniform(5, side - 5, 3), rng.uniform(3, 5))
        image_DHW = 200 * mask_DHW + rng.normal(100, 30, mask_DHW.shape)
        paths = [f"./{name}/ball_{number:02d}.nii.gz" for name in ("imagesTr", "labelsTr")]
        for path, array in zip(paths, (image_DHW.astype(np.float32), mask_DHW), strict=True):
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / path)
        listed.append({"image": paths[0], "label": paths[1]})
    description = {
        "name": "Balls",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "ball"},
        "numTraining": cases,
        "training": listed,
        "test": [],
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def labelled_csv(folder: Path, cases: int = 30, side: int = 16) -> Path:
    """A csv of .npy volumes with a small or a large ball."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    with open(folder / "balls.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "patient"])
        for number in range(cases):
            radius = 5.0 if number % 2 else 3.0
            volume_DHW = ball_DHW(side, rng.uniform(6, side - 6, 3), radius) + rng.normal(0, 0.2, (side, side, side))
            np.save(folder / f"{number:02d}.npy", volume_DHW.astype(np.float32))
            table.writerow([f"{number:02d}.npy", "large" if number % 2 else "small", f"p{number}"])
    return folder / "balls.csv"
