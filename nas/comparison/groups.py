"""The settings by which jobs differ, and groups of jobs that differ in their seed only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.comparison.jobs import SEARCH, TRAINING, Job
from nas.comparison.record import FINISHED
from nas.errors import NASError

SEED, SEARCH_SEED, ARCH, NAME, TARGET = "seed", "search_seed", "arch", "name", "_target_"
GROUPS = ("space", "strategy", "fidelity", "evaluator", "data", "split", "task", "training", "study", "experiment")
NETWORK = "network"  # of a training on several
# settings of a machine, a worker or a folder, which decide no result
LOCAL = ("device", "worker", "allow_packages", "data_root", "data_cache", "tracking", "name", "folder", "cwd")
LOCAL_KEYS = ("study.name", "study.url", "study.lease_s", "data.root", "data.cache_dir", "dry_run")
COPIES = "evaluator.settings."  # the evaluator's copy of `training`


@dataclass(frozen=True)
class Group:
    """Jobs of one kind that differ in their seed only.

    Attributes:
        label: Values of the varied settings, for example "pop" or "strategy=pop, split.folds=3".
        settings: The varied settings as texts by key.
        jobs: Finished jobs in rising order of seed, by the seeds that tell them apart.
    """

    label: str
    settings: Mapping[str, str]
    jobs: Mapping[tuple[int, ...], Job]


def varied_keys(jobs: Sequence[Job], kind: str) -> list[str]:
    """Find the settings by which jobs of one kind differ, beside the seed.

    Jobs of a sweep differ in the settings of its command line; others in any setting of their configurations.

    Args:
        jobs: The jobs.
        kind: "search" or "training".

    Returns:
        Keys, such as "strategy" or "space.widths".
    """
    own = [job for job in jobs if job.kind == kind]
    candidates = dict.fromkeys(key for job in own for key in _candidates(job, own))
    known = {key: {value_of(job, key) for job in own if job.config or key in job.overrides} for key in candidates}
    return [key for key, values in known.items() if len(values) > 1]


def searches_of_trainings(jobs: Sequence[Job]) -> Iterator[tuple[Job, Job]]:
    """Find the trainings of networks that searches among the jobs found.

    Args:
        jobs: The jobs.

    Yields:
        Training and search, by the path in the training's setting `arch` and the id of the network.
    """
    searches = [job for job in jobs if job.search is not None]
    for job in jobs:
        path = job.config.get(ARCH, job.overrides.get(ARCH))
        if job.kind != TRAINING or not isinstance(path, str) or not path.endswith(".json"):
            continue
        parts = Path(path).parent.parts
        own = [job.training.arch_id] if job.training is not None else []
        for search in searches:
            same_folder = search.folder.resolve().parts[-len(parts) :] == parts if parts else False
            if same_folder and search.search is not None and own in ([], [search.search.arch_id]):
                yield job, search
                break


def value_of(job: Job, key: str) -> str:
    """Return the value of a setting.

    Args:
        job: The job.
        key: The setting, for example "space.widths", or a group of conf/ such as "strategy".

    Returns:
        Its text; empty if the job has no such setting.
    """
    if key in job.choices:
        return job.choices[key]
    value: Any = job.config
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return job.overrides.get(key, "")
        value = value[part]
    return _class_of(job, key) if key in GROUPS and _class_of(job, key) else as_text(value)


def as_text(value: Any) -> str:
    """Write a setting as on the command line.

    Args:
        value: A plain value.

    Returns:
        For example "[4,8]".
    """
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple | Mapping):
        return json.dumps(value, separators=(",", ":")).replace('"', "")
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def settings_of(jobs: Sequence[Job]) -> dict[tuple[Path, str], dict[str, str]]:
    """Return the varied settings of every job.

    A training of a network that a search of the same comparison found has the settings of that search in place of the
    network's file.

    Args:
        jobs: The jobs.

    Returns:
        Key of the job -> setting -> text; a training of a searched network also has "search_seed", one on several
        networks "network".
    """
    of_kind = {kind: varied_keys(jobs, kind) for kind in (SEARCH, TRAINING)}
    searched = {job.folder: search for job, search in searches_of_trainings(jobs)}
    settings = {}
    for job in jobs:
        own = {key: value_of(job, key) for key in of_kind[job.kind]}
        search = searched.get(job.folder)
        if search is not None and search.search is not None:
            own.pop(ARCH, None)
            own = {key: value_of(search, key) for key in of_kind[SEARCH] if key not in own} | own
            own[SEARCH_SEED] = str(search.search.seed)
        settings[job.key] = own | ({NETWORK: job.network} if job.network else {})
    return settings


def groups_of(jobs: Sequence[Job], kind: str) -> list[Group]:
    """Put jobs that differ in their seed only into groups.

    Args:
        jobs: All jobs of the comparison.
        kind: "search" or "training".

    Returns:
        Groups of the finished jobs of that kind, in the order in which the jobs are given.

    Raises:
        NASError: If two jobs have equal settings and one seed.
    """
    settings = settings_of(jobs)
    own = [job for job in jobs if job.kind == kind and job.state == FINISHED]
    named = _names_tell_apart(own, settings)
    members: dict[tuple[tuple[str, str], ...], dict[tuple[int, ...], Job]] = {}
    for job in own:
        given = {key: text for key, text in settings[job.key].items() if text}
        seed = given.pop(SEARCH_SEED, None)
        if named:
            given[NAME] = _name(job)
        assert job.seed is not None
        seeds = (job.seed,) if seed is None else (int(seed), job.seed)
        group = members.setdefault(tuple(given.items()), {})
        if seeds in group:
            raise NASError(
                f"two results with equal settings and seed {job.seed}: {group[seeds].folder} and {job.folder}",
                "one result per seed",
                "leave one of them out",
            )
        group[seeds] = job
    keys = {key for given in members for key, _ in given}
    return [
        Group(_label(dict(given), kind, len(keys)), dict(given), dict(sorted(jobs_of.items())))
        for given, jobs_of in members.items()
    ]


def _candidates(job: Job, others: Sequence[Job]) -> list[str]:
    """List settings that may differ: those of the command line, else all of the configuration.

    Arguments of a group whose classes differ are left out, as the class already separates the jobs.
    """
    if job.overrides:
        return [key for key in job.overrides if not _is_local(key)]
    differing = {group for group in GROUPS if len({_class_of(other, group) for other in others if other.config}) > 1}
    found: dict[str, None] = {}
    for key in _leaves(job.config):
        group = key.partition(".")[0]
        if key == f"{group}.{TARGET}" and group in GROUPS:
            found[group] = None
        elif not (_is_local(key) or TARGET in key or group in differing):
            found[key] = None
    return [key for key in found if not (key.startswith(COPIES) and key.replace(COPIES, "training.") in found)]


def _class_of(job: Job, group: str) -> str:
    """Name of the class of a part of the configuration; empty without one."""
    part = job.config.get(group)
    return str(part[TARGET]).rpartition(".")[2] if isinstance(part, Mapping) and TARGET in part else ""


def _is_local(key: str) -> bool:
    return key in (SEED, *LOCAL_KEYS) or key.partition(".")[0] in LOCAL or key.startswith("hydra")


def _leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _names_tell_apart(jobs: Sequence[Job], settings: Mapping[tuple[Path, str], Mapping[str, str]]) -> bool:
    """Whether jobs with equal settings and seed have names of their own."""
    seen: dict[tuple[Any, ...], set[str]] = {}
    counts: dict[tuple[Any, ...], int] = {}
    for job in jobs:
        key = (tuple(settings[job.key].items()), job.seed)
        seen.setdefault(key, set()).add(_name(job))
        counts[key] = counts.get(key, 0) + 1
    return any(count > 1 for count in counts.values()) and all(len(seen[key]) == count for key, count in counts.items())


def _name(job: Job) -> str:
    if job.training is not None and not job.config:
        return job.training.name
    study = job.config.get("study")
    return str(job.config.get(NAME) or (study.get(NAME) if isinstance(study, Mapping) else None) or job.folder.name)


def _label(settings: Mapping[str, str], kind: str, keys: int) -> str:
    if not settings:
        return f"all {'searches' if kind == SEARCH else 'trainings'}"
    if keys == 1:
        return next(iter(settings.values())) or "–"
    return ", ".join(f"{key}={value}" for key, value in settings.items() if value)
