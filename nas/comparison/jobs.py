"""Output folders of searches and trainings, read as jobs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from nas.comparison.record import FAILED, FINISHED, RECORD, JobRecord
from nas.comparison.searches import ARCH, TRIALS, SearchOutcome, read_search
from nas.errors import NASError, first_line
from nas.inference.model_spec import RESULT
from nas.metrics.names import TRAINING_MACS
from nas.retraining.result import TrainResult
from nas.task_spec import TaskSpec
from nas.utils.files import read_json
from nas.utils.foreign import read_yaml

SEARCH, TRAINING = "search", "training"
UNFINISHED = "unfinished"  # running or killed
CONFIG = "config.yaml"
INNER = ("checkpoints", "bundles", "pareto", "random_search", "export")  # folders of a job that hold no other job
EVALUATIONS = "evaluation"  # of a training, on data of their own: compared if they are named
OWN_FILES = (CONFIG, RECORD, RESULT, TRIALS)
EFFORT = ("seconds", "epochs", TRAINING_MACS)  # of the trainings of a job
FIX = "name folders that run_search.py or run_train.py wrote"


@dataclass(frozen=True)
class Job:
    """A search or a training.

    Attributes:
        folder: Its output folder.
        kind: "search" or "training".
        state: "finished"; "failed" or "unfinished" (running or killed) have no result.
        reason: Reason of a failure; else empty.
        number: Position in its sweep; -1 if unknown.
        overrides: Settings of the command line as texts by key.
        choices: Chosen files of conf/ by group, for example {"strategy": "pop"}.
        config: The whole configuration.
        search: Result of a search.
        training: Result of a training.
        seconds: Seconds of training of its networks; NaN if unknown.
        epochs: Epochs of training of its networks; NaN if unknown.
        training_macs: Forward MACs of all samples that its networks were trained on; NaN if unknown.
        network: Of a training on several networks, the one that this job stands for, or their ensemble; else empty.
    """

    folder: Path
    kind: str
    state: str
    reason: str = ""
    number: int = -1
    overrides: Mapping[str, str] = field(default_factory=dict)
    choices: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    search: SearchOutcome | None = None
    training: TrainResult | None = None
    seconds: float = float("nan")
    epochs: float = float("nan")
    training_macs: float = float("nan")
    network: str = ""

    @property
    def key(self) -> tuple[Path, str]:
        """The folder and the network, which no other job has together."""
        return self.folder, self.network

    @property
    def seed(self) -> int | None:
        """Seed of the job; None if it is unknown, as that of a job that failed early."""
        if self.search is not None:
            return self.search.seed
        if self.training is not None:
            return self.training.seed
        given = self.config.get("seed", self.overrides.get("seed"))
        return int(given) if given is not None and str(given).lstrip("-").isdecimal() else None

    @property
    def data(self) -> tuple[str, str] | None:
        """Name and hash of the data set; None without a result."""
        if self.search is not None:
            return self.search.data
        return None if self.training is None else (self.training.data["name"], self.training.data["sha256"])

    @property
    def task(self) -> Mapping[str, Any]:
        """Kind, dimensions, channels and outputs of the task; empty without a result or if it was not recorded."""
        if self.search is not None:
            spec: Mapping[str, Any] = self.search.task
        else:
            spec = {} if self.training is None else self.training.task.get("spec", {})
        return {item.name: spec[item.name] for item in fields(TaskSpec) if item.name in spec}


def read_jobs(paths: Sequence[str | Path]) -> list[Job]:
    """Read the searches and trainings below folders.

    Args:
        paths: Folders of sweeps or of single jobs, searched recursively; also result.json files of trainings.

    Returns:
        The jobs in the order of the paths, those of a sweep in the order of the sweep; a training on several networks
        is one job for each of them and one for their ensemble. Jobs without a result are included if others below the
        same path have one.

    Raises:
        NASError: If a path has no finished job, or a file is damaged.
    """
    jobs: dict[Path, list[Job]] = {}
    for path in map(Path, paths):
        found = [_of_file(path)] if path.is_file() else [read_job(folder) for folder in job_folders(path)]
        if not any(job.state == FINISHED for job in found):
            states = ", ".join(f"{job.folder.name} {job.state}" for job in found[:3])
            got = f"{path} without a finished search or training" if path.exists() else f"{path}, which does not exist"
            raise NASError(got + (f" ({states})" if states else ""), "a folder with a result", FIX)
        for job in sorted(found, key=lambda job: (job.number, natural(str(job.folder)))):
            jobs.setdefault(job.folder.resolve(), by_network(job))
    return [job for members in jobs.values() for job in members]


def by_network(job: Job) -> list[Job]:
    """Split a training on several networks.

    Args:
        job: A job.

    Returns:
        The ensemble and each network of a training on several; else the job itself.
    """
    if job.training is None or len(job.training.ensembles) < 2:
        return [job]
    names, ids = list(job.training.ensembles), _ids_by_name(job.folder)
    unknown = dict.fromkeys(EFFORT, math.nan)
    efforts = {job.training.name: {name: getattr(job, name) for name in EFFORT}}
    for name in names:
        if name in ids and name not in efforts:  # of the others, result.json states no MACs
            efforts[name] = unknown | _training_effort(job.folder, ids[name], math.nan)
    if len(rest := [name for name in names if name not in efforts]) == 1:  # the ensemble of all
        efforts[rest[0]] = {key: sum(effort[key] for effort in efforts.values()) for key in EFFORT}
    return [replace(job, network=name, **efforts.get(name, unknown)) for name in names]


def _ids_by_name(folder: Path) -> dict[str, str]:
    """Name in the tables -> id of the architecture, of the networks with bundles (`Artifact.name`)."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("bundles/*/*/arch.json")):
        number = path.parts[-3]
        try:
            published = read_json(path)["provenance"].get("published")
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # no comparison needs it
        found.setdefault(str(published or f"searched {number}"), number)
    return found


