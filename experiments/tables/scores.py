"""Scores of a system over seeds and patients: means, intervals and paired differences, from predictions.csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from nas.comparison.jobs import read_job
from nas.errors import NASError
from nas.inference.model_spec import RESULT
from nas.metrics.bootstrap import PERCENTILES, GroupBootstrap
from nas.retraining.pooled import NoScoresError, Pooled, read_pooled
from nas.retraining.result import SIZES, TrainResult
from nas.tasks.base import Task, task_of
from nas.utils.hashing import digest

RESAMPLES = 1000


@dataclass(frozen=True)
class Draws:
    """The metrics of a system on bootstrap samples of patients, for every seed.

    Attributes:
        cases: Number of test cases of one seed.
        groups: Number of groups, usually patients, of one seed.
        names: Names of the metrics (M,).
        of_all_SM: Metrics over all test cases of each seed.
        drawn_SRM: Metrics on each bootstrap sample of each seed; NaN where one is undefined.
        costs: params, macs and bytes of the network, means over seeds.
        same: Hash of data and test cases of each seed, by which pairs are checked.
        seeds: The seeds (S,).
    """

    cases: int
    groups: int
    names: tuple[str, ...]
    of_all_SM: np.ndarray
    drawn_SRM: np.ndarray
    costs: Mapping[str, float]
    same: tuple[str, ...]
    seeds: tuple[int, ...]


def draws_of(
    folders: Sequence[Path], seeds: Sequence[int], system: str = "", resamples: int = RESAMPLES, seed: int = 0
) -> Draws:
    """Measure a system on the same bootstrap samples as every other system of its test cases.

    Args:
        folders: Output folders of run_train.py, one per seed.
        seeds: The seeds.
        system: Name of the system in predictions.csv; empty for the network that each training is about.
        resamples: Number of bootstrap samples.
        seed: Seed of the bootstrap.

    Returns:
        The measurements.

    Raises:
        NASError: If a folder is no finished training, or lacks the system.
    """
    parts = [read_pooled(system or "the network", [folder], system=system or None) for folder in folders]
    names = tuple(parts[0].scores.over())
    of_all = np.array([[part.scores.over().get(name, np.nan) for name in names] for part in parts])
    drawn = np.array([_drawn(part, names, resamples, seed) for part in parts])
    first = parts[0]
    costs = {name: float(np.mean([part.costs[name] for part in parts])) for name in first.costs}
    return Draws(
        len(first.cases),
        len(np.unique(first.groups)),
        names,
        of_all,
        drawn,
        costs,
        tuple(digest([part.data[0], part.cases]) for part in parts),
        tuple(seeds),
    )


def _drawn(part: Pooled, names: Sequence[str], resamples: int, seed: int) -> np.ndarray:
    bootstrap = GroupBootstrap(part.groups, np.zeros(len(part.cases), dtype=int), resamples, seed)
    values = [part.scores.over(rows) for rows in bootstrap.rows]
    return np.array([[one.get(name, np.nan) for name in names] for one in values])


def means(draws: Draws, seed: int = 0) -> dict[str, dict[str, object]]:
    """Average the metrics over seeds.

    The interval draws seeds and patients anew, both with replacement, so that it holds the variation of both. From one
    seed it holds that of patients only.

    Args:
        draws: Measurements of a system.
        seed: Seed of the draws of seeds.

    Returns:
        Metric -> value, ci95 and per_seed.
    """
    bounds = _bounds(draws.drawn_SRM, seed)
    found: dict[str, dict[str, object]] = {}
    for number, name in enumerate(draws.names):
        per_seed = draws.of_all_SM[:, number]
        if np.isfinite(per_seed).any():
            found[name] = {
                "value": float(np.nanmean(per_seed)),
                "ci95": bounds[number],
                "per_seed": [float(value) for value in per_seed],
            }
    return found


def draws_or_means(
    folders: Sequence[Path], seeds: Sequence[int], system: str = ""
) -> Draws | tuple[dict[str, dict[str, object]], TrainResult]:
    """Measure a system on bootstrap samples, or average its results if predictions.csv lacks columns that it needs.

    Args:
        folders: Output folders of run_train.py, one per seed.
        seeds: The seeds.
        system: Name of the system in the result; empty for the network that each training is about.

    Returns:
        The measurements of `draws_of`; else those of `means_of_results`, for a task whose metrics are no functions of
        predictions.csv, and for files of an earlier version.

    Raises:
        NASError: If a folder is no finished training, or lacks the system.
    """
    first = TrainResult.load(folders[0] / RESULT)
    if type(task_of(first.task)).from_columns is Task.from_columns:
        return means_of_results(folders, system)
    try:
        return draws_of(folders, seeds, system)
    except NoScoresError:
        return means_of_results(folders, system)


def hours_of(folders: Sequence[Path]) -> dict[str, float]:
    """Average the hours in which the networks of a row were searched and trained.

    Args:
        folders: Folders of results, one per seed; the search is in the folder `search` beside each.

    Returns:
        hours; empty if a result does not state the time of its training.
    """
    seconds = []
    for folder in folders:
        trained = TrainResult.load(folder / RESULT).costs.get("training_seconds")
        if trained is None:
            return {}
        searched = read_job(folder.parent / "search").seconds if (folder.parent / "search").is_dir() else 0.0
        seconds.append(float(trained) + searched)
    return {"hours": float(np.mean(seconds)) / 3600}


def means_of_results(folders: Sequence[Path], system: str = "") -> tuple[dict[str, dict[str, object]], TrainResult]:
    """Average the metrics of results over seeds, for a task whose metrics cannot be computed from predictions.csv.

    Args:
        folders: Output folders of run_train.py, one per seed.
        system: Name of the system in the result; empty for the network that each training is about.

    Returns:
        Metric -> value, ci95 and per_seed, with the interval over patients of the first seed if it is the only one; and
        the first result.

    Raises:
        NASError: If a folder is no finished training, or lacks the system.
    """
    results = [TrainResult.load(folder / RESULT) for folder in folders]
    scored = []
    for result in results:
        known = {**result.ensembles, **result.baselines}
        if (name := system or result.name) not in known:
            raise NASError(f"no system {name} in {result.name}", f"one of {', '.join(known)}", "correct the table")
        scored.append(known[name])
    found: dict[str, dict[str, object]] = {}
    for name in scored[0]:
        if name != "ci95":
            values = [float(one[name]) for one in scored]
            bounds = scored[0].get("ci95", {}).get(name) if len(scored) == 1 else t_interval(values)
            found[name] = {"value": float(np.mean(values)), "ci95": bounds, "per_seed": values}
    sizes = {} if system else {key: results[0].costs[key] for key in SIZES}
    return {**found, **{name: {"value": float(value)} for name, value in sizes.items()}}, results[0]


def t_interval(values: Sequence[float]) -> tuple[float, float]:
    """Compute the 95 % interval of a mean over seeds by Student's t.

    Args:
        values: At least two values.

    Returns:
        Lower and upper bound.
    """
    from scipy import stats

    reach = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    mean = float(np.mean(values))
    return mean - reach, mean + reach


def difference(own: Draws, other: Draws, metric: str, seed: int = 0) -> dict[str, object]:
    """Subtract the metric of another system, on the same patients and for the seeds of both.

    Args:
        own: Measurements of a system.
        other: Those of the system that is subtracted.
        metric: The metric.
        seed: Seed of the draws of seeds.

    Returns:
        value and ci95 of the difference; ci95 is None if the metric is undefined.

    Raises:
        NASError: If the systems were not tested on the same cases.
    """
    pairs = [(own.seeds.index(one), other.seeds.index(one)) for one in own.seeds if one in other.seeds]
    if not pairs or any(own.same[i] != other.same[j] for i, j in pairs):
        raise NASError(
            f"tests of {own.cases} cases with seeds {own.seeds} and of {other.cases} with seeds {other.seeds}",
            "the same cases for at least one common seed, to compare them in pairs",
            "give both rows the same data and split, and seeds in common",
        )
    mine, its = (list(one) for one in zip(*pairs, strict=True))
    a, b = own.names.index(metric), other.names.index(metric)
    apart_SR = own.drawn_SRM[mine, :, a] - other.drawn_SRM[its, :, b]
    value = float(np.nanmean(own.of_all_SM[mine, a]) - np.nanmean(other.of_all_SM[its, b]))
    bounds = _bounds(apart_SR[:, :, None], seed)[0]
    return {"value": value, "ci95": None if bounds is None else list(bounds)}


def _bounds(drawn_SRM: np.ndarray, seed: int) -> list[tuple[float, float] | None]:
    """95 % intervals (M) of the mean over seeds: each resample has its patients, and seeds drawn with replacement."""
    seeds, resamples, metrics = drawn_SRM.shape
    chosen = np.random.default_rng([seed, 7]).integers(seeds, size=(seeds, resamples))
    values_RM = drawn_SRM[chosen, np.arange(resamples)].mean(axis=0)
    bounds: list[tuple[float, float] | None] = []
    for number in range(metrics):
        defined = values_RM[np.isfinite(values_RM[:, number]), number]
        low_high = np.percentile(defined, PERCENTILES) if len(defined) else None
        bounds.append(None if low_high is None else (float(low_high[0]), float(low_high[1])))
    return bounds


def save(draws: Draws, path: Path) -> None:
    """Write measurements, so that later rows are compared with them in pairs.

    Args:
        draws: The measurements.
        path: An npz file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        sizes=np.array([draws.cases, draws.groups]),
        names=np.array(draws.names),
        of_all=draws.of_all_SM,
        drawn=draws.drawn_SRM,
        cost_names=np.array(list(draws.costs), dtype=str),
        costs=np.array(list(draws.costs.values()), dtype=float),
        same=np.array(draws.same),
        seeds=np.array(draws.seeds),
    )


def read(path: Path) -> Draws | None:
    """Read measurements.

    Args:
        path: A file of `save`.

    Returns:
        The measurements; None if there is no such file, or it is damaged.
    """
    try:
        return _read(path)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None


def _read(path: Path) -> Draws:
    with np.load(path, allow_pickle=False) as file:
        cases, groups = (int(number) for number in file["sizes"])
        costs = dict(zip(file["cost_names"].tolist(), file["costs"].tolist(), strict=True))
        texts = (tuple(file[key].tolist()) for key in ("names", "same", "seeds"))
        names, same, seeds = texts
        return Draws(cases, groups, names, file["of_all"], file["drawn"], costs, same, seeds)
