"""Check of the settings of a search before anything starts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.build import TARGET, build
from experiments.config import SearchConfig, require_dry_run
from nas.errors import NASError
from nas.study.url import require_form

if TYPE_CHECKING:
    from nas.tasks.base import Task

OF_A_CLASS = re.compile(r"_\d+$")  # end of the name of a metric of one class; the data decide how many there are
PARTS = ("training", "space", "strategy", "fidelity", "evaluator", "data", "split", "task", "tracking")


def check_search(plain: Mapping[str, Any], typed: Sequence[str]) -> None:
    """Check the settings of conf/search.yaml.

    Args:
        plain: The settings, with interpolations filled in.
        typed: The settings of the command line.

    Raises:
        NASError: For the first setting that is wrong.
    """
    require_dry_run(plain)
    config = SearchConfig.of(plain)
    if config.cost.table is not None and not Path(config.cost.table).is_file():
        raise NASError(f"cost.table={config.cost.table}", "a latency table", "correct the path, or see voxnas cost")
    if config.study.url is not None:
        require_form(config.study.url)
    from experiments.parts import check_parts  # here, as torch takes long to import

    check_parts(config, PARTS, worker=config.worker)
    check_metrics(config)


def check_metrics(config: SearchConfig) -> None:
    """Check that the metrics of objectives and constraints are known, as far as this is possible without the data.

    Args:
        config: The settings, whose parts have been checked.

    Raises:
        NASError: For the first unknown metric.
    """
    from nas.evaluators.base import Evaluator
    from nas.multiobjective.constraints import Constraint
    from nas.problem import SCORE, require_known

    task = _task_before_data(config)
    if task is None:
        return
    reported = build(config.evaluator, "evaluator", Evaluator).metrics(task)
    if reported is None:
        return
    names = [name for name in config.objectives if name != SCORE]
    names += [Constraint.parse(text).metric for text in config.constraints]
    require_known([name for name in names if OF_A_CLASS.sub("", name) not in reported], reported)


def _task_before_data(config: SearchConfig) -> Task | None:
    """Make the task with two outputs, for the names of its metrics; None if its settings need those of the data."""
    from experiments.spaces import space_of
    from nas.tasks.base import Task
    from nas.tasks.default import TASKS

    settings = config.task
    if settings is None:
        kind = space_of(config.space).kind
        if kind not in TASKS:
            return None
        settings = {TARGET: f"nas.tasks.{TASKS[kind]}"}
    for dims in (3, 2):
        try:
            return build(settings, "task", Task, in_channels=1, outputs=2, dims=dims)
        except NASError:  # of settings for more classes or other sides, which are checked with the data
            continue
    return None
