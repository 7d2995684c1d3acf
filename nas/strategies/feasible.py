"""Check of limits on costs before a search begins: whether some network of the space keeps them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nas.cost.model import CostModel
from nas.errors import NASError
from nas.evaluators.base import Evaluator
from nas.history import History
from nas.problem import Problem
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.strategies.enumeration import enumeration_of
from nas.strategies.sampling import CostWindow, draw

SAMPLES = 64  # networks from which the search for the cheapest and the dearest one starts
ROUNDS = 4  # of changing one gene after the other


def require_feasible(problem: Problem, limits: CostWindow, *, draws: bool) -> None:
    """Check that a network of the space keeps the constraints on costs and the limits of the strategy.

    Args:
        problem: Space, cost and constraints.
        limits: Limits of the strategy on the cost of the problem.
        draws: Whether the strategy depends on random networks, so that a search ends if none of them keeps the limits.
            If False, limits are refused only if one of them alone is out of reach.

    Raises:
        NASError: If none is found; the message names the smallest and the largest value that networks have.
    """
    if not problem.limiting_costs and not any(value is not None for value in limits.arguments.values()):
        return
    found = draw(problem.space, empty_history(problem), limits, np.random.default_rng(0))
    if found is None and (draws or _out_of_reach(problem, limits)):
        raise infeasible(problem, limits)


def _out_of_reach(problem: Problem, limits: CostWindow) -> bool:
    """Whether one limit alone excludes all networks."""
    own = {problem.cost.metric: problem.cost, **problem.limiting_costs}
    ranges = reachable(problem.space, own)
    low, high = ranges[problem.cost.metric]
    if limits.low > high or limits.high < low:
        return True
    return any(
        limit.excess(np.array(ranges[limit.metric])).min() > 0
        for limit in problem.constraints
        if limit.metric in problem.limiting_costs
    )


def empty_history(problem: Problem) -> History:
    """Return the history of a study without trials.

    Args:
        problem: Space, task, cost, objectives and constraints.

    Returns:
        The history.
    """
    cost, limits = problem.cost, problem.limiting_costs
    return History((), problem.objectives, cost, cost.metric, problem.constraints, limits)


def infeasible(problem: Problem, limits: CostWindow) -> NASError:
    """Make the error for limits that no network keeps.

    Args:
        problem: Space, cost and constraints.
        limits: Limits of the strategy on the cost of the problem.

    Returns:
        The error, with the range of each limited cost.
    """
    limited = dict(problem.limiting_costs)
    stated = [str(limit) for limit in problem.constraints if limit.metric in limited]
    ends = {name: value for name, value in limits.arguments.items() if value is not None}
    if ends:
        limited[problem.cost.metric] = problem.cost
        stated += [f"strategy.{name}={value:g}" for name, value in ends.items()]
    ranges = [f"{name} from {low:g} to {high:g}" for name, (low, high) in reachable(problem.space, limited).items()]
    return NASError(
        f"no network that keeps {', '.join(stated)}",
        f"limits within the range of the space: {', '.join(ranges)}",
        "change constraints, the strategy's limits or the space; nothing was created",
    )


def reachable(space: SearchSpace, costs: dict[str, CostModel]) -> dict[str, tuple[float, float]]:
    """Return the smallest and the largest value of costs among the networks of a space.

    Args:
        space: The space.
        costs: Cost models by name.

    Returns:
        Smallest and largest value by name: exact if the space can be enumerated, else found by changing one gene after
        the other, from the best of some random networks.
    """
    listed = enumeration_of(space)
    if listed is not None:
        values = {name: listed.costs(cost)(listed.genes_NG) for name, cost in costs.items()}
        return {name: (float(value_N.min()), float(value_N.max())) for name, value_N in values.items()}
    rng = np.random.default_rng(0)
    start_NG = space.encode([space.sample(rng) for _ in range(SAMPLES)])
    ends = {
        name: (_extreme(space, cost, start_NG), _extreme(space, _negated(cost), start_NG))
        for name, cost in costs.items()
    }
    return {name: (low, -high) for name, (low, high) in ends.items()}


def _negated(cost: CostModel) -> Callable[[np.ndarray], np.ndarray]:
    return lambda genes_NG: -cost(genes_NG)


def _extreme(space: SearchSpace, cost: Callable[[np.ndarray], np.ndarray], start_NG: np.ndarray) -> float:
    """Return the smallest cost that is found by changing one gene after the other."""
    cost_N = cost(start_NG)
    best_G, best = start_NG[int(cost_N.argmin())], float(cost_N.min())
    for _ in range(ROUNDS):
        before = best
        for number, gene in enumerate(space.genes):
            changed = [[*best_G[:number], choice, *best_G[number + 1 :]] for choice in range(len(gene.choices))]
            changed_NG = space.encode([space.repair(genes) for genes in changed])
            cost_N = cost(changed_NG)
            if cost_N.min() < best:
                best_G, best = changed_NG[int(cost_N.argmin())], float(cost_N.min())
        if best == before:
            break
    return best


def require_recipes(problem: Problem, strategy: Strategy, evaluator: Evaluator) -> None:
    """Check that the recipes of a joint search decide how its networks are trained.

    Args:
        problem: Space, task, cost, objectives and constraints.
        strategy: Proposes architectures.
        evaluator: Scores them.

    Raises:
        NASError: If all networks are trained in one supernet, or the evaluator does not apply recipes.
    """
    if not problem.space.has_recipe:
        return
    if strategy.trains_supernet:
        raise NASError(
            f"a recipe with {type(strategy).__name__}, whose supernet trains all networks alike",
            "a strategy that trains each network",
            "leave out recipe=..., or choose another strategy, such as strategy=priorband",
        )
    if not evaluator.uses_recipe:
        raise NASError(
            f"a recipe with {type(evaluator).__name__}, which does not train networks by it",
            "an evaluator that does",
            "evaluator=train, or leave out recipe=...",
        )
