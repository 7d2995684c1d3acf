"""Validation of files against the schemas of docs/reference/formats."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import optuna
import yaml
from jsonschema import Draft202012Validator

from tests.conftest import REPO

FORMATS = REPO / "docs/reference/formats"
NAMES = ("arch", "model", "plan", "result", "study", "trials-table")
BY_NAME = {"arch.json": "arch", "pareto/*.json": "arch", "model.json": "model", "result.json": "result"}


@cache
def schema(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FORMATS / f"{name}.schema.json").read_text())
    return content


def check(name: str, content: Any) -> None:
    """Fails with the place and the message of the first fault."""
    faults = sorted(Draft202012Validator(schema(name)).iter_errors(content), key=lambda fault: list(fault.path))
    assert not faults, f"{name} at {'/'.join(map(str, faults[0].path))}: {faults[0].message[:400]}"


def check_files(folder: Path) -> dict[str, int]:
    """Validates every file of these formats below a folder. Returns the number of files of each format."""
    counts = dict.fromkeys(NAMES, 0)
    for pattern, name in BY_NAME.items():
        for path in folder.rglob(pattern):
            check(name, json.loads(path.read_text()))
            counts[name] += 1
    for path in folder.rglob("plan.yaml"):
        check("plan", yaml.safe_load(path.read_text()))
        counts["plan"] += 1
    for path in folder.rglob("*.h5"):
        content = table_content(path)
        if "genes" in content["datasets"]:  # prepared data are .h5 too
            check("trials-table", content)
            counts["trials-table"] += 1
    for path in folder.rglob("study.db"):
        for name in optuna.get_all_study_names(f"sqlite:///{path}"):
            check("study", study_content(f"sqlite:///{path}", name))
            counts["study"] += 1
    return counts


def study_content(url: str, name: str) -> dict[str, Any]:
    study = optuna.load_study(study_name=name, storage=url)
    return {"study": study.user_attrs, "trials": [trial.user_attrs for trial in study.trials]}


def table_content(path: Path) -> dict[str, Any]:
    with h5py.File(path) as file:
        texts = ("objectives", "spec", "space", "facts")
        attributes = {name: json.loads(value) if name in texts else value for name, value in file.attrs.items()}
        if "format" in attributes:
            attributes["format"] = int(attributes["format"])
        datasets: dict[str, Any] = {}

        def add(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                datasets[name] = {"dtype": str(item.dtype), "shape": list(item.shape)}

        file.visititems(add)
    return {"attributes": attributes, "datasets": datasets}
