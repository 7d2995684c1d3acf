"""Strategy of a search: proposals of networks, prior trials, and how long networks are trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.build import TARGET, build
from experiments.config import SearchConfig
from nas.architecture import Architecture
from nas.errors import NASError
from nas.evaluators.base import Evaluator
from nas.history import Proposal
from nas.strategies.base import Strategy
from nas.strategies.fidelity.priorband import PriorBand
from nas.strategies.fidelity.schedule import Fidelity
from nas.strategies.fidelity.strategy import MultiFidelity
from nas.strategies.prior import Prior
from nas.study.probe import study_of_store
from nas.trials_table import TrialsTable, read_h5
from nas.utils.checked import signature_of

TABLES = (".h5", ".hdf5")
PRIORBAND = "nas.strategies.PriorBand"


def strategy_of(config: SearchConfig, allow: Sequence[str] | None = None) -> Strategy:
    """Build the strategy of a search with its multi-fidelity rule and the trials that it starts from.

    Args:
        config: The settings.
        allow: Packages whose classes the settings may name if they come from a file; None for any.

    Returns:
        The strategy.

    Raises:
        NASError: If a setting is wrong, the trials cannot be read, or the strategy cannot use any.
    """
    strategy = build(config.strategy, "strategy", Strategy, allow)
    if config.warm_start is not None and "warm_start" not in signature_of(type(strategy))[0]:
        raise NASError(
            f"warm_start={config.warm_start} with {type(strategy).__name__}, which learns from its own trials only",
            "a strategy that takes trials of another study",
            "strategy=predictor, regularized_evolution, local_search, tpe or nsga2, or leave out warm_start",
        )
    if isinstance(strategy, MultiFidelity):  # its new networks depend on the budgets
        return strategy if config.fidelity is None else _with_rule(config, allow)
    if config.warm_start is not None:
        prior = Prior(read_trials(config.warm_start), config.warm_start)
        strategy = build(config.strategy, "strategy", Strategy, allow, warm_start=prior)
    if config.fidelity is None:
        return strategy
    return MultiFidelity(strategy, build(config.fidelity, "fidelity", Fidelity, allow))


def _with_rule(config: SearchConfig, allow: Sequence[str] | None) -> Strategy:
    rule = build(config.fidelity, "fidelity", Fidelity, allow)
    return build(config.strategy, "strategy", Strategy, allow, fidelity=rule)


def rule_of(config: Mapping[str, Any], allow: Sequence[str]) -> Fidelity | None:
    """Return the rule by which a recorded search decided for how long networks are trained.

    Args:
        config: The configuration that a file records.
        allow: Packages beside VoxNAS whose classes the file may name.

    Returns:
        The rule; None if all networks were trained alike.

    Raises:
        NASError: If a setting is wrong.
    """
    if config.get("fidelity") is not None:
        return build(config["fidelity"], "fidelity", Fidelity, allow)
    recorded = config.get("strategy")
    if isinstance(recorded, Mapping) and recorded.get(TARGET) == PRIORBAND:
        return build(recorded, "strategy", PriorBand, allow).fidelity
    return None


def mean_proposal(arch: Architecture, strategy: Strategy, evaluator: Evaluator) -> Proposal:
    """Return a proposal that takes as long as the mean trial of a search.

    Args:
        arch: The architecture.
        strategy: For the budgets of its proposals.
        evaluator: For whether a larger budget continues a smaller one.

    Returns:
        The architecture with the mean number of epochs that a trial runs; 0 for the evaluator's own.
    """
    epochs = strategy.mean_budget(evaluator.continues)
    return Proposal(arch, 0 if epochs is None else max(round(epochs), 1))


def full_proposal(arch: Architecture, strategy: Strategy) -> Proposal:
    """Return a proposal that takes as long as a training of the confirmation, which has the largest budget.

    Args:
        arch: The architecture.
        strategy: For the budgets of its proposals.

    Returns:
        The architecture with the largest budget of the search; 0 for the evaluator's own.
    """
    return Proposal(arch, strategy.fidelity.budgets[-1] if isinstance(strategy, MultiFidelity) else 0)


def read_trials(text: str) -> TrialsTable:
    """Read the trials of a study.

    Args:
        text: A table that `voxnas study export` wrote (.h5), or a store (output folder, file or URL), followed by `#`
            and the name of the study if the store has several.

    Returns:
        The trials.

    Raises:
        NASError: If there is no such table or study.
    """
    if Path(text).suffix in TABLES:
        try:
            return read_h5(text)
        except NASError as error:
            raise NASError(f"warm_start={error.got}", error.expected, error.fix) from error
    store, separator, name = (text, "", "") if Path(text).exists() else text.rpartition("#")
    try:
        study = study_of_store(store or text, name if separator else None)
    except NASError as error:
        raise NASError(
            f"warm_start={text} ({error.got})", f"{error.expected}, or a table that ends in .h5", error.fix
        ) from error
    table = TrialsTable.of(study.records(), study.space_facts, study.objectives, study.spec)
    study.close()
    return table
