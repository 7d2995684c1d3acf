"""predictions.csv: what each system said of each tested sample."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

import numpy as np

from experiments.context import Setting
from nas.tasks.segmentation import Segmentation


def predictions_csv(setting: Setting, rows: np.ndarray, systems: Mapping[str, np.ndarray]) -> str:
    """One line a tested sample: its name, its patient and, for a classification, label and each system's probability
    of every class but the first; for a segmentation each system's metrics of every class but the background, empty
    where the sample does not count for the class; for a detection, of every class, the objects and each system's
    highest probability of a box, 0 where it has none.

    systems: name -> probabilities of `rows`.
    """
    store, task = setting.store, setting.task
    columns: dict[str, list[str]] = {"sample": list(store.names[rows]), store.unit: list(store.groups[rows])}
    if isinstance(task, Segmentation):
        target, voxel_mm = store.targets(rows), store.voxel_mm(rows)
        for name, prob in systems.items():
            for metric, values_NK in task.of_cases(prob.argmax(axis=1), target, voxel_mm).items():
                for label, values_N in zip(store.classes[1:], values_NK.T, strict=True):
                    columns[f"{name}: {metric}, {label}"] = [_number(value) for value in values_N]
    elif store.boxes_NM7 is not None:
        for number, label in enumerate(store.classes):
            columns[f"objects: {label}"] = [
                str(count) for count in (store.boxes_NM7[rows, :, -1] == number).sum(axis=1)
            ]
            for name, found in systems.items():
                highest = np.where(found[..., -1] == number, found[..., -2], 0.0).max(axis=1)
                columns[f"{name}: {label}"] = [_number(value) for value in highest]
    else:
        columns["label"] = [store.classes[label] for label in store.labels[rows]]
        for name, prob_NK in systems.items():
            for label, prob_N in zip(store.classes[1:], prob_NK.T[1:], strict=True):
                columns[f"{name}: {label}"] = [_number(value) for value in prob_N]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def _number(value: float) -> str:
    return f"{value:.6f}" if np.isfinite(value) else ""
