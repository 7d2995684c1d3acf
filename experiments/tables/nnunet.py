"""nnU-Net for tables: its published Dice of single cases as the result of a test fold, and the size of its network."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nas.data.sources.msd import Msd
from nas.data.splits import Split
from nas.errors import NASError
from nas.inference.label_maps import LabelMaps, find_label_maps
from nas.metrics.metric import Metric
from nas.retraining.evaluation import Evaluation
from nas.retraining.evaluation_files import Evaluated, identity_of_labels, write_evaluation
from nas.tasks.segmentation import Segmentation, SegmentationScores

CACHE = "VOXNAS_CACHE"
UNKNOWN = ("hd95", "surface_dice")  # metrics that the published files do not have


def published(
    table: str, system: str, name: str, data: str, folder: Path, seed: int, labels: Mapping[str, int] | None = None
) -> None:
    """Write the published Dice of the cases of a test fold in the form of an evaluation.

    Args:
        table: csv with case, system and a column `dice_<class>` for each class, or its folder.
        system: Name in the csv.
        name: Name in tables.
        data: Folder of the labelled volumes of these cases.
        folder: Gets `test/result.json` and `test/predictions.csv`.
        seed: The test fold of the split of five that trainings have with `split.test_fold`.
        labels: Class of the csv -> number of the label; None for the names and the order of dataset.json, without
            regard to case.

    Raises:
        NASError: If a case of the test fold is not in the csv.
    """
    labelled = find_label_maps(Path(data))
    classes = labelled.classes
    numbers = labels or {one.lower(): number for number, one in enumerate(classes) if number}
    path = Path(table)
    path = next(iter(sorted(path.glob("*.csv")))) if path.is_dir() else path
    dice = _published_dice(path, system, sorted(numbers, key=lambda one: numbers[one]))
    wanted = _test_cases(data, seed)
    if missing := [one for one in wanted if one not in dice]:
        raise NASError(f"no published Dice of {missing[0]} for {system}", f"all {len(wanted)} cases", f"check {path}")
    evaluation = _evaluation(labelled, wanted, np.array([dice[one] for one in wanted]))
    system_facts = Evaluated(name, Path(data).name, identity_of_labels(labelled.cases), seed=seed)
    write_evaluation(folder / "test", evaluation, Segmentation(outputs=len(classes)), system_facts)


def _published_dice(path: Path, system: str, classes: list[str]) -> dict[str, list[float]]:
    """Dice of each class by case."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["system"] == system]
        return {row["case"]: [float(row[_column(row, one)]) for one in classes] for row in rows}
    except (OSError, ValueError, KeyError) as error:
        columns = ", ".join(f"dice_{one}" for one in classes)
        raise NASError(f"{path} ({error})", f"the columns case, system, {columns}", "copy the file again") from error


def _column(row: Mapping[str, Any], name: str) -> str:
    """Column of a class: the csv may shorten `Anterior hippocampus` to `dice_anterior`."""
    found = [key for key in row if key.startswith("dice_") and name.lower().startswith(key.removeprefix("dice_"))]
    return found[0] if found else f"dice_{name}"


def _test_cases(data: str, fold: int) -> list[str]:
    """Names of the cases of a test fold, sorted."""
    store = Msd(data, os.environ.get(CACHE, "outputs/data")).prepare()
    return sorted(str(name) for name in store.names[Split(store, test_fold=fold).test])


def _evaluation(labelled: LabelMaps, names: list[str], dice_NK: np.ndarray) -> Evaluation:
    by_name = {case.name: case for case in labelled.cases}
    task = Segmentation(outputs=len(labelled.classes))
    scores = SegmentationScores({"dice": dice_NK, **{name: np.full_like(dice_NK, np.nan) for name in UNKNOWN}})
    values = {name: value for name, value in scores.over().items() if np.isfinite(value)}
    metrics: tuple[Metric, ...] = tuple(metric for metric in task.metrics if metric.name in values)
    return Evaluation(
        [by_name[name] for name in names],
        [None] * len(names),
        metrics,
        values,
        {},
        scores.columns(labelled.classes),
        list(labelled.classes),
    )
