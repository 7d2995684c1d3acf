"""HTML report of a search: chosen network, Pareto front, costs and pruned networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from nas.errors import NASError
from nas.history import CONFIRMATION, History, State, Trial
from nas.html.page import (
    Cell,
    architecture_section,
    facts,
    folded,
    pair,
    section,
    settings_table,
    table,
    warning_list,
    write_page,
)
from nas.metrics.metric import Metric
from nas.metrics.names import Names
from nas.report.noise import noise_section
from nas.report.search_plots import best_so_far, cost_of, front_figure, front_table, share_over_time
from nas.space import SearchSpace
from nas.task_spec import TaskSpec

MAX_FAILED = 10  # failed trials shown


def search_report(
    path: str | Path,
    *,
    title: str,
    space: SearchSpace,
    history: History,
    pruned_share: Sequence[tuple[int, float]],
    pruned_cost: np.ndarray,
    pruned_bound: np.ndarray,
    settings: Mapping[str, Any],
    more: Sequence[str] = (),
    metrics: Sequence[Metric] = (),
    about: str = "",
    task: TaskSpec | None = None,
    command: str = "",
    warnings: Sequence[str] = (),
) -> None:
    """Write a self-contained HTML file: the answer, the front, the chosen architecture, the settings.

    Args:
        path: File to write.
        title: Title of the page.
        space: Space of the search.
        history: Its trials.
        pruned_share: (finished trials, pruned fraction of the space in [0, 1]); empty if the strategy does not prune.
        pruned_cost: (P,) costs of architectures pruned without training.
        pruned_bound: (P,) the best scores that they could reach.
        settings: Settings of the search.
        more: Further sections after the chosen architecture, as HTML.
        metrics: Metrics that the task declares, for their names and digits.
        about: Why the search ended, how long it took and what its objectives measure, in a few sentences.
        task: Task that the networks are built for. If None, the space's own.
        command: The command to run next.
        warnings: Warnings about the scores, one sentence each.

    Raises:
        NASError: If no trial is finished.
    """
    done = history.complete()
    if not done:
        raise NASError(f"{len(history)} trials, none of them finished", "a finished trial", "look up the failures")
    chosen = history.best
    names = Names(tuple(metrics))
    score_in_words = escape(names.unit(history.score).name)
    best, shown = best_so_far(names, history, history.searched.means()), history.means()
    over_time = [best] if not pruned_share else [best, share_over_time(pruned_share)]
    write_page(
        path,
        kicker="Architecture search",
        title=title,
        answer=_answer(names, history, chosen),
        command=command,
        lead=(
            f"Scores on this page are <strong>validation {score_in_words}, not test scores</strong>. "
            f"{_optimism(history, chosen)} The test cases have not been touched; retraining gives the test score."
        ),
        body=[
            _facts(names, history, chosen, pruned_share),
            warning_list(warnings),
            *([section("The search", about)] if about else []),
            front_figure(names, space, history, shown, chosen, np.asarray(pruned_cost), np.asarray(pruned_bound)),
            front_table(names, history, chosen),
            pair(*over_time),
            architecture_section("The chosen architecture", space, chosen.arch, task),
            *noise_section(names, history),
            *more,
            *_failed_table(history),
            _settings(space, history, settings),
        ],
    )


def _optimism(history: History, chosen: Trial) -> str:
    if chosen.replicate < CONFIRMATION:
        return "The chosen network is the best of many on these very cases, so its score is optimistic."
    count = len({trial.arch.id for trial in history.confirmed.complete()})
    return (
        f"The best {count} networks of the search were trained again with other seeds, and the means of these "
        "trainings decide; their cases are those of the search, so the score is still somewhat optimistic."
    )


def _answer(names: Names, history: History, chosen: Trial) -> str:
    """State the chosen network, and how much cheaper ones of the front lose."""
    done, front, score, cost = len(history.final()), history.front(), history.score, history.cost_name
    costs = names.show(cost, cost_of(history, [chosen])[0], symbol=True)
    first = (
        f"Network {chosen.arch.id} is the best of {done} trained: validation {names.unit(score).name} "
        f"{names.show_mean(score, history.statistic(chosen, score), symbol=True)} with {costs} {names.unit(cost).name}."
    )
    if len(front) < 2:
        return f"{first} No other network is on the Pareto front."
    by_cost = cost_of(history, front)
    small = front[int(np.argmin(by_cost))]
    if small == chosen:
        return f"{first} It is also the cheapest of the {len(front)} networks on the Pareto front."
    return (
        f"{first} The cheapest of the {len(front)} networks on the Pareto front, {small.arch.id}, has "
        f"{names.show_mean(score, history.statistic(small, score), symbol=True)} with "
        f"{names.show(cost, by_cost.min(), symbol=True)}."
    )


def _facts(names: Names, history: History, chosen: Trial, pruned_share: Sequence[tuple[int, float]]) -> str:
    counts = {state: sum(record.state is state for record in history) for state in State}
    more = [f"{counts[state]} {state.value}" for state in (State.FAILED, State.RUNNING) if counts[state]]
    score = history.score
    over = history.statistic(chosen, score)
    error = names.show_mean(score, over).partition(" ± ")[2]
    error = f"± {error}" if error else ""
    items = [
        ("Chosen network", chosen.arch.id, f"trial {chosen.number}"),
        (f"Validation {names.unit(score).name}", names.show(score, over.mean), error),
        (
            names.unit(history.cost_name).name,
            names.show(history.cost_name, cost_of(history, [chosen])[0], symbol=True),
            "",
        ),
        ("Scored networks", str(len(history.final())), ", ".join(more)),
    ]
    if "params" in chosen.metrics and history.cost_name != "params":
        items.insert(3, ("Parameters", names.show("params", chosen.metrics["params"], symbol=True), ""))
    if confirmed := history.confirmed.complete():
        networks = len({trial.arch.id for trial in confirmed})
        items.append(("Confirmed networks", str(networks), f"{len(confirmed)} trainings"))
    if pruned_share:
        items.append(("Space ruled out", f"{100 * pruned_share[-1][1]:.1f} %", "without training"))
    return facts(items)


def _failed_table(history: History) -> list[str]:
    failed = [record for record in history if record.state is State.FAILED]
    if not failed:
        return []
    rows = [
        [
            Cell(record.arch.id, code=True),
            Cell(str(record.number), number=True),
            Cell(record.reason or "no reason given"),
        ]
        for record in failed[:MAX_FAILED]
    ]
    note = "These trials have no score and are not part of the results above."
    if len(failed) > MAX_FAILED:
        note += f" The first {MAX_FAILED} of {len(failed)} are listed."
    return [
        section("Failed trials", note, table([Cell("architecture"), Cell("trial", number=True), Cell("reason")], rows))
    ]


def _settings(space: SearchSpace, history: History, given: Mapping[str, Any]) -> str:
    starts = [record.started for record in history if record.started > 0]
    ends = [record.finished for record in history if record.finished > 0]
    provenance = {
        "first trial began": _clock(min(starts)) if starts else None,
        "last trial ended": _clock(max(ends)) if ends else None,
        "workers": len({record.worker for record in history}),
        "space": space.fingerprint,
        "class": space.class_path,
        "objectives": [f"{direction} {name}" for name, direction in history.objectives.items()],
        "cost": history.cost_name,
    }
    return folded("Settings and provenance", settings_table({"study facts": provenance, **given}))


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
