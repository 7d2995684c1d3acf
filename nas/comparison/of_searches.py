"""Searches beside each other: final scores, curves of the best so far, hypervolumes and Pareto fronts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nas.comparison.curves import Curve, Run, over_cost, over_trials
from nas.comparison.groups import Group
from nas.comparison.searches import OF_TRAINING, SECONDS, SearchOutcome
from nas.comparison.statistics import Difference, Estimate, from_first, over_seeds
from nas.errors import NASError
from nas.history import CONFIRMATION, History, State, Trial
from nas.metrics.names import COSTS, TRAINING_MACS
from nas.multiobjective.hypervolume import hypervolumes_so_far
from nas.multiobjective.pareto import front_mask
from nas.simulator import best_so_far

HYPERVOLUME = "hypervolume"
AMOUNTS = (*COSTS, "networks", SECONDS, TRAINING_MACS)  # never negative
POINTS = 200  # of a curve over cost


@dataclass(frozen=True)
class Front:
    """Networks of a group in two objectives.

    Attributes:
        cost_N: Values of the other objective or of a cost (N,).
        score_N: Scores (N,).
        on_front_N: Whether a network is on the Pareto front of the group (N,).
        names: Id and seed of each network.
    """

    cost_N: np.ndarray
    score_N: np.ndarray
    on_front_N: np.ndarray
    names: tuple[str, ...]


@dataclass(frozen=True)
class Hypervolume:
    """Hypervolumes as shares of the rectangle between the worst and the best values that any search measured.

    Attributes:
        reference: Worst value of both objectives by name, the reference point.
        ideal: Best values.
        ends: Label of a group -> seed -> hypervolume of all its networks.
        differences: Label of every group but the first -> paired difference from the first.
        curves: Label of a group -> hypervolume over trained networks.
    """

    reference: Mapping[str, float]
    ideal: Mapping[str, float]
    ends: Mapping[str, Mapping[tuple[int, ...], float]]
    differences: Mapping[str, Difference]
    curves: Mapping[str, Curve]


@dataclass(frozen=True)
class Searches:
    """A comparison of searches.

    Attributes:
        groups: Searches that differ in their seed only.
        score: The metric in which they are compared: the score of the first search.
        sign: 1.0 if larger scores are better, else -1.0.
        objectives: Objectives of the first search.
        same_objectives: Whether all searches have these.
        estimates: Label of a group -> metric or cost of the chosen network, "networks", "seconds" or "hypervolume" ->
            mean over seeds.
        differences: Label of every group but the first -> score minus that of the first group, paired by seed.
        over_networks: Label -> best score so far over trained networks.
        over_seconds: Label -> best score so far over seconds of training.
        against: The objective or cost that `fronts` set against the score; empty if none was recorded.
        against_sign: 1.0 if larger values of it are better, else -1.0.
        fronts: Label -> networks of all its seeds.
        hypervolume: With two objectives; None otherwise, or if one of them is constant.
    """

    groups: Sequence[Group]
    score: str
    sign: float
    objectives: Mapping[str, str]
    same_objectives: bool
    estimates: Mapping[str, Mapping[str, Estimate]]
    differences: Mapping[str, Difference]
    over_networks: Mapping[str, Curve]
    over_seconds: Mapping[str, Curve]
    against: str
    against_sign: float
    fronts: Mapping[str, Front]
    hypervolume: Hypervolume | None


def compare_searches(groups: Sequence[Group]) -> Searches:
    """Compare searches in the score of the first one.

    Args:
        groups: Groups of finished searches.

    Returns:
        The comparison.

    Raises:
        NASError: If a search did not measure the objectives of the first one.
    """
    outcomes = {group.label: _outcomes(group) for group in groups}
    every = [outcome for members in outcomes.values() for outcome in members.values()]
    objectives = dict(every[0].history.objectives)
    same = all(dict(outcome.history.objectives) == objectives for outcome in every)
    _require_measured(groups, objectives)
    facts = {label: [_facts(one) for one in members.values()] for label, members in outcomes.items()}
    history = every[0].history
    score, sign = history.score, history.sign[history.score]
    against = next((name for name in (*objectives, *COSTS) if name != score and _measured(every, name)), "")
    longest = max(len(_trained(outcome)) for outcome in every)
    last_s = max(float(outcome.seconds_N.sum()) for outcome in every)
    second_P, trial_T = np.linspace(0.0, last_s, POINTS), np.arange(1, longest + 1)
    finals = {
        label: {seeds: outcome.metrics[score] for seeds, outcome in members.items()}
        for label, members in outcomes.items()
    }
    over_networks, over_seconds = {}, {}
    for label, members in outcomes.items():
        runs = [_run(outcome, objectives) for outcome in members.values()]
        over_networks[label] = Curve.of(trial_T, over_trials([networks for networks, _ in runs], longest))
        over_seconds[label] = Curve.of(second_P, over_cost([seconds for _, seconds in runs], second_P))
    hyper = _hypervolume(outcomes, objectives) if len(objectives) == 2 else None
    estimates = {label: _estimates(members) for label, members in facts.items()}
    for label, ends in hyper.ends.items() if hyper is not None else ():
        estimates[label][HYPERVOLUME] = over_seeds(list(ends.values()), 0.0, 1.0)
    return Searches(
        groups=groups,
        score=score,
        sign=sign,
        objectives=objectives,
        same_objectives=same,
        estimates=estimates,
        differences=from_first(finals),
        over_networks=over_networks,
        over_seconds=over_seconds,
        against=against,
        against_sign=1.0 if objectives.get(against) == "maximize" else -1.0,
        fronts={label: _front(members, score, sign, against, objectives) for label, members in outcomes.items()}
        if against
        else {},
        hypervolume=hyper,
    )


def _outcomes(group: Group) -> dict[tuple[int, ...], SearchOutcome]:
    return {seeds: job.search for seeds, job in group.jobs.items() if job.search is not None}


def _require_measured(groups: Sequence[Group], objectives: Mapping[str, str]) -> None:
    for group in groups:
        for seeds, outcome in _outcomes(group).items():
            lacking = [name for name in objectives if not _measured([outcome], name)]
            if lacking:
                raise NASError(
                    f"{group.jobs[seeds].folder}, a search that did not measure {lacking[0]}",
                    f"searches that measured {', '.join(objectives)}",
                    "compare searches with the same objectives",
                )


def _measured(outcomes: Sequence[SearchOutcome], name: str) -> bool:
    return all(name in trial.metrics for outcome in outcomes for trial in outcome.history.complete())


def _ended(outcome: SearchOutcome) -> tuple[list[Trial], list[bool]]:
    """Return the ended trials of the search, without those of the confirmation, and which of them stand for a network.

    The last replicate of a network at a budget stands for it, with means over its replicates, so that a network counts
    once however often it was trained. All others, and networks that break a constraint, are marked as failed.
    """
    means = {(trial.arch, trial.budget): trial for trial in outcome.history.searched.means()}
    done = {trial.number for trial in outcome.history if trial.state is State.COMPLETE}
    ended = [trial for trial in outcome.ended if trial.replicate < CONFIRMATION]
    last = {(trial.arch, trial.budget): trial.number for trial in ended if trial.number in done}
    stands = [last.get((trial.arch, trial.budget)) == trial.number for trial in ended]
    return [
        replace(trial, metrics=means[trial.arch, trial.budget].metrics) if kept else replace(trial, state=State.FAILED)
        for trial, kept in zip(ended, stands, strict=True)
    ], stands


def _trained(outcome: SearchOutcome) -> list[Trial]:
    """Networks with a score, in order; those that break a constraint are marked as failed."""
    return [trial for trial, stands in zip(*_ended(outcome), strict=True) if stands]


def _run(outcome: SearchOutcome, objectives: Mapping[str, str]) -> tuple[Run, Run]:
    """Best score after each trained network, and after each ended trial at its cumulated seconds."""
    history = replace(outcome.history, objectives=objectives)
    trained, (ended, _) = _trained(outcome), _ended(outcome)
    seconds = dict(zip((trial.number for trial in outcome.history), outcome.seconds_N.tolist(), strict=True))
    end_N = np.cumsum([seconds[trial.number] for trial in ended])
    counts = np.arange(1, len(trained) + 1)
    networks = (counts.tolist(), best_so_far(history, trained).tolist())
    return networks, (end_N.tolist(), best_so_far(history, ended).tolist())


def _facts(outcome: SearchOutcome) -> dict[str, float]:
    """Metrics and costs of the chosen network, and the costs of the search."""
    own = {name: value for name, value in outcome.metrics.items() if name not in OF_TRAINING}
    return (
        own
        | {
            "networks": float(len({trial.arch for trial in _trained(outcome)})),
            SECONDS: float(outcome.seconds_N.sum()),
        }
        | ({TRAINING_MACS: outcome.training_macs} if np.isfinite(outcome.training_macs) else {})
    )


def _estimates(facts: Sequence[Mapping[str, float]]) -> dict[str, Estimate]:
    known = [name for name in facts[0] if all(np.isfinite(own.get(name, np.nan)) for own in facts)]
    return {name: over_seeds([own[name] for own in facts], 0.0 if name in AMOUNTS else -np.inf) for name in known}


def _front(
    members: Mapping[tuple[int, ...], SearchOutcome],
    score: str,
    sign: float,
    against: str,
    objectives: Mapping[str, str],
) -> Front:
    names, cost, scores = [], [], []
    for seeds, outcome in members.items():
        ids = dict(zip((trial.number for trial in outcome.history), outcome.arch_ids, strict=True))
        for trial in _trained(outcome):
            if trial.state is not State.COMPLETE:
                continue
            names.append(f"{ids[trial.number]}, seed {seeds[0]}, trial {trial.number}")
            cost.append(trial.metrics[against])
            scores.append(trial.metrics[score])
    cost_N, score_N = np.array(cost), np.array(scores)
    way = 1.0 if objectives.get(against) == "maximize" else -1.0
    known_N = np.isfinite(cost_N) & np.isfinite(score_N)
    mask_N = np.zeros(len(names), dtype=bool)
    mask_N[known_N] = front_mask(np.column_stack([sign * score_N, way * cost_N])[known_N])
    return Front(cost_N, score_N, mask_N, tuple(names))


def _hypervolume(
    outcomes: Mapping[str, Mapping[tuple[int, ...], SearchOutcome]], objectives: Mapping[str, str]
) -> Hypervolume | None:
    """Hypervolumes over trained networks, each objective scaled to [0, 1] from its worst to its best value."""
    values: dict[str, dict[tuple[int, ...], np.ndarray]] = {}
    empty = History((), objectives, lambda genes_NG: np.full(len(genes_NG), np.nan))
    for label, members in outcomes.items():
        values[label] = {}
        for seeds, outcome in members.items():
            trained = _trained(outcome)
            value_N2 = empty.values(trained)
            value_N2[[trial.state is not State.COMPLETE for trial in trained]] = np.nan
            values[label][seeds] = value_N2
    every_N2 = np.concatenate([value_N2 for members in values.values() for value_N2 in members.values()])
    every_N2 = every_N2[np.isfinite(every_N2).all(axis=1)]
    if not len(every_N2) or (np.ptp(every_N2, axis=0) == 0).any():
        return None
    low_2, high_2 = every_N2.min(axis=0), every_N2.max(axis=0)
    longest = max(len(value_N2) for members in values.values() for value_N2 in members.values())
    curves, ends = {}, {}
    for label, by_seed in values.items():
        areas = {
            seeds: hypervolumes_so_far((value_N2 - low_2) / (high_2 - low_2), np.zeros(2))
            for seeds, value_N2 in by_seed.items()
        }
        runs = [(list(range(1, len(area_N) + 1)), area_N.tolist()) for area_N in areas.values()]
        curves[label] = Curve.of(np.arange(1, longest + 1), over_trials(runs, longest))
        ends[label] = {seeds: float(area_N[-1]) for seeds, area_N in areas.items()}
    signs = [1.0 if way == "maximize" else -1.0 for way in objectives.values()]
    return Hypervolume(
        reference=dict(zip(objectives, (signs * low_2).tolist(), strict=True)),
        ideal=dict(zip(objectives, (signs * high_2).tolist(), strict=True)),
        ends=ends,
        differences=from_first(ends),
        curves=curves,
    )
