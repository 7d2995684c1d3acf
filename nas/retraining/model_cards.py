"""The cards of all networks of a training, written after the test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.data.store import VolumeStore
from nas.inference.model_card import MODEL_CARD, model_card
from nas.inference.model_spec import BUNDLES, MODEL_JSON, ModelSpec
from nas.retraining.calibration_text import calibration_line
from nas.retraining.result import TrainResult
from nas.retraining.scoring import System
from nas.retraining.subgroups import SMALL, subgroup_note, subgroup_rows
from nas.retraining.tables import caption
from nas.utils.files import write_text

ORIGIN = ("source", "licence", "license", "citation")  # entries of a store's provenance


def write_model_cards(folder: Path, result: TrainResult, systems: Sequence[System], store: VolumeStore) -> None:
    """Write MODEL_CARD.md into the bundles of every network of a training that was tested.

    Args:
        folder: Folder of the training.
        result: Its result.
        systems: All systems of its table.
        store: The data.
    """
    for system in systems:
        for path in sorted(folder.glob(f"{BUNDLES}/{system.arch_id}/*/{MODEL_JSON}")) if system.arch_id else ():
            spec = ModelSpec.load(path, sealed=False)
            facts = tested_facts(result, system.name, path.parent.name, store.provenance)
            write_text(path.with_name(MODEL_CARD), model_card(spec, facts))


def tested_facts(result: TrainResult, name: str, fold: str, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Collect the results of a test for one network.

    Args:
        result: The result of its training.
        name: Name of its system in the table.
        fold: Name of its fold.
        provenance: Source and licence of the data, as the store records them.

    Returns:
        caption, head and rows of the table (the system with intervals, the network of this fold, the systems beside
        it), lines, subgroups, small, calibrated and origin.
    """
    metrics = result.columns
    scored = {**result.ensembles, **result.baselines}
    scores = scored.get(name, {})
    pooled = f"all {len(result.folds)} networks of {name}" if len(result.folds) > 1 else name
    rows = [_row(pooled, scores, metrics)]
    if name == result.name and len(result.folds) > 1:
        own = next((one for one in result.folds if one["fold"] == fold), None)
        rows += [] if own is None else [_row(f"this network ({fold}) alone", own, metrics)]
    rows += [_row(other, values, metrics) for other, values in scored.items() if other != name]
    is_headline = name == result.headline.get("system", result.name)
    differences = result.score_differences if is_headline else []
    lines = [found.line(name, other) for other, found in differences]
    calibration = calibration_line(result.calibration) if is_headline else ""
    lines += [calibration[:1].upper() + calibration[1:]] if calibration else []
    lines += [f"Warning: {text}" for text in result.warnings]
    facts: dict[str, Any] = {
        "caption": f"{caption(result)}.",
        "head": ["system", *(metric.heading for metric in metrics)],
        "rows": rows,
        "lines": lines,
        "calibrated": bool(calibration),
        "origin": {key: provenance[key] for key in ORIGIN if _is_public(provenance.get(key))},
    }
    if result.subgroups and is_headline:
        head, *of_subgroups = subgroup_rows(result.subgroups, metrics)
        unit = str(result.split.get("unit", "patient"))
        facts |= {
            "subgroup_head": head,
            "subgroups": of_subgroups,
            "subgroup_note": subgroup_note(result.subgroups, unit),
        }
        facts["small"] = [row[0].removesuffix(f" ({SMALL})") for row in of_subgroups if row[0].endswith(f"({SMALL})")]
    return facts


def _is_public(value: Any) -> bool:
    """Whether a text is no path of this machine, which has no place in a file that is passed on."""
    return isinstance(value, str) and ("://" in value or not any(sign in value for sign in "/\\"))


def _row(name: str, scores: Mapping[str, Any], metrics: Sequence[Any]) -> list[str]:
    ci95, cells = scores.get("ci95", {}), [name]
    for metric in metrics:
        text = f"{float(scores[metric.name]):.{metric.digits}f}" if metric.name in scores else "–"
        if metric.name in ci95:
            low, high = ci95[metric.name]
            text += f" [{low:.{metric.digits}f}, {high:.{metric.digits}f}]"
        cells.append(text)
    return cells
