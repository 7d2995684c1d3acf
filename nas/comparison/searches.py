"""The result of a search, read from its output folder without its space, its data or PyTorch."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nas.architecture import Architecture
from nas.errors import NASError, first_line
from nas.history import History, State, Trial
from nas.metrics.names import COLLAPSED, REPEATED, TRAINING_MACS
from nas.multiobjective.constraints import Constraint
from nas.provenance import Provenance
from nas.trials_csv import OVER_REPLICATES
from nas.utils.files import read_json
from nas.utils.foreign import MOST_CSV_BYTES, require_regular
from nas.utils.spreadsheet import text_of

ARCH, TRIALS = "arch.json", "trials.csv"
SECONDS, EPOCHS = "seconds", "epochs"  # metrics of a trial that are measures of its cost
COST = (SECONDS, EPOCHS, TRAINING_MACS)
CONTINUED = ("constant", "warm_restarts")  # schedules with which a larger budget continues a smaller one
OF_TRAINING = (SECONDS, EPOCHS, TRAINING_MACS, COLLAPSED, REPEATED)
FIX = "copy the folder again, or run the search again"
SCORES = {"classification": "auc", "segmentation": "dice", "detection": "map50"}  # of files of earlier versions
OF_TRIAL = ("number", "state", "arch_id", "genes", "budget", "replicate", "wall_seconds", "worker", "reason")
NO_METRICS = (*OF_TRIAL, *OVER_REPLICATES)


@dataclass(frozen=True)
class SearchOutcome:
    """A finished search.

    Attributes:
        arch_id: Id of the chosen network.
        metrics: Its validation metrics and costs.
        seed: Seed of the search.
        data: Name and hash of the data set.
        split: Hash of the split.
        task: Kind, dimensions, channels and outputs of the task.
        history: All trials, in order of number.
        seconds_N: (N,) seconds of training of each trial.
        arch_ids: Id of the network of each trial.
    """

    arch_id: str
    metrics: Mapping[str, float]
    seed: int
    data: tuple[str, str]
    split: str
    task: Mapping[str, Any]
    history: History
    seconds_N: np.ndarray
    arch_ids: tuple[str, ...]

    @property
    def epochs(self) -> float:
        """Epochs of training of all trials; NaN if they were not recorded."""
        return self._total(EPOCHS)

    @property
    def training_macs(self) -> float:
        """Forward MACs of all samples that the networks of all trials were trained on; NaN if not recorded."""
        return self._total(TRAINING_MACS)

    def _total(self, name: str) -> float:
        done = self.history.complete()
        known = [trial.metrics[name] for trial in done if name in trial.metrics]
        return float(sum(known)) if known and len(known) == len(done) else float("nan")

    @cached_property
    def ended(self) -> tuple[Trial, ...]:
        """Ended trials; a finished one that breaks a constraint counts as failed, as it can never be chosen."""
        trials = [trial for trial in self.history if trial.state is not State.RUNNING]
        excess_N = {trial.number: 0.0 for trial in trials}
        done = [trial for trial in trials if trial.state is State.COMPLETE]
        excess_N |= dict(zip((trial.number for trial in done), self.history.violations(done).tolist(), strict=True))
        return tuple(trial if excess_N[trial.number] == 0 else replace(trial, state=State.FAILED) for trial in trials)


def read_search(folder: Path) -> SearchOutcome:
    """Read the folder of a finished search.

    Args:
        folder: Folder with arch.json and trials.csv.

    Returns:
        The search.

    Raises:
        NASError: If a file is missing or damaged, or the architecture was not found by a search.
    """
    path = folder / ARCH
    try:
        content = read_json(path)
        record = Provenance.from_json(content["provenance"], int(content["schema"])).search
        if record is None:
            raise NASError(f"{path} without a search", "an architecture that a search found", "leave the folder out")
        metrics = {str(name): float(value) for name, value in content["metrics"].items()}
        trials, ids, seconds_N = _read_trials(folder / TRIALS)
        if _continues(record.config):
            trials, seconds_N = _without_earlier_steps(trials, seconds_N)
        objectives = record.objectives or _objectives(record.config["objectives"], content["task"]["kind"])
        constraints = record.constraints if record.objectives else record.config.get("constraints", ())
        history = History(trials, objectives, _no_cost, constraints=tuple(map(Constraint.parse, constraints)))
        return SearchOutcome(
            arch_id=str(content["id"]),
            metrics=metrics,
            seed=record.seed,
            data=(record.data.name, record.data.sha256),
            split=record.split.sha256,
            task=dict(content["task"]),
            history=history,
            seconds_N=seconds_N,
            arch_ids=ids,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NASError(f"{path} ({first_line(error)})", "the arch.json of a search", FIX) from error


def _objectives(recorded: Mapping[str, str | None], kind: str) -> dict[str, str]:
    """Objectives of a file of an earlier version, which recorded the word "score" for the score of the task."""
    given = {name: way for name, way in recorded.items() if way is not None}
    return {SCORES[kind] if name == "score" else name: str(way) for name, way in given.items()}


def _read_trials(path: Path) -> tuple[tuple[Trial, ...], tuple[str, ...], np.ndarray]:
    """Trials, ids of their networks, and seconds (N,): the metric `seconds`, else those from start to end."""
    try:
        require_regular(path, MOST_CSV_BYTES)
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
        trials, ids, seconds = [], [], []
        for row in rows:
            texts = {name: text for name, text in row.items() if name not in NO_METRICS and text}
            metrics = {name: float(text) for name, text in texts.items()}
            arch = Architecture("", tuple(map(int, row["genes"].split())))
            state = State(row["state"])
            replicate = int(row.get("replicate") or 0)  # earlier versions had no replicates
            number, budget = int(row["number"]), int(row["budget"])
            trials.append(Trial(number, arch, budget, state, metrics, text_of(row["reason"]), replicate=replicate))
            ids.append(row["arch_id"])
            seconds.append(metrics.get(SECONDS, float(row["wall_seconds"] or 0)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise NASError(f"{path} ({first_line(error)})", "the trials of a search", FIX) from error
    return tuple(trials), tuple(ids), np.array(seconds, dtype=np.float64)


def _continues(config: Mapping[str, Any]) -> bool:
    """Whether trainings with a larger budget continued, so that their time and epochs include those before."""
    evaluator = config.get("evaluator")
    settings = evaluator.get("settings") if isinstance(evaluator, Mapping) else None
    return isinstance(settings, Mapping) and settings.get("schedule") in CONTINUED


def _without_earlier_steps(trials: tuple[Trial, ...], seconds_N: np.ndarray) -> tuple[tuple[Trial, ...], np.ndarray]:
    """Subtract what the trials of smaller budgets of the same training have cost already."""
    found, own_N = list(trials), seconds_N.copy()
    done = [row for row, trial in enumerate(trials) if trial.state is State.COMPLETE]
    last: dict[tuple[tuple[int, ...], int], int] = {}
    for row in sorted(done, key=lambda row: trials[row].budget):
        trial = trials[row]
        before = last.get((trial.arch.genes, trial.replicate))
        if before is not None:
            earlier = trials[before].metrics
            less = {
                name: trial.metrics[name] - earlier[name] for name in COST if name in earlier and name in trial.metrics
            }
            found[row] = replace(trial, metrics={**trial.metrics, **less})
            own_N[row] -= seconds_N[before]
        last[trial.arch.genes, trial.replicate] = row
    return tuple(found), own_N


def _no_cost(genes_NG: np.ndarray) -> np.ndarray:
    """Return NaN: the metrics of a finished search hold all its costs."""
    return np.full(len(genes_NG), np.nan)