def job_folders(path: Path) -> Iterator[Path]:
    """Find the output folders of jobs.

    Args:
        path: A folder.

    Yields:
        The folder itself and those below it that belong to a job, in order of name.
    """
    if not path.is_dir():
        return
    is_job = any((path / name).is_file() for name in OWN_FILES)
    if is_job:
        yield path
    inner = (*INNER, EVALUATIONS) if is_job else INNER
    for folder in sorted(entry for entry in path.iterdir() if entry.is_dir()):
        if folder.name not in inner and not folder.name.startswith("."):
            yield from job_folders(folder)


def natural(text: str) -> list[tuple[int, str]]:
    """Return a key that sorts seed=2 before seed=10.

    Args:
        text: The text.

    Returns:
        The key.
    """
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]


def _of_file(path: Path) -> Job:
    if path.name in (ARCH, RESULT):
        return read_job(path.parent)
    return Job(path.parent, TRAINING, FINISHED, training=TrainResult.load(path))


def read_job(folder: Path) -> Job:
    """Read the output folder of one job.

    Args:
        folder: The folder.

    Returns:
        The job, with or without a result.

    Raises:
        NASError: If a file is damaged.
    """
    record, config = JobRecord.load(folder), _config(folder / CONFIG)
    training = TrainResult.load(folder / RESULT) if (folder / RESULT).is_file() else None
    search = read_search(folder) if training is None and (folder / ARCH).is_file() else None
    as_training = training is not None or "protocol" in config or (record is not None and record.command == "train")
    kind = TRAINING if as_training else SEARCH
    facts: dict[str, Any] = {"config": config}
    if record is not None:
        facts |= {"number": record.number, "overrides": record.overrides, "choices": record.choices}
    if _failed(folder, record):
        assert record is not None
        return Job(folder, kind, FAILED, record.reason, **facts)
    if search is not None:
        facts |= {"seconds": float(search.seconds_N.sum()), "epochs": search.epochs}
        facts[TRAINING_MACS] = search.training_macs
    elif training is not None:
        macs = float(training.costs.get("macs", "nan"))
        facts |= _training_effort(folder, training.arch_id, macs)
    else:
        return Job(folder, kind, UNFINISHED, **facts)
    return Job(folder, kind, FINISHED, search=search, training=training, **facts)


def _failed(folder: Path, record: JobRecord | None) -> bool:
    """Whether a job failed and no result was written after it began: of the workers of one search, one may fail."""
    times = [(folder / name).stat().st_mtime for name in (ARCH, RESULT) if (folder / name).is_file()]
    return record is not None and record.state == FAILED and max(times, default=-1.0) < record.started


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = read_yaml(path)
    except (OSError, ValueError) as error:
        raise NASError(f"{path} ({first_line(error)})", "the configuration of a job", FIX) from error
    if not isinstance(content, dict):
        raise NASError(f"{path} of type {type(content).__name__}", "the configuration of a job", FIX)
    return content


def _training_effort(folder: Path, arch_id: str, macs: float) -> dict[str, float]:
    """Seconds, epochs and MACs of a network's trainings, from the specifications of its bundles; {} without bundles."""
    trained = []
    for spec in sorted(folder.glob(f"bundles/{arch_id}/*/model.json")):
        try:
            facts = read_json(spec)["facts"]["trained"]
            seconds, epochs = float(facts["seconds"]), float(facts["epochs"])
            seen = float(facts.get("seen", epochs * facts.get("samples", {}).get("train", math.nan)))
            trained.append((seconds, epochs, macs * seen))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NASError(f"{spec} ({first_line(error)})", "the specification of a trained network", FIX) from error
    if not trained:
        return {}
    return dict(zip(EFFORT, map(sum, zip(*trained, strict=True)), strict=True))
