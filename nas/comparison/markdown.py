"""A comparison as Markdown, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from nas.comparison.compare import Comparison
from nas.comparison.groups import Group
from nas.comparison.of_searches import HYPERVOLUME
from nas.comparison.record import FINISHED
from nas.comparison.statistics import Difference, Estimate
from nas.metrics.names import MISSING, TRAINING_MACS, Names
from nas.retraining.tables import over_seeds
from nas.utils.markdown_text import markdown_row, markdown_text


def as_markdown(comparison: Comparison) -> str:
    """Write tables of searches and trainings, what differs beyond noise, and the jobs without a result.

    Args:
        comparison: The comparison.

    Returns:
        Markdown.

    Raises:
        NASError: If two results of one network and one seed differ.
    """
    name, digest = comparison.data
    parts = []
    if comparison.searches is not None:
        caption = f"{name} ({digest[:8]}), searches: validation scores of the chosen networks, mean [95 % interval]"
        rows = search_rows(comparison)
        lines = [markdown_row(rows[0]), "| --- |" + " ---: |" * (len(rows[0]) - 1)]
        lines += [markdown_row(row.values()) for row in rows]
        parts.append("\n".join([markdown_text(caption), "", *lines]) + "\n")
    if comparison.trainings is not None:
        parts += [table for _, table in training_tables(comparison.trainings.groups)]
    parts.append("\n".join(map(markdown_text, comparison.verdicts)) + "\n")
    if comparison.differences:
        parts.append("".join(f"- {markdown_text(line)}\n" for line in comparison.differences))
    if comparison.warnings:
        parts.append("".join(f"- warning: {markdown_text(line)}\n" for line in comparison.warnings))
    left_out = [job for job in comparison.jobs if job.state != FINISHED]
    if left_out:
        lines = [f"{job.folder}: {job.state}{f': {job.reason}' if job.reason else ''}" for job in left_out]
        parts.append("Jobs without a result:\n\n" + "\n".join(f"- {markdown_text(line)}" for line in lines) + "\n")
    return "\n".join(parts)


def search_rows(comparison: Comparison) -> list[dict[str, str]]:
    """Return one row per group of searches.

    Args:
        comparison: A comparison with searches.

    Returns:
        Heading -> text: group, seeds, score, other objectives, parameters, hypervolume, networks, seconds and
        MACs of training.
    """
    searches, names = comparison.searches, comparison.names
    assert searches is not None
    shown = list(dict.fromkeys([searches.score, *searches.objectives, "params"]))
    rows = []
    for group in searches.groups:
        own = searches.estimates[group.label]
        row = {"searches": group.label, "seeds": str(len(group.jobs))}
        row |= {names.unit(name).heading: estimate_text(names, name, own.get(name)) for name in shown}
        if HYPERVOLUME in own:
            row[HYPERVOLUME] = estimate_text(names, HYPERVOLUME, own[HYPERVOLUME])
        row["networks"] = f"{own['networks'].mean:.4g}"
        row["seconds"] = f"{own['seconds'].mean:,.0f}"
        row[names.unit(TRAINING_MACS).heading] = estimate_text(names, TRAINING_MACS, own.get(TRAINING_MACS))
        rows.append(row)
    return rows


def training_tables(groups: Sequence[Group]) -> list[tuple[str, str]]:
    """Return tables of trainings with all their systems: networks, ensembles and baselines.

    Args:
        groups: Groups of trainings.

    Returns:
        (label, Markdown): one table, or one for each group if groups have trainings of the same network and seed.

    Raises:
        NASError: If two results of one network and one seed differ within a group.
    """
    results = [
        {str(job.folder): job.training for job in group.jobs.values() if job.training is not None} for group in groups
    ]
    every = {source: result for members in results for source, result in members.items()}
    if len({(one.name, one.arch_id, one.seed) for one in every.values()}) == len(every):
        return [("", over_seeds(every))]
    tables: dict[tuple[str, ...], tuple[str, str]] = {}
    for group, members in zip(groups, results, strict=True):  # those of a training on several networks have one table
        tables.setdefault(tuple(members), (group.label, f"{group.label}: {over_seeds(members)}"))
    return list(tables.values())


def estimate_text(names: Names, name: str, estimate: Estimate | None) -> str:
    """Write a mean with its interval in the unit of its metric.

    Args:
        names: Names and formats.
        name: Name of a metric or cost.
        estimate: The mean; None if it was not measured.

    Returns:
        For example "0.812 [0.790, 0.834]"; without the interval if there is none.
    """
    if estimate is None:
        return MISSING
    text = names.show(name, estimate.mean)
    if not estimate.has_interval:
        return text
    return f"{text} [{names.show(name, estimate.low)}, {names.show(name, estimate.high)}]"


def difference_text(names: Names, name: str, difference: Difference | None) -> tuple[str, str]:
    """Write a difference with its interval, and its p value.

    Args:
        names: Names and formats.
        name: Name of the metric.
        difference: The difference; None if there are no pairs.

    Returns:
        For example "+0.021 [-0.004, +0.046]" and "0.072"; a dash for what does not exist.
    """
    if difference is None:
        return MISSING, MISSING
    text = difference.text(names.unit(name).decimals or 3)
    return text, MISSING if difference.p != difference.p else f"{difference.p:.2g}"
