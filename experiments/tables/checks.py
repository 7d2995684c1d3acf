"""Checks of whole pipelines for tables: synthetic scans, a detector on other images, regions of a brain tumour."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.build import build
from experiments.lung_detector.predictor import Predictor
from experiments.lung_screening.phantoms import chest, with_nodules, write_luna16
from nas.data.loading import VolumeSet
from nas.data.source import Source
from nas.training.loop import predict

LEAST = 0.001  # probability from which a box counts, as in conf/task/detection.yaml
REGIONS = ("WT", "TC", "ET")


def phantom_scans(folder: Path, scans: int | str, nodules: int, seed: int) -> None:
    """Draw chests with nodules at known places, as a folder of LUNA16.

    Args:
        folder: Gets `luna16/`.
        scans: Number of scans, each a person (a text if it is a word of the table).
        nodules: Number of nodules in each.
        seed: Seed of the drawing.
    """
    made = []
    for number in range(int(scans)):
        rng = np.random.default_rng([seed, number])
        scan, lungs_DHW = chest(rng)
        made.append((f"phantom.{number}", *with_nodules(scan, lungs_DHW, rng, nodules)))
    write_luna16(folder / "luna16", made)


def detector_on(trained: str, data: Mapping[str, Any], batch: int = 8) -> dict[str, Any]:
    """Test a trained detector on images of another data set.

    Args:
        trained: Folder of its training.
        data: Settings of the data set, with `_target_`.
        batch: Images per batch.

    Returns:
        The metrics of the task, and a note with the number of images and patients.
    """
    store = build(data, "data", Source, allow=()).prepare()
    predictor = Predictor.load(Path(trained))
    predictor.task.least = LEAST
    rows = range(len(store))
    found = predict(predictor.network, predictor.task, VolumeSet(store, rows, "cpu"), batch)
    metrics = dict(predictor.task.score(found, store.targets(rows)).over())
    patients = len(np.unique(store.groups))
    first, *rest = store.unit.split()  # "block of slices"
    unit = " ".join([first + "s" * (patients > 1), *rest])
    return metrics | {"note": f"{len(store)} images of {patients} {unit}"}


def brats_regions(folder: Path) -> dict[str, Any]:
    """Read the Dice of the regions that `voxnas brats evaluate` measured.

    Args:
        folder: Folder of the row, with `brats/evaluation.json`.

    Returns:
        wt, tc, et: mean Dice over subjects; and a note with their number.
    """
    content = json.loads((folder / "brats" / "evaluation.json").read_text(encoding="utf-8"))
    values: dict[str, Any] = {region.lower(): content["mean"][f"{region} dice"] for region in REGIONS}
    count = len(content["subjects"])
    return values | {"note": f"{count} subject{'s' * (count > 1)}"}
