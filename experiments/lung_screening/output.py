"""Results of a screening as files: screening.json, mask.nii.gz, overlays/*.png, report.html."""

from __future__ import annotations

import errno
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.image import imsave

from experiments.lung_screening.pictures import levels_with_lung, overlay
from experiments.lung_screening.report import write_report
from experiments.lung_screening.screening import Screening
from nas.context import versions
from nas.errors import last_line
from nas.utils.files import atomic_folder, write_text
from nas.utils.optional import medical

COORDINATES = "world mm in LPS as in DICOM: x to the patient's left, y to the back, z to the head"
BALL_MM = 3.0  # radius of the ball that marks a candidate in the mask
LUNG, CANDIDATE = 1, 2


def write(found: Screening, folder: Path, source: str) -> dict[str, Any]:
    """Write the results; an older folder is replaced when the new one is complete.

    mask.nii.gz holds 1 in the lungs and 2 in a ball of 3 mm around each candidate, on the grid of the CT.

    Args:
        found: The screening.
        folder: Folder of the files.
        source: Path of the CT.

    Returns:
        The content of screening.json.
    """
    started = time.perf_counter()
    with atomic_folder(folder) as place:
        try:
            medical("SimpleITK").WriteImage(found.scan.as_read(labels(found)), str(place / "mask.nii.gz"))
        except RuntimeError as error:  # which ITK raises for a full disk
            raise OSError(errno.EIO, last_line(error), str(folder / "mask.nii.gz")) from error
        (place / "overlays").mkdir()
        for level in levels_with_lung(found):
            imsave(place / "overlays" / f"slice_{level + 1:04d}.png", overlay(found, int(level)))
        found.seconds["pictures"] = round(time.perf_counter() - started, 2)
        content = facts(found, source)
        write_text(place / "screening.json", json.dumps(content, indent=1) + "\n")
        write_report(place / "report.html", found, content)
    return content


def labels(found: Screening) -> np.ndarray:
    """Return the mask: 1 in the lungs, 2 in a ball around each candidate.

    Args:
        found: The screening.

    Returns:
        (D, H, W) uint8 on the voxels of `found.scan.hu_DHW`.
    """
    labels_DHW = np.where(found.lungs_DHW, LUNG, 0).astype(np.uint8)
    mm = np.array(found.scan.spacing_mm)
    for centre in found.voxels_N3:
        reach = np.ceil(BALL_MM / mm).astype(int)
        low, high = np.maximum(centre - reach, 0), np.minimum(centre + reach + 1, labels_DHW.shape)
        grid = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), -1)
        near = np.linalg.norm((grid - centre) * mm, axis=-1) <= BALL_MM
        labels_DHW[tuple(map(slice, low, high))][near] = CANDIDATE
    return labels_DHW


def facts(found: Screening, source: str) -> dict[str, Any]:
    """Return the content of screening.json.

    Args:
        found: The screening.
        source: Path of the CT.

    Returns:
        JSON values by name.
    """
    by_network = found.stages.nodules is not None
    candidates = []
    for number, (one, (level, _, _)) in enumerate(zip(found.candidates, found.voxels_N3, strict=True), start=1):
        x, y, z = (round(mm, 2) for mm in one.point_mm)
        candidates.append(
            {
                "number": number,
                "x_mm": x,
                "y_mm": y,
                "z_mm": z,
                "slice": int(level) + 1,
                "probability": round(one.score, 4) if by_network else None,
                "score": round(one.score, 4),
                "malignancy": None if one.malignancy is None else round(one.malignancy, 4),
            }
        )
    return {
        "ct": source,
        "voxels": list(found.lungs_DHW.shape),
        "spacing_mm": [round(mm, 4) for mm in found.scan.spacing_mm],
        "axes": "D to the head, H to the back, W to the left; slices count from 1 at the feet",
        "coordinates": COORDINATES,
        "lungs_ml": round(found.lungs_ml, 1),
        "candidates": candidates,
        "stages": found.stages.facts,
        "settings": asdict(found.settings),
        "patches": found.patches,
        "patch_macs": found.macs,
        "seconds": {**found.seconds, "total": round(sum(found.seconds.values()), 2)},
        "peak_memory_mb": found.peak_memory_mb,
        "versions": versions(),
    }
