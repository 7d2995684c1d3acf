"""MODEL_CARD.md: description of a trained network, from its model.json and, after the test, from result.json.

Form: Mitchell et al., Model Cards for Model Reporting, FAT* 2019 (arXiv 1810.03993). The same files give the same text.
Needs the standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nas.inference.model_spec import ModelSpec
from nas.utils.markdown_text import markdown_row, markdown_text

MODEL_CARD = "MODEL_CARD.md"
DOES = {
    "classification": "assigns a volume to one of the classes",
    "segmentation": "assigns every voxel to one of the classes",
    "detection": "finds boxes around objects of the classes",
    "regression": "predicts a number from a volume",
}
NEVER_TESTED = (
    "Images of other hospitals, scanners, protocols or populations than those of the data above. "
    "`voxnas evaluate` measures the network on labelled images that it has not seen.",
    "Damaged images: motion, metal, noise or missing parts beyond those that occur in the data.",
    "Agreement with readers, and any effect on decisions or on patients.",
)


def model_card(spec: ModelSpec, tested: Mapping[str, Any] | None = None) -> str:
    """Write the card of a trained network.

    Args:
        spec: Content of its model.json.
        tested: Results on the test part, as `nas.retraining.model_cards.tested_facts` gives them; None before the test.

    Returns:
        Markdown.
    """
    network = spec.facts.get("network") or {}
    name = str(network.get("name") or network.get("id") or "network")
    parts = [
        f"# Model card: {markdown_text(name)}",
        _lines(_model(spec, network)),
        "## Intended use",
        _use(spec),
        "## Data",
        _lines(_data(spec, tested)),
        "## Input and prediction",
        _lines(_input(spec)),
        "## Results",
        _results(spec, tested),
        "## Not tested",
        _lines(_not_tested(spec, tested)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _model(spec: ModelSpec, network: Mapping[str, Any]) -> list[str]:
    trained, versions = _trained(spec), spec.facts.get("versions") or {}
    found = [
        f"Architecture: {network.get('id', 'unknown')} of the search space {network.get('space', 'unknown')}",
        f"Task: {spec.task.get('kind', 'unknown')} in {spec.task.get('dims', '?')}D; classes: {_listed(spec.classes)}",
    ]
    if "round" in trained:
        text = f"Training: fold {trained['round']}, seed {trained.get('seed', 'unknown')}"
        if {"epochs", "best_epoch"} <= set(trained):
            text += f", {trained['epochs']} epochs, the best of them number {trained['best_epoch']}"
        found.append(text)
    for file, checksum in spec.weights.items():
        found.append(f"Weights: {file}, SHA-256 {checksum}")
    if versions:
        found.append("Versions: " + ", ".join(f"{key} {value}" for key, value in versions.items()))
    return found


def _use(spec: ModelSpec) -> str:
    kind = str(spec.task.get("kind", ""))
    does = DOES.get(kind, f"solves a task of {kind}")
    text = f"Research on images like those of its training data. The network {does}"
    text += f" ({markdown_text(_listed(spec.classes))}). It is not a medical device."
    if kind == "classification":
        text += " Every image gets one of these answers, also an image that shows none of the classes."
    return text


def _data(spec: ModelSpec, tested: Mapping[str, Any] | None) -> list[str]:
    trained = _trained(spec)
    data, split = trained.get("data") or {}, trained.get("split") or {}
    if not data:
        return ["Not recorded."]
    unit = split.get("unit", "patient")
    found = [f"Data set: {data.get('name')}, {data.get('n', '?')} samples, SHA-256 {data.get('sha256', 'unknown')}"]
    for key, value in ((tested or {}).get("origin") or {}).items():
        found.append(f"{str(key).capitalize()}: {value}")
    if split:
        found.append(f"Split by {unit}, SHA-256 {split.get('sha256', 'unknown')}")
    groups = trained.get("groups") or {}
    words = {"train": "training", "valid": "validation", "test": "test"}
    counts = [
        f"{words.get(part, part)} {count} samples of {len(groups.get(part, ()))} {unit}s"
        for part, count in (trained.get("samples") or {}).items()
    ]
    if counts:
        found.append("Parts of this network: " + "; ".join(counts))
    if split.get("overfit"):
        found.append("All samples are in the training, the validation and the test part (split.overfit).")
    return found


def _input(spec: ModelSpec) -> list[str]:
    port = spec.inputs[0]
    channels = f" ({_listed(port.channels)})" if port.channels else ""
    found = [f"Input of the training: {' x '.join(map(str, port.shape[1:]))}, axes {port.axes[1:]}{channels}"]
    hidden = ("intensity", "channels")  # numbers for each fold, and what the line above states
    found += [f"Preparation, {key}: {_value(value)}" for key, value in spec.preparation.items() if key not in hidden]
    found += [f"Prediction, {key}: {_value(value)}" for key, value in spec.inference.items()]
    return found


def _results(spec: ModelSpec, tested: Mapping[str, Any] | None) -> str:
    validation = spec.facts.get("validation") or {}
    chosen = ""
    if validation:
        rows = [[name, f"{float(value):.4g}"] for name, value in validation.items()]
        chosen = "On the validation part, on which the epoch was chosen, so that these are no test scores:\n\n"
        chosen += _table(["metric", "value"], rows)
    if not tested:
        return "No test yet." + (f"\n\n{chosen}" if chosen else "")
    parts = [str(tested["caption"]), _table(tested["head"], tested["rows"]), _lines(tested["lines"])]
    if tested.get("subgroups"):
        parts += [str(tested["subgroup_note"]), _table(tested["subgroup_head"], tested["subgroups"])]
    return "\n\n".join(part for part in [*parts, chosen] if part)


def _not_tested(spec: ModelSpec, tested: Mapping[str, Any] | None) -> list[str]:
    found = list(NEVER_TESTED)
    if not tested:
        return ["Anything beyond the validation part.", *found]
    if not tested.get("subgroups"):
        found.append("Subgroups such as sex, age or scanner: the data state none.")
    if small := tested.get("small"):
        found.append(f"Subgroups with too few cases to conclude from: {'; '.join(small)}.")
    if not tested.get("calibrated"):
        found.append("Calibration of the predictions.")
    return found


def _trained(spec: ModelSpec) -> Mapping[str, Any]:
    trained = spec.facts.get("trained")
    return trained if isinstance(trained, Mapping) else {}


def _listed(names: Sequence[Any]) -> str:
    return ", ".join(map(str, names)) or "unnamed"


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return _listed([_value(one) for one in value]) if isinstance(value, list | tuple) else str(value)


def _lines(texts: Sequence[str]) -> str:
    return "\n".join(f"- {markdown_text(text)}" for text in texts)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = "| --- |" + " ---: |" * (len(head) - 1)
    return "\n".join([markdown_row(head), rule, *map(markdown_row, rows)])
