"""Scores predictions by the regions of BraTS: whole tumour (WT), tumour core (TC), enhancing tumour (ET)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from experiments.brain_tumor.predict import SUFFIX
from experiments.brain_tumor.report import Case, write_report
from experiments.brain_tumor.system import System
from nas.data.brats import REGIONS
from nas.data.brats_folder import LABELS, Subject, find_subjects, read_images, read_label
from nas.data.image_io import medical
from nas.errors import NASError
from nas.files import write_text
from nas.stats import GroupBootstrap
from nas.tasks.regions import region_metrics, require_empty_rule

SHOWN = ("dice", "hd95")  # in tables; the file has all


def evaluate(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """Every prediction in `predictions` against the labels of the subject of its name, on the subject's own grid.

    Writes evaluation.json, table.md and report.html into `folder`. Raises NASError for a user's mistake.
    """
    require_empty_rule(cfg.empty)
    system = System.load(folder, cfg.allow_packages)
    modalities = system.preparation.modalities
    pairs = _pairs(Path(cfg.predictions), find_subjects(cfg.data.root, modalities))
    cases = [_case(subject, path, modalities, cfg.empty, system.part_of(subject.name)) for subject, path in pairs]
    columns = {f"{region} {metric}": (region, metric) for region in REGIONS for metric in cases[0].scores[region]}
    values_NM = np.array([[case.scores[region][metric] for region, metric in columns.values()] for case in cases])
    known = np.isfinite(values_NM).any(axis=0)
    result: dict[str, Any] = {
        "arch_id": system.network.arch.id,
        "empty": cfg.empty,
        "regions": {region: [LABELS[number] for number in classes] for region, classes in REGIONS.items()},
        "subjects": {case.name: {"part": case.part, **case.scores} for case in cases},
        "mean": _summary(columns, known, values_NM, np.nanmean),
        "median": _summary(columns, known, values_NM, np.nanmedian),
    }
    if len(cases) > 1:
        bootstrap = GroupBootstrap(np.arange(len(cases)), np.zeros(len(cases)), cfg.resamples, cfg.seed)
        kept = {name: values_NM[:, i] for i, name in enumerate(columns) if known[i]}
        result["ci95"] = bootstrap.interval(
            lambda rows: {name: _mean(values_N[rows]) for name, values_N in kept.items()}
        )
    rows = _rows(cases, result)
    write_text(folder / "evaluation.json", json.dumps(_without_nan(result), indent=1) + "\n")
    write_text(folder / "table.md", _markdown(rows, cfg.empty))
    write_report(folder / "report.html", system, cases, rows, cfg.empty)
    print(_markdown(rows, cfg.empty))
    print(f"wrote {folder / 'evaluation.json'}, {folder / 'table.md'} and {folder / 'report.html'}")
    return result


def _pairs(predictions: Path, subjects: Sequence[Subject]) -> list[tuple[Subject, Path]]:
    found = sorted(predictions.glob(f"*{SUFFIX}"))
    if not found:
        raise NASError(
            f"no prediction in {predictions}", f"files <subject>{SUFFIX}", "predict first, or mend predictions"
        )
    by_name = {subject.name: subject for subject in subjects}
    for path in found:
        if path.name.removesuffix(SUFFIX) not in by_name:
            raise NASError(
                f"{path} without a subject of its name", "a folder with labels for each prediction", "mend data.root"
            )
    return [(by_name[path.name.removesuffix(SUFFIX)], path) for path in found]


def _case(subject: Subject, path: Path, modalities: Sequence[str], empty: str, part: str) -> Case:
    sitk = medical("SimpleITK")
    images = read_images(subject, modalities)
    assert subject.label is not None  # they were asked for
    truth, guess = (read_label(file, images[0]) for file in (subject.label, path))
    truth_DHW, guess_DHW = (np.searchsorted(LABELS, sitk.GetArrayFromImage(label)) for label in (truth, guess))
    scores = region_metrics(guess_DHW, truth_DHW, REGIONS, truth.GetSpacing()[::-1], empty)
    return Case(subject.name, part, scores, sitk.GetArrayFromImage(images[-1]), truth_DHW, guess_DHW)


def _summary(columns: Mapping[str, object], known: np.ndarray, values_NM: np.ndarray, of: Any) -> dict[str, float]:
    """Over the subjects that count; NaN where none does."""
    return {name: float(of(values_NM[:, i])) if known[i] else float("nan") for i, name in enumerate(columns)}


def _mean(values_N: np.ndarray) -> float:
    return float(np.nanmean(values_N)) if np.isfinite(values_N).any() else float("nan")


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: null instead."""
    if isinstance(value, Mapping):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _rows(cases: Sequence[Case], result: Mapping[str, Any]) -> list[dict[str, str]]:
    """One a subject and, of several, their mean with its interval and their median."""
    asked = [(region, metric) for metric in SHOWN for region in REGIONS]
    rows = [
        {"subject": f"{case.name} ({case.part})"}
        | {_heading(region, metric): _number(metric, case.scores[region][metric]) for region, metric in asked}
        for case in cases
    ]
    if len(cases) == 1:
        return rows
    means, medians = ({"subject": f"{name} of {len(cases)}"} for name in ("mean", "median"))
    for region, metric in asked:
        key, heading = f"{region} {metric}", _heading(region, metric)
        low, high = result["ci95"].get(key, (float("nan"),) * 2)
        interval = f" [{_number(metric, low)}, {_number(metric, high)}]"
        means[heading] = _number(metric, result["mean"][key]) + interval
        medians[heading] = _number(metric, result["median"][key])
    return [*rows, means, medians]


def _heading(region: str, metric: str) -> str:
    return f"{region} Dice" if metric == "dice" else f"{region} HD95 (mm)"


def _number(metric: str, value: float) -> str:
    return "–" if not np.isfinite(value) else f"{value:.3f}" if metric == "dice" else f"{value:.1f}"


def _markdown(rows: Sequence[Mapping[str, str]], empty: str) -> str:
    head = list(rows[0])
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    lines += ["| " + " | ".join(row.values()) + " |" for row in rows]
    note = "labels WT 1, 2, 4; TC 1, 4; ET 4"
    return f"{note}; a region neither there nor predicted: {empty}\n\n" + "\n".join(lines) + "\n"
