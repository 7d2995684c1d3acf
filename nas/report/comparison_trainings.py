"""Sections of a comparison about trainings: table, means with intervals, paired differences."""

from __future__ import annotations

import numpy as np

from nas.comparison.compare import Trainings
from nas.comparison.markdown import estimate_text
from nas.comparison.rows import metrics_of
from nas.comparison.searches import SECONDS
from nas.html.curves import MAX_SHOWN
from nas.html.intervals import Interval, intervals_plot
from nas.html.page import figure, pair, section
from nas.metrics.names import TRAINING_MACS, Names
from nas.metrics.positive import decision_note
from nas.report.comparison_tables import difference_section, group_table, seeds_note, short_names

SHOWN_COSTS = ("params", "macs", SECONDS, TRAINING_MACS)


def training_sections(trainings: Trainings, names: Names) -> list[str]:
    """Render the comparison of trainings.

    Args:
        trainings: The comparison.
        names: Names and formats.

    Returns:
        Sections as HTML.
    """
    known = {name for own in trainings.estimates.values() for name in own}
    metrics = [metric.name for metric in trainings.metrics]
    columns = metrics + [name for name in SHOWN_COSTS if name in known]
    note = (
        "Test scores, of the mean prediction of a training's networks: mean over seeds; below, its 95 % interval "
        + ("over seeds. " if trainings.no_patients else "over patients and, of a group of several, over seeds. ")
        + seeds_note(trainings.groups)
        + _decisions(trainings)
    )
    body = [section("Trainings", note, group_table(trainings.groups, names, trainings.estimates, columns))]
    drawn = [name for name in metrics if all(name in own for own in trainings.estimates.values())]
    if drawn:
        body.append(section("Test scores", _drawn(trainings), pair(*[_plot(trainings, names, name) for name in drawn])))
    if len(trainings.groups) > 1:
        score = trainings.metrics[0]
        tests = {
            f"test {score.label}, by seed": (score.name, trainings.by_seed),
            f"test {score.label}, by patient": (score.name, trainings.by_patient),
        }
        note = f"There is no test over patients: {trainings.no_patients}." if trainings.no_patients else ""
        body.append(difference_section(trainings.groups, names, tests, note))
    return body


def _decisions(trainings: Trainings) -> str:
    """State the positive class and the decision thresholds, if the trainings record them."""
    results = [job.training for group in trainings.groups for job in group.jobs.values() if job.training is not None]
    notes = (decision_note(one.decision, one.data.get("classes", ()), one.name) for one in results)
    return "".join(dict.fromkeys(notes))


def _drawn(trainings: Trainings) -> str:
    several = any(own[trainings.metrics[0].name].has_interval for own in trainings.estimates.values())
    text = "Large dots are means over seeds, lines their 95 % intervals, pale dots the seeds."
    if not several:
        text = "Dots are single trainings: an interval needs two seeds or more."
    count = len(trainings.groups)
    return text + (f" The first {MAX_SHOWN} of {count} groups are drawn." if count > MAX_SHOWN else "")


def _plot(trainings: Trainings, names: Names, metric: str) -> str:
    """One metric: the plot, and its values in words."""
    unit, short = names.unit(metric), short_names(trainings.groups)
    sign = next(one.sign for one in trainings.metrics if one.name == metric)
    groups, words = [], []
    for group in trainings.groups[:MAX_SHOWN]:
        own, name = trainings.estimates[group.label][metric], short[group.label]
        values = [metrics_of(job)[metric] for job in group.jobs.values()]
        titles = [
            f"{name}, seed {'/'.join(map(str, seeds))}: {names.show(metric, value)}"
            for seeds, value in zip(group.jobs, values, strict=True)
        ]
        scale = unit.divisor
        scaled_S = np.array(values) / scale
        groups.append(Interval(name, own.mean / scale, own.low / scale, own.high / scale, scaled_S, titles))
        words.append(f"{name} {estimate_text(names, metric, own)}")
    better = "higher" if sign > 0 else "lower"
    caption = f"{unit.name} ({better} is better): {', '.join(words)}."
    return figure(intervals_plot(groups, f"test {unit.heading}", f"test {unit.name} of each group"), caption)
