"""Plots and tables of the trials of a search, in the report and on the live page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.history import CONFIRMATION, History, Trial
from nas.html.page import Cell, figure, section, table
from nas.html.plot import Axis, Plot
from nas.metrics.names import COSTS, Names
from nas.multiobjective.pareto import front_mask
from nas.space import SearchSpace

MAX_CLOUD = 2000  # pruned architectures shown


def cost_of(history: History, records: Sequence[Trial]) -> np.ndarray:
    """Return the deterministic costs of architectures.

    Args:
        history: Trials of the search.
        records: N of them.

    Returns:
        (N,) costs.
    """
    return np.asarray(history.cost(np.array([record.arch.genes for record in records])), dtype=np.float64)


def front_figure(
    names: Names,
    space: SearchSpace,
    history: History,
    done: Sequence[Trial],
    chosen: Trial,
    pruned_cost_P: np.ndarray,
    pruned_bound_P: np.ndarray,
) -> str:
    """Draw the score of every network against its cost, with the front.

    Args:
        names: Names and formats of metrics.
        space: Space of the search.
        history: Its trials.
        done: The finished networks, see `History.means`.
        chosen: The chosen one.
        pruned_cost_P: (P,) costs of architectures pruned without training.
        pruned_bound_P: (P,) the best scores that they could reach.

    Returns:
        A section.
    """
    score, costs = history.score, names.unit(history.cost_name)
    score_N = np.array([record.metrics[score] for record in done], dtype=np.float64)
    cost_N = cost_of(history, done) / costs.divisor
    usable = np.isfinite(score_N) & np.isfinite(cost_N)
    cloud_cost_P, cloud_bound_P, total = _thin(pruned_cost_P / costs.divisor, pruned_bound_P)
    all_scores, all_costs = np.r_[score_N[usable], cloud_bound_P], np.r_[cost_N[usable], cloud_cost_P]
    if not len(all_scores):
        return section("Score against cost", "No network has a finite score.")
    legend = [
        ("trained", "dot", "scored"),
        ("front", "dot", "Pareto front"),
        ("chosen", "dot", "chosen"),
    ]
    if total:
        legend.append(("cloud", "cloud", "ruled out untrained, at the best score it could reach"))
    x = Axis.over(costs.heading, all_costs, log=True)
    y = Axis.over(f"validation {names.unit(score).name}", all_scores, headroom=0.12)
    plot = Plot(x, y, title=f"validation {names.unit(score).name} against {costs.heading}", height=430, legend=legend)
    if total:
        plot.cloud(cloud_cost_P, cloud_bound_P)
    shown = [record for record, use in zip(done, usable, strict=True) if use]
    score_N, cost_N = score_N[usable], cost_N[usable]
    value_N2 = np.column_stack([history.sign[score] * score_N, -cost_N])
    confirmed_N = np.array([record.replicate >= CONFIRMATION for record in shown], dtype=bool)
    counted_N = confirmed_N if confirmed_N.any() else np.ones(len(shown), dtype=bool)
    on_front_N = counted_N.copy()
    on_front_N[counted_N] = front_mask(value_N2[counted_N])
    line = np.flatnonzero(on_front_N)
    line = line[np.argsort(cost_N[line], kind="stable")]
    if len(line):
        plot.step(cost_N[line], score_N[line], to_edge=True)
    dots = sorted(zip(shown, cost_N, score_N, on_front_N, strict=True), key=lambda dot: (dot[0] == chosen, dot[3]))
    for record, cost, value, on_front in dots:  # the chosen network is last, on top
        style, radius = ("chosen", 7.0) if record == chosen else ("front", 5.0) if on_front else ("trained", 4.0)
        plot.point(cost, value, style, radius, _tooltip(names, space, history, record, cost * costs.divisor))
        if record == chosen:
            plot.label(cost, value, chosen.arch.id)
    if not len(score_N):
        return section("Score against cost", _front_note(history, total, len(cloud_cost_P)), figure(plot.svg()))
    cheapest = int(np.argmin(np.where(counted_N, cost_N, np.inf)))
    best = int(np.argmax(np.where(counted_N, history.sign[score] * score_N, -np.inf)))
    cost_in_words = [names.show(history.cost_name, cost_N[at] * costs.divisor, symbol=True) for at in (best, cheapest)]
    caption = (
        f"{names.unit(score).name} reaches {names.show(score, score_N[best])} at "
        f"{cost_in_words[0]} {costs.name}; the cheapest network, with {cost_in_words[1]}, has "
        f"{names.show(score, score_N[cheapest])}."
    )
    note = _front_note(history, total, len(cloud_cost_P))
    return section("Score against cost", note, figure(plot.svg(), caption))


def _front_note(history: History, total: int, drawn: int) -> str:
    """Explanation of the figure; `total` networks were pruned, of which `drawn` are in it."""
    note = "Each dot is a scored network, with details on hover. The line is the Pareto front of score and cost."
    if history.confirmed.complete():
        note += " Networks of the confirmation are at their means; only they are on the front."
    if total:
        note += (
            " Pale dots were ruled out: they can do no better than a larger trained network, which scored their height,"
            " and a cheaper trained network did at least as well."
        )
        if total > drawn:
            note += f" {drawn:,} of {total:,} are drawn."
    if len(history.objectives) > 2:
        note += f" The table below holds the front in all objectives: {', '.join(history.objectives)}."
    return note


def _thin(cost_P: np.ndarray, bound_P: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """At most MAX_CLOUD of the finite points, sampled with a fixed seed, and the number of all finite points."""
    rows = np.flatnonzero(np.isfinite(cost_P) & np.isfinite(bound_P))
    total = len(rows)
    if total > MAX_CLOUD:
        rows = np.sort(np.random.default_rng(0).choice(rows, size=MAX_CLOUD, replace=False))
    return cost_P[rows], bound_P[rows], total


def _tooltip(names: Names, space: SearchSpace, history: History, record: Trial, cost: float) -> str:
    score, costs = history.score, names.unit(history.cost_name)
    lines = [
        f"{record.arch.id} (trial {record.number})",
        f"{names.unit(score).name} {names.show_mean(score, history.statistic(record, score))}",
        f"{costs.name} {names.show(history.cost_name, cost, symbol=True)}",
        space.describe(record.arch),
    ]
    return "\n".join(lines)


def front_table(names: Names, history: History, chosen: Trial) -> str:
    """List the networks of the Pareto front.

    Args:
        names: Names and formats of metrics.
        history: Trials of the search.
        chosen: The chosen one.

    Returns:
        A section.
    """
    front = history.front()
    shared = [name for name in COSTS if all(name in record.metrics for record in front)]
    columns = list(dict.fromkeys([*history.objectives, *shared]))
    head = [
        Cell("architecture"),
        Cell("trial", number=True),
        *(Cell(names.unit(name).heading, number=True) for name in columns),
    ]
    rows = [
        [
            Cell(record.arch.id, code=True, tag="chosen" if record == chosen else ""),
            Cell(str(record.number), number=True),
            *(Cell(names.show_mean(name, history.statistic(record, name)), number=True) for name in columns),
        ]
        for record in front
    ]
    marks = {number: "chosen" for number, record in enumerate(front) if record == chosen}
    wanted = ", ".join(
        f"{'high' if direction == 'maximize' else 'low'} {names.unit(name).name}"
        for name, direction in history.objectives.items()
    )
    of_means = any(history.statistic(record, history.score).count > 1 for record in front)
    note = " Mean ± standard error over n evaluations." if of_means else ""
    which = "confirmed" if front and front[0].replicate >= CONFIRMATION else "scored"
    return section(
        "The Pareto front",
        f"No {which} network is at least as good in all objectives and better in one: {wanted}.{note}",
        table(head, rows, marks),
    )


def best_so_far(names: Names, history: History, done: Sequence[Trial]) -> str:
    """Draw the best score over the finished networks.

    Args:
        names: Names and formats of metrics.
        history: Trials of the search.
        done: The finished ones, in the order in which they finished.

    Returns:
        A section.
    """
    name = names.unit(history.score).name
    score_N = np.array([record.metrics[history.score] for record in done], dtype=np.float64)
    finite = np.isfinite(score_N)
    if not finite.any():
        return section("Best score so far", "No network has a finite score.")
    trial_N = np.arange(1, len(done) + 1, dtype=np.float64)
    better = np.fmax if history.sign[history.score] > 0 else np.fmin
    best_N = better.accumulate(score_N)
    x, y = Axis.counting("scored networks", len(done)), Axis.over(f"validation {name}", score_N[finite])
    legend = [("trained", "dot", "each network"), ("curve", "line", "best so far")]
    plot = Plot(x, y, title=f"best validation {name} so far", width=430, height=290, legend=legend)
    known = np.isfinite(best_N)
    for trial, score, record in zip(
        trial_N[finite], score_N[finite], np.array(done, dtype=object)[finite], strict=True
    ):
        plot.point(trial, score, "trained", 3.0, f"{record.arch.id} (trial {record.number})\n{name} {score:.3f}")
    plot.step(trial_N[known], best_N[known], to_edge=True)
    last = 1 + int(np.flatnonzero(best_N == best_N[-1])[0])
    caption = f"The first network has {names.show(history.score, best_N[known][0])}."
    if len(done) > 1:
        caption = (
            f"The best {name} is {names.show(history.score, best_N[known][0])} after the first network and "
            f"{names.show(history.score, best_N[-1])} after {len(done)}; network {last} was the last to improve it."
        )
    return section("Best score so far", "In the order in which trials finished.", figure(plot.svg(), caption))


def share_over_time(pruned_share: Sequence[tuple[int, float]]) -> str:
    """Draw the share of the space that is ruled out.

    Args:
        pruned_share: (finished trials, pruned fraction of the space in [0, 1]).

    Returns:
        A section.
    """
    trial_T, share_T = np.array(pruned_share, dtype=np.float64).T
    x = Axis.counting("scored networks", trial_T[-1])
    y = Axis("share of the space", 0.0, min(1.0, max(1.1 * share_T.max(), 0.01)), percent=True)
    legend = [("curve", "line", "ruled out")]
    plot = Plot(x, y, title="share of the space ruled out", width=430, height=290, legend=legend)
    edge_E = np.r_[np.repeat(trial_T, 2)[1:], x.high]
    plot.band(edge_E, np.zeros(len(edge_E)), np.repeat(share_T, 2))
    plot.step(trial_T, share_T, to_edge=True)
    caption = f"After {int(trial_T[-1])} networks {100 * share_T[-1]:.1f} % of the space are ruled out."
    note = "Share of the whole space; it never shrinks."
    return section("Ruled out without training", note, figure(plot.svg(), caption))
