"""The end of a search in the terminal: the Pareto front and the chosen architecture."""

from __future__ import annotations

import textwrap
from pathlib import Path

from nas.budget import SearchEnd
from nas.found import CHOSEN, SearchResult
from nas.history import History, Trial
from nas.metrics.names import MISSING, Names
from nas.report.search_files import next_command
from nas.utils.files import from_here
from nas.utils.text_table import aligned, terminal_width


def summary(result: SearchResult, folder: Path, ended: SearchEnd) -> str:
    """Return the end of the terminal's output: the Pareto front and the chosen architecture.

    Args:
        result: The search.
        folder: The output folder.
        ended: Why the search ended.

    Returns:
        Several lines.
    """
    history, chosen = result.history, result.history.best
    names = list(history.objectives)
    lines = [
        f"{ended.reason} It took {ended.took}.",
        "",
        f"Pareto front of {_which(history)} ({history.score} on the validation part):",
        "",
    ]
    units = Names(result.problem.task.metrics)
    costs = [name for name in ("params",) if name not in names]
    headings = {name: units.unit(name).heading for name in [*names, *costs]}
    rows = []
    for trial in history.front():
        row = {"architecture": trial.arch.id + (" (chosen)" if trial.arch == chosen.arch else "")}
        rows.append(row | {heading: _shown(units, history, trial, name) for name, heading in headings.items()})
    lines.append(aligned(rows, ["architecture", *headings.values()]))
    picture = result.problem.space.describe(chosen.arch)
    warned = [textwrap.fill(f"warning: {text}", terminal_width(), subsequent_indent="  ") for text in result.warnings]
    if warned:
        lines += ["", *warned]
    wrote = f"wrote {from_here(folder / CHOSEN)} and {from_here(folder / 'report.html')}"
    return "\n".join([*lines, "", picture, "", wrote, f"next: {next_command(folder)}"])


def _which(history: History) -> str:
    trained, confirmed = len(history.final()), {trial.arch.id for trial in history.confirmed.complete()}
    if not confirmed:
        return f"{trained} trained networks"
    return f"{len(confirmed)} confirmed networks, of {trained} trained"


def _shown(units: Names, history: History, trial: Trial, name: str) -> str:
    return units.show_mean(name, history.statistic(trial, name)) if name in trial.metrics else MISSING
