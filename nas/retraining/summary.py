"""The result of a training and the rows of its table, from the scores of all systems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from nas.context import TaskSetup, versions
from nas.metrics.bootstrap import mean_of
from nas.metrics.metric import MM, VOXELS, Metric, in_unit_of, with_class_names
from nas.retraining.calibration import calibration_of
from nas.retraining.result import OF_A_FOLD, TrainResult
from nas.retraining.scoring import Scorer, System
from nas.retraining.subgroups import subgroup_scores
from nas.retraining.tables import Row
from nas.retraining.training_warnings import training_warnings


def summarise(
    scorer: Scorer,
    main: System,
    networks: Sequence[System],
    baselines: Sequence[System],
    setting: TaskSetup,
    **facts: Any,
) -> TrainResult:
    """Measure all systems.

    Args:
        scorer: Scores on the tested samples.
        main: The network that the result is about.
        networks: All retrained networks, `main` among them; their ensemble, if there is one, comes first. The first is
            the headline: the model that a user would use.
        baselines: Models that they are compared with.
        setting: Data, split and task of the training.
        **facts: Further fields of the result: arch_id, protocol, seed, search_patients_known.

    Returns:
        The result, with paired differences of the headline to every other system.
    """
    folds, headline = scorer.folds(main), networks[0]
    in_mm, declared = scorer.spacing_mm is not None, scorer.task.metrics
    members = len(headline.tested) or len(networks) - 1
    metrics = with_class_names(in_unit_of(declared, in_mm), setting.store.classes)
    scores = {system.name: _scored(scorer, system) for system in networks}
    return TrainResult(
        name=main.name,
        costs=main.costs,
        folds=folds,
        mean=mean_of([{name: value for name, value in fold.items() if name not in OF_A_FOLD} for fold in folds]),
        ci95=scorer.interval_of_mean(main),
        ensembles=scores,
        baselines={system.name: _scored(scorer, system) for system in baselines},
        differences={system.name: scorer.difference(headline, system) for system in [*networks[1:], *baselines]},
        metrics=metrics,
        warnings=tuple(training_warnings(scorer, networks, setting, scores[headline.name], metrics[0])),
        headline={"system": headline.name, "networks": members},
        decision=_decision(scorer, [*networks, *baselines]),
        calibration=calibration_of(scorer, headline, [system for system in networks if system.tested]),
        subgroups=_subgroups(scorer, headline, metrics),
        tested={"samples": len(scorer.rows), "groups": len(np.unique(scorer.group))},
        length_unit=(MM if in_mm else VOXELS) if any(metric.length for metric in declared) else None,
        task=scorer.task.identity,
        data=asdict(setting.data_facts),
        split=asdict(setting.split_facts),
        versions=versions(),
        **facts,
    )


def table_rows(result: TrainResult, main: System, systems: Sequence[System]) -> list[Row]:
    """Return the rows of a training's table.

    Args:
        result: The result.
        main: The network that the result is about.
        systems: All systems in the order of the table.

    Returns:
        Every system, the headline first; if there are several folds, the mean over those of `main` after its row.
    """
    scored = {**result.ensembles, **result.baselines}
    rows = [Row(one.name, _metrics(scored[one.name]), scored[one.name]["ci95"], one.costs) for one in systems]
    if len(result.folds) == 1:
        return rows
    if result.protocol == "holdout":  # all folds share the test part: a row is an ensemble
        folds = {one.name: len(one.tested) for one in systems}
        names = [
            f"{row.system}, ensemble of {folds[row.system]}" if folds[row.system] > 1 else row.system for row in rows
        ]
        rows = [Row(name, row.metrics, row.ci95, row.costs) for name, row in zip(names, rows, strict=True)]
    mean = Row(f"{main.name}, mean of {len(result.folds)}", result.mean, result.ci95, main.costs)
    after = systems.index(main) + 1
    return [*rows[:after], mean, *rows[after:]]


def _subgroups(scorer: Scorer, headline: System, metrics: Sequence[Metric]) -> list[dict[str, Any]]:
    rows, store = scorer.rows, scorer.store
    columns = {name: values_N[rows] for name, values_N in store.subgroups.items()}
    shown = [metric for metric in metrics if metric.in_tables]
    draws = scorer.bootstrap.rows
    return subgroup_scores(scorer.scores(headline), columns, scorer.group, store.labels[rows], draws, shown)


def _decision(scorer: Scorer, systems: Sequence[System]) -> dict[str, Any]:
    """Describe how classes are decided: the positive class, and the threshold of each system that has one."""
    positive = scorer.task.positive_class(scorer.store.classes)
    found: dict[str, Any] = {} if positive is None else {"positive": positive}
    thresholds = {system.name: scorer.task_of(system).inference.get("threshold") for system in systems}
    known = {name: value for name, value in thresholds.items() if value is not None}
    return {**found, "thresholds": known} if known else found


def _scored(scorer: Scorer, system: System) -> dict[str, Any]:
    return {**scorer.over_all(system), "ci95": scorer.interval(system)}


def _metrics(scores: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in scores.items() if name != "ci95"}
