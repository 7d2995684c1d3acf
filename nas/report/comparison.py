"""The page that compares searches and trainings, and the table of their jobs."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from nas.comparison.compare import Comparison, compare_jobs
from nas.comparison.jobs import Job
from nas.comparison.record import FINISHED
from nas.comparison.rows import rows_of, write_rows
from nas.html.page import Cell, facts, section, warning_list, write_page
from nas.html.stacked_table import stacked_table
from nas.metrics.names import MISSING
from nas.report.comparison_searches import search_sections
from nas.report.comparison_trainings import training_sections

PAGE, ROWS = "compare.html", "sweep.csv"


def write_comparison(
    folder: Path, jobs: Sequence[Job], allow: Sequence[str] = (), resamples: int = 2000, seed: int = 0
) -> Comparison:
    """Write sweep.csv and compare.html.

    Args:
        folder: Folder of both files.
        jobs: The jobs.
        allow: Packages beside VoxNAS that may define the task.
        resamples: Number of bootstrap samples of patients.
        seed: Seed of the bootstrap.

    Returns:
        The comparison.

    Raises:
        NASError: If the jobs cannot be compared; nothing is written.
    """
    comparison = compare_jobs(jobs, allow, resamples, seed)
    write_sweep(folder, jobs)
    comparison_report(folder / PAGE, comparison, title=folder.resolve().name)
    return comparison


def write_sweep(folder: Path, jobs: Sequence[Job]) -> None:
    """Write sweep.csv, which compares nothing.

    Args:
        folder: Folder of the file.
        jobs: The jobs.
    """
    rows = rows_of(jobs)
    for row, job in zip(rows, jobs, strict=True):
        row["folder"] = _relative(job.folder, folder)
    write_rows(folder / ROWS, rows)


def comparison_report(path: Path, comparison: Comparison, *, title: str) -> None:
    """Write a self-contained HTML file.

    Args:
        path: The file.
        comparison: The comparison.
        title: Name of the sweep.
    """
    name, digest = comparison.data
    jobs = _by_folder(comparison.jobs)
    finished = [job for job in jobs if job.state == FINISHED]
    kinds = [
        f"{count} {word}{'s' if count > 1 else ''}"
        for word in ("search", "training")
        if (count := sum(job.kind == word for job in finished))
    ]
    kinds = [text.replace("searchs", "searches") for text in kinds]
    body = [_facts(comparison, len(finished)), section("Answer", "", *_paragraphs(comparison.verdicts))]
    body.append(warning_list(comparison.warnings))
    if comparison.searches is not None:
        body += search_sections(comparison.searches, comparison.names)
    if comparison.trainings is not None:
        body += training_sections(comparison.trainings, comparison.names)
    body += [_jobs_section(comparison, path.parent), _methods(comparison)]
    write_page(
        path,
        kicker="Comparison",
        title=title,
        lead=f"{' and '.join(kinds)} on {escape(name)} ({escape(digest[:8])})"
        + (f", a {escape(comparison.kind)}." if comparison.kind else "."),
        body=[part for part in body if part],
    )


def _facts(comparison: Comparison, finished: int) -> str:
    groups = [group for part in (comparison.searches, comparison.trainings) if part for group in part.groups]
    seeds = [len(group.jobs) for group in groups]
    spread = str(seeds[0]) if len(set(seeds)) == 1 else f"{min(seeds)} to {max(seeds)}"
    items = [("First group", groups[0].label, "the others are tested against it"), ("Groups", str(len(groups)), "")]
    jobs = len(_by_folder(comparison.jobs))
    items += [("Seeds per group", spread, ""), ("Finished jobs", f"{finished} of {jobs}", "")]
    return facts(items)


def _by_folder(jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs, a training on several networks once."""
    return list({job.folder: job for job in jobs}.values())


def _paragraphs(sentences: Sequence[str]) -> list[str]:
    return [f"<p>{escape(sentence)}</p>" for sentence in sentences]


def _jobs_section(comparison: Comparison, folder: Path) -> str:
    rows = [
        [
            Cell(_relative(job.folder, folder), code=True),
            Cell(job.kind),
            Cell(MISSING if job.seed is None else str(job.seed), number=True),
            Cell(f"{job.state}: {job.reason}" if job.reason else job.state),
        ]
        for job in _by_folder(comparison.jobs)
    ]
    head = [Cell("folder"), Cell("kind"), Cell("seed", number=True), Cell("state")]
    return section(
        "Jobs", f"{ROWS} beside this page has all their settings, metrics and costs.", stacked_table(head, rows)
    )


def _methods(comparison: Comparison) -> str:
    lines = [
        "Intervals over seeds are those of Student's t distribution: they hold what differs between seeds, not between "
        "patients, assume that values of seeds are roughly normal, and end at 0 for costs. Intervals over patients are "
        "those of a bootstrap, which also draws the seeds of a group that has several.",
        "A difference is within noise if its 95 % interval holds 0, if there is no interval, or if the p value of its "
        "t-test, multiplied by the number of groups that are tested (Bonferroni), is 0.05 or more.",
    ]
    if comparison.searches is not None:
        lines.append(
            "Trials are in the order in which they began. The cost of a search is the training time of its trials, "
            "failed ones included, whatever the number of workers; it depends on the machine. A search that ended "
            "early keeps its last value. Validation scores of chosen networks are optimistic; retraining gives test "
            "scores."
        )
    return section("How to read this page", "", *_paragraphs(lines))


def _relative(folder: Path, base: Path) -> str:
    own, above = folder.resolve(), base.resolve()
    return str(own.relative_to(above)) if own.is_relative_to(above) else str(folder)
