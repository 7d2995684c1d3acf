"""The strategy of a search: what proposes networks, from what it starts, and how long networks are trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.build import build
from experiments.config import SearchConfig
from nas.architecture import Architecture
from nas.errors import NASError
from nas.evaluators.base import Evaluator
from nas.history import Proposal
from nas.strategies.base import Strategy
from nas.strategies.fidelity.schedule import Fidelity
from nas.strategies.fidelity.strategy import MultiFidelity
from nas.strategies.prior import Prior
from nas.study.probe import study_of_store
from nas.trials_table import TrialsTable, read_h5
from nas.utils.checked import signature_of

TABLES = (".h5", ".hdf5")


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
    if config.warm_start is not None:
        if "warm_start" not in signature_of(type(strategy))[0]:
            raise NASError(
                f"warm_start={config.warm_start} with {type(strategy).__name__}, which learns from its own trials only",
                "a strategy that takes trials of another study",
                "strategy=predictor, regularized_evolution, local_search, tpe or nsga2, or leave out warm_start",
            )
        prior = Prior(read_trials(config.warm_start), config.warm_start)
        strategy = build(config.strategy, "strategy", Strategy, allow, warm_start=prior)
    if config.fidelity is None:
        return strategy
    return MultiFidelity(strategy, build(config.fidelity, "fidelity", Fidelity, allow))


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
