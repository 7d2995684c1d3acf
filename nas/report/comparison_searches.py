"""Sections of a comparison about searches: tables, curves, hypervolume and Pareto fronts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nas.comparison.curves import Curve
from nas.comparison.of_searches import HYPERVOLUME, Searches
from nas.comparison.searches import SECONDS
from nas.html.curves import MAX_SHOWN, Band, Dots, bands_plot, fronts_plot
from nas.html.page import figure, pair, section
from nas.metrics.names import TRAINING_MACS, Names
from nas.report.comparison_tables import difference_section, group_table, seeds_note, short_names

EFFORT = ("networks", SECONDS)


def search_sections(searches: Searches, names: Names) -> list[str]:
    """Render the comparison of searches.

    Args:
        searches: The comparison.
        names: Names and formats.

    Returns:
        Sections as HTML.
    """
    score, hyper = names.unit(searches.score).name, searches.hypervolume
    note = (
        "Validation scores and costs of the networks that the searches chose: mean over seeds, 95 % interval below. "
        + seeds_note(searches.groups)
    )
    if not searches.same_objectives:
        of_first = ", ".join(names.unit(name).name for name in searches.objectives)
        note += f" The objectives differ between searches; all are compared in those of the first: {of_first}."
    columns = list(dict.fromkeys([searches.score, *searches.objectives, "params"]))
    columns += [HYPERVOLUME] if hyper is not None else []
    columns += [TRAINING_MACS] if any(TRAINING_MACS in known for known in searches.estimates.values()) else []
    body = [section("Searches", note, group_table(searches.groups, names, searches.estimates, columns, EFFORT))]
    if len(searches.groups) > 1:
        tests = {f"validation {score}": (searches.score, searches.differences)}
        if hyper is not None:
            tests[HYPERVOLUME] = (HYPERVOLUME, hyper.differences)
        body.append(difference_section(searches.groups, names, tests))
    networks = _best_so_far(searches, names, searches.over_networks, "trained networks", whole=True)
    seconds = _best_so_far(searches, names, searches.over_seconds, "seconds of training")
    body.append(pair(networks, seconds))
    body.append(pair(*[part for part in (_hypervolume(searches, names), _fronts(searches, names)) if part]))
    return body


def _best_so_far(
    searches: Searches, names: Names, curves: Mapping[str, Curve], x_label: str, *, whole: bool = False
) -> str:
    heading, unit = f"Best so far, over {x_label}", names.unit(searches.score)
    label = f"best validation {unit.name}"
    plot = bands_plot(_bands(searches, curves, unit.divisor), x_label, label, f"{label} over {x_label}", whole=whole)
    if not plot:
        return section(heading, "No search has a network that keeps the constraints.")
    return section(heading, _ends(searches, names, curves, searches.score), figure(plot))


def _hypervolume(searches: Searches, names: Names) -> str:
    hyper = searches.hypervolume
    if hyper is None:
        return ""
    worst, best = (
        " and ".join(f"{names.unit(name).name} {names.show(name, value, symbol=True)}" for name, value in of.items())
        for of in (hyper.reference, hyper.ideal)
    )
    note = (
        f"Share of the rectangle between the reference point ({worst}: the worst values that any search measured) and "
        f"the best values ({best}) that the networks of a search dominate. "
    )
    bands = _bands(searches, hyper.curves, 1.0)
    plot = bands_plot(bands, "trained networks", HYPERVOLUME, "hypervolume over trained networks", whole=True)
    return section("Hypervolume", note + _ends(searches, names, hyper.curves, HYPERVOLUME), figure(plot))


def _fronts(searches: Searches, names: Names) -> str:
    if not searches.fronts:
        return ""
    score, other = names.unit(searches.score), names.unit(searches.against)
    short, dots, counts = short_names(searches.groups), [], []
    for group in searches.groups[:MAX_SHOWN]:
        front, name = searches.fronts[group.label], short[group.label]
        known_N = np.isfinite(front.cost_N) & np.isfinite(front.score_N)
        titles = [f"{name}: {title}" for title, known in zip(front.names, known_N, strict=True) if known]
        x_N, y_N = front.cost_N[known_N] / other.divisor, front.score_N[known_N] / score.divisor
        dots.append(Dots(name, x_N, y_N, front.on_front_N[known_N], titles))
        counts.append(f"{name} {int(front.on_front_N.sum())} of {len(front.names)}")
    label, title = f"validation {score.name}", f"Pareto fronts: {score.name} against {other.name}"
    falling = searches.against_sign < 0 < searches.sign
    plot = fronts_plot(dots, other.heading, label, title, stairs=falling)
    note = (
        f"Dots are the trained networks of all seeds of a group, lines their Pareto fronts in {score.name} and "
        f"{other.name}. Networks on the front: {', '.join(counts)}."
    )
    return section("Pareto fronts", note + _left_out(searches), figure(plot)) if plot else ""


def _bands(searches: Searches, curves: Mapping[str, Curve], divisor: float) -> list[Band]:
    short = short_names(searches.groups)
    own = [(short[group.label], curves[group.label]) for group in searches.groups[:MAX_SHOWN]]
    return [Band(name, one.x_P, one.median_P / divisor, one.q25_P / divisor, one.q75_P / divisor) for name, one in own]


def _ends(searches: Searches, names: Names, curves: Mapping[str, Curve], metric: str) -> str:
    """Text beside a plot of curves: its content, and the values at the end."""
    short, texts = short_names(searches.groups), []
    several = any(len(group.jobs) > 1 for group in searches.groups)
    for group in searches.groups[:MAX_SHOWN]:
        own = curves[group.label]
        median, low, high = (names.show(metric, values[-1]) for values in (own.median_P, own.q25_P, own.q75_P))
        texts.append(f"{short[group.label]} {median}" + (f" ({low} to {high})" if len(group.jobs) > 1 else ""))
    drawn = "Median over seeds, and the area between the quartiles." if several else "One seed per group."
    return f"{drawn} At the end: {', '.join(texts)}.{_left_out(searches)}"


def _left_out(searches: Searches) -> str:
    count = len(searches.groups)
    return f" The first {MAX_SHOWN} of {count} groups are drawn." if count > MAX_SHOWN else ""
