"""Scores of predictions by the regions of BraTS: whole tumour (WT), tumour core (TC), enhancing tumour (ET)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from experiments.brain_tumor.network import TumourNetwork
from experiments.brain_tumor.predict import SUFFIX
from experiments.brain_tumor.report import write_report
from nas.data.io.brats_folder import CONVENTIONS, Convention, Subject, find_subjects, read_images, read_label
from nas.data.io.grid import oriented
from nas.data.sources.brats import REGIONS
from nas.errors import NASError
from nas.html.slices import Example, chosen_cases
from nas.metrics.bootstrap import GroupBootstrap
from nas.metrics.regions import METRICS, region_metrics, require_empty_rule
from nas.utils.files import write_text
from nas.utils.markdown_text import markdown_row, without_html
from nas.utils.optional import medical

SHOWN = ("dice", "hd95")  # in tables; the file has all
RULES = {
    "one": "Dice 1 and a distance of 0 mm",
    "zero": "Dice 0 and the diagonal of the image",
    "skip": "nothing, the subject does not count for it",
}


@dataclass(frozen=True, slots=True)
class Case:
    """A subject with its prediction.

    Attributes:
        subject: The subject.
        prediction: File of the prediction.
        part: Part of the training that the subject was in, or "new".
        scores: Region -> metric -> value.
    """

    subject: Subject
    prediction: Path
    part: str
    scores: Mapping[str, Mapping[str, float]]


def evaluate(cfg: DictConfig) -> dict[str, Any]:
    """Compare every prediction in `predictions` with the labels of the subject of its name, on the subject's own grid.

    Writes evaluation.json, table.md and report.html into `folder`.

    Args:
        cfg: The settings of conf/brain_tumor.yaml.

    Returns:
        The content of evaluation.json.

    Raises:
        NASError: If a setting is out of range, there is no prediction or no trained network, or a subject is missing.
    """
    require_empty_rule(cfg.empty)
    folder, network = Path(cfg.folder), TumourNetwork.load(cfg.training, cfg.allow_packages)
    modalities = network.modalities
    cases = []
    pairs = _pairs(Path(cfg.predictions), find_subjects(cfg.data.root, modalities))
    if cfg.data.labels not in (None, *CONVENTIONS):
        raise NASError(f"data.labels={cfg.data.labels}", f"null, {', '.join(CONVENTIONS)}", "correct data.labels")
    conventions = network.convention_of([subject for subject, _ in pairs], cfg.data.labels), network.convention
    numbers = conventions[0].labels
    for subject, path in pairs:
        _, truth_DHW, guess_DHW, spacing_mm = _volumes(subject, path, modalities, conventions)
        scores = region_metrics(guess_DHW, truth_DHW, REGIONS, spacing_mm, cfg.empty)
        cases.append(Case(subject, path, network.part_of(subject.name), scores))
    values = {
        f"{region} {metric}": np.array([case.scores[region][metric] for case in cases])
        for region in REGIONS
        for metric in METRICS
    }
    result: dict[str, Any] = {
        "arch_id": network.bundle.artifact.arch.id,
        "empty": cfg.empty,
        "regions": {region: [numbers[number] for number in classes] for region, classes in REGIONS.items()},
        "subjects": {case.subject.name: {"part": case.part, **case.scores} for case in cases},
        "mean": {name: _over(values_N, np.mean) for name, values_N in values.items()},
        "median": {name: _over(values_N, np.median) for name, values_N in values.items()},
    }
    if len(cases) > 1:
        bootstrap = GroupBootstrap(np.arange(len(cases)), np.zeros(len(cases)), cfg.resamples, cfg.seed)
        known = {name: values_N for name, values_N in values.items() if np.isfinite(values_N).any()}
        result["ci95"] = bootstrap.interval(
            lambda rows: {name: _over(values_N[rows], np.mean) for name, values_N in known.items()}
        )
    rows = _rows(cases, result)
    whole, core, enhancing = (_listed(numbers[number] for number in classes) for classes in REGIONS.values())
    note = f"WT: labels {whole}. TC: {core}. ET: {enhancing}."
    note += f" A region neither there nor predicted scores {RULES[cfg.empty]}."
    lost = [region for region in REGIONS if _over(values[f"{region} dice"], np.max) == 0]
    result["warnings"] = [f"No subject has a predicted voxel of {region} in the right place." for region in lost]
    note += "".join(f"\n\nwarning: {text}" for text in result["warnings"])
    write_text(folder / "evaluation.json", json.dumps(_without_nan(result), indent=1) + "\n")
    write_text(folder / "table.md", _markdown(rows, note))
    examples = _examples(cases, modalities, conventions)
    write_report(folder / "report.html", network, rows, note, [case.part for case in cases], examples)
    print(_markdown(rows, note))
    print(f"wrote {folder / 'evaluation.json'}, {folder / 'table.md'} and {folder / 'report.html'}")
    return result


def _pairs(predictions: Path, subjects: Sequence[Subject]) -> list[tuple[Subject, Path]]:
    found = sorted(predictions.glob(f"*{SUFFIX}"))
    if not found:
        raise NASError(
            f"no prediction in {predictions}", f"files <subject>{SUFFIX}", "predict first, or check predictions="
        )
    by_name = {subject.name: subject for subject in subjects}
    for path in found:
        if path.name.removesuffix(SUFFIX) not in by_name:
            raise NASError(
                f"{path} without a subject of its name", "a folder with labels for each prediction", "check data.root"
            )
    return [(by_name[path.name.removesuffix(SUFFIX)], path) for path in found]


def _volumes(
    subject: Subject, prediction: Path, modalities: Sequence[str], conventions: tuple[Convention, Convention]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, ...]]:
    """Read the last modality, true and predicted classes, each (D, H, W) turned to LPS, and the spacing in mm."""
    sitk = medical("SimpleITK")
    images = read_images(subject, modalities)
    assert subject.label is not None  # they were asked for
    files = zip((subject.label, prediction), conventions, strict=True)
    labels = [oriented(read_label(path, images[0], convention), labels=True) for path, convention in files]
    truth_DHW, guess_DHW = map(sitk.GetArrayFromImage, labels)
    image = oriented(images[-1])
    return sitk.GetArrayFromImage(image), truth_DHW, guess_DHW, image.GetSpacing()[::-1]


def _listed(labels: Iterable[int]) -> str:
    *first, last = map(str, labels)
    return f"{', '.join(first)} and {last}" if first else last


def _examples(
    cases: Sequence[Case], modalities: Sequence[str], conventions: tuple[Convention, Convention]
) -> list[Example]:
    """Examples of the report, whose rows run upwards; those of the volumes run to the back."""
    examples = []
    for place in chosen_cases(np.array([case.scores["WT"]["dice"] for case in cases])):
        case = cases[place]
        image, truth, guess, _ = _volumes(case.subject, case.prediction, modalities, conventions)
        dice = case.scores["WT"]["dice"]
        examples.append(Example(case.subject.name, image[:, ::-1], truth[:, ::-1], guess[:, ::-1], dice))
    return examples


def _over(values_N: np.ndarray, of: Callable[[np.ndarray], Any]) -> float:
    """Compute a statistic over the finite values; NaN if there are none."""
    known = values_N[np.isfinite(values_N)]
    return float(of(known)) if len(known) else float("nan")


def _without_nan(value: Any) -> Any:
    """Replace NaN, which JSON does not have, by null."""
    if isinstance(value, Mapping):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _rows(cases: Sequence[Case], result: Mapping[str, Any]) -> list[dict[str, str]]:
    """One row per subject; for several also their mean with its interval, and their median."""
    asked = [(region, metric) for metric in SHOWN for region in REGIONS]
    rows = [
        {"subject": f"{case.subject.name} ({case.part})"}
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


def _markdown(rows: Sequence[Mapping[str, str]], note: str) -> str:
    head = list(rows[0])
    lines = [markdown_row(head), "|---|" + "---:|" * (len(head) - 1)]
    lines += [markdown_row(row.values()) for row in rows]
    return without_html(note) + "\n\n" + "\n".join(lines) + "\n"
