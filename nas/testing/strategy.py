"""The check of a strategy."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np

from nas.errors import NASError
from nas.history import History, Proposal, State, Trial
from nas.multiobjective.constraints import Constraint
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.testing.examples import TinyNets
from nas.testing.findings import no_error, require

OBJECTIVES = {"score": "maximize", "cost": "minimize"}
PURE = "a pure function of history and generator"
ONCE = "no network twice with one budget"


def check_strategy(strategy: Strategy, space: SearchSpace | None = None, trials: int = 12) -> History:
    """Check the properties of a strategy that a study needs.

    Proposals are a pure function of the history and the generator: a second call and a fresh copy of the strategy
    agree, and the history stays as it was. They are in the space and satisfy the constraints known beforehand. No
    architecture is proposed twice with the same budget; a larger budget follows only after the smaller one has
    finished. Simulated searches have two objectives, the same with constraints, and a cost as the only objective; their
    histories include a running and a failed trial.

    Args:
        strategy: Strategy to check.
        space: Space to search; if None, one of 144 architectures with ordered and unordered genes.
        trials: Maximum number of trials per search.

    Returns:
        History of the search with two objectives.

    Raises:
        CheckFailed: For the first property that does not hold.
    """
    space = TinyNets() if space is None else space
    with no_error("identity", "arguments that a study can record", "keep every argument of __init__ under its name"):
        strategy.identity  # noqa: B018
    rng = np.random.default_rng(0)
    bound = float(np.median(_sum_of_genes(space.encode([space.sample(rng) for _ in range(64)]))))
    limits = (Constraint("cost", bound), Constraint("score", 0.0, at_most=False))
    unused = copy.deepcopy(strategy)
    history = History((), OBJECTIVES, _sum_of_genes, "cost")
    _play(strategy, unused, space, replace(history, constraints=limits, costs={"cost": _sum_of_genes}), trials)
    _play(strategy, unused, space, replace(history, objectives={"cost": "minimize"}), trials)
    return _play(strategy, unused, space, history, trials)


def _sum_of_genes(genes_NG: np.ndarray) -> np.ndarray:
    return np.atleast_2d(genes_NG).sum(axis=1).astype(np.float64)


def _play(strategy: Strategy, unused: Strategy, space: SearchSpace, history: History, trials: int) -> History:
    for number in range(trials):
        first = _proposal(strategy, unused, space, history, number)
        if first is None:
            break
        _check_proposal(first, space, history)
        state = {3: State.RUNNING, 5: State.FAILED}.get(number, State.COMPLETE)
        cost = float(_sum_of_genes(space.encode([first.arch]))[0])
        metrics = {"score": math.sin(cost), "cost": cost} if state is State.COMPLETE else {}
        ended = Trial(number, first.arch, first.budget, state, metrics, finished=number + 1.0)
        record = replace(ended, replicate=first.replicate)
        history = replace(history, records=(*history.records, record))
    require(len(history), "no proposal at all", "at least one network", "return a Proposal for an empty history")
    return history


def _proposal(
    strategy: Strategy, unused: Strategy, space: SearchSpace, history: History, number: int
) -> Proposal | None:
    """Ask three times: the strategy twice, and a copy that has answered nothing before."""
    before = copy.deepcopy(history.records)
    answers = []
    for player in (strategy, strategy, copy.deepcopy(unused)):
        with no_error(f"propose() after {number} trials", "a Proposal or None", "handle a history of any length"):
            answers.append(player.propose(space, history, np.random.default_rng(number)))
        require(
            history.records == before,
            f"propose() after {number} trials, which changed the history",
            "a history that is only read",
            "copy lists and mappings of the history before they are changed",
        )
    first, second, third = answers
    require(
        first is None or isinstance(first, Proposal),
        f"a {type(first).__name__} from propose()",
        "a Proposal or None",
        "return Proposal(arch)",
    )
    require(
        first == second,
        f"two answers to one history after {number} trials",
        PURE,
        "draw everything from the generator that propose() is given, and keep no state",
    )
    require(
        first == third,
        f"another answer from a strategy that was asked before, after {number} trials",
        PURE,
        "keep no state in the strategy: another worker has not seen the earlier calls",
    )
    return first


def _check_proposal(proposal: Proposal, space: SearchSpace, history: History) -> None:
    arch, budget = proposal.arch, proposal.budget
    genes = list(arch.genes)
    try:
        inside = space.architecture(arch.genes) == arch
    except NASError:
        inside = False
    found = f"a proposal of the genes {genes}, which the space does not have"
    require(inside, found, "an architecture of the space", "propose what space.sample, mutate or repair return")
    require(
        type(budget) is int and budget >= 0,
        f"budget={budget!r}",
        "a budget that is a whole number of epochs, 0 for the evaluator's own",
        "Proposal(arch, int(epochs))",
    )
    require(
        type(proposal.replicate) is int and proposal.replicate >= 0,
        f"replicate={proposal.replicate!r}",
        "a whole number, 0 for the first evaluation of a network",
        "Proposal(arch, replicate=1)",
    )
    for record in history:
        if (record.arch, record.replicate) == (arch, proposal.replicate) and record.state is not State.FAILED:
            again = f"the genes {genes} of trial {record.number}"
            new = "leave out networks of the history"
            require(record.budget != budget, f"{again} proposed twice", ONCE, new)
            ended = record.state is State.COMPLETE
            require(ended, f"{again}, which is still running, proposed again", ONCE, "wait for its result")
            found = f"{again} proposed again with no larger budget: {budget} after {record.budget}"
            require(0 < record.budget < budget, found, "a larger budget", new)
    found = f"the genes {genes}, with which a constraint that is known before training is broken"
    kept = history.admits(space.encode([arch])).all()
    require(kept, found, "networks that keep it", "test candidates by history.admits(space.encode([arch]))")
