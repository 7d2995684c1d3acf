"""PriorBand: Hyperband whose new networks come from random search, an expert's prior, and around the best network."""

from __future__ import annotations

import numpy as np

from nas.architecture import Gene
from nas.errors import NASError
from nas.history import History, Proposal, State
from nas.priors import around
from nas.space import SearchSpace
from nas.strategies.fidelity.hyperband import Hyperband
from nas.strategies.fidelity.schedule import EMERGED, Factor, Fidelity, results_at
from nas.strategies.fidelity.strategy import MultiFidelity
from nas.strategies.first_trial import untried_centre
from nas.strategies.random import RandomSearch
from nas.strategies.ranking import best_first
from nas.strategies.sampling import draw
from nas.utils.annotations import NonNegativeFloat, PositiveInt
from nas.utils.checked import checked

MUTATED = 0.5  # probability of changing a gene of the incumbent
RANDOM, PRIOR, INCUMBENT = range(3)  # where a new network comes from


@checked("strategy")
class PriorBand(MultiFidelity):
    """PriorBand: rounds of brackets as in Hyperband; new networks are drawn from three distributions.

    On the rung r above the lowest one, a new network is random with probability 1 / (1 + eta^r), and else from the
    expert's prior (`Gene.prior`). This second share is divided between the prior and the neighbourhood of the
    incumbent, the best network of the highest rung with results, as soon as a network has reached the highest rung, the
    trials have taken as many epochs as one bracket of successive halving, and some rung has eta results: in the ratio
    of the weighted densities of the best 1/eta networks of the highest such rung under both. In the neighbourhood each
    gene is changed with probability 0.5: to a choice near to it if neighbouring choices are alike, else to any other.
    Without a prior, the prior is uniform.

    Networks are compared by Pareto rank within a rung (feasible before infeasible), ties by score. A strategy is a
    function of the history: who asks does not matter.

    Source: Mallik et al., PriorBand: Practical Hyperparameter Optimization in the Age of Deep Learning, NeurIPS 2023
    (arXiv 2306.12370), algorithms 1 to 3.

    Args:
        eta: Reduction factor, at least 2.
        min_budget: Epochs of the lowest rung, at least 1; past the epoch at which all classes are predicted.
        max_budget: Epochs of the highest rung, at least `min_budget`.
        default_as_incumbent: How the centre of the prior is tried first. False: on the rung of the first bracket, as in
            every strategy. True: with the largest budget, and new networks come from its neighbourhood, with half of
            the share of the prior, until the conditions above hold.
        fidelity: Another rule for the budgets, such as ASHA; its settings replace the first three. None for Hyperband.
        cost_min: Minimum cost of networks in the study's cost unit. If None, there is no minimum.
        cost_max: Maximum cost. If None, there is no maximum.

    Raises:
        NASError: If a value is out of range.
    """

    def __init__(
        self,
        eta: Factor = 3,
        min_budget: PositiveInt = EMERGED,
        max_budget: PositiveInt = 81,
        default_as_incumbent: bool = False,
        fidelity: Fidelity | None = None,
        cost_min: NonNegativeFloat | None = None,
        cost_max: NonNegativeFloat | None = None,
    ) -> None:
        self.eta, self.min_budget, self.max_budget = eta, min_budget, max_budget
        self.default_as_incumbent, self.cost_min, self.cost_max = default_as_incumbent, cost_min, cost_max
        try:
            rule = Hyperband(eta, min_budget, max_budget) if fidelity is None else fidelity
        except NASError as error:  # the settings are those of the strategy
            words = (error.got, error.expected, error.fix)
            raise NASError(*(text.replace("fidelity.", "strategy.") for text in words)) from error
        super().__init__(RandomSearch(cost_min, cost_max), rule)

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        if self.default_as_incumbent and (centre := untried_centre(space, history, self.limits)) is not None:
            return Proposal(centre, self.fidelity.budgets[-1])
        return super().propose(space, history, rng)

    def new_network(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        rung = self.fidelity.budgets.index(self.fidelity.start(history))
        share_3 = self.shares(space, history, rung)
        source = int(rng.choice(3, p=share_3))
        incumbent = self._incumbent(history)
        if source == RANDOM:
            space = space.with_prior({gene.name: None for gene in space.genes})
        elif source == INCUMBENT and incumbent is not None:
            space = neighbourhood(space, incumbent)
        arch = draw(space, history, self.limits, rng)
        return None if arch is None else Proposal(arch)

    def shares(self, space: SearchSpace, history: History, rung: int) -> np.ndarray:
        """Return the probabilities of the three distributions for a new network.

        Args:
            space: The space with its prior.
            history: Finished and running trials.
            rung: Number of its rung, 0 for the lowest.

        Returns:
            (3,) probabilities of random, prior and incumbent.
        """
        random = 1 / (1 + self._factor**rung)
        local = self._share_of_incumbent(space, history) * (1 - random)
        return np.array([random, 1 - random - local, local])

    @property
    def _factor(self) -> float:
        return float(getattr(self.fidelity, "eta", self.eta))

    def _incumbent(self, history: History) -> tuple[int, ...] | None:
        for budget in reversed(self.fidelity.budgets):
            if results := results_at(history, budget):
                return results[best_first(history, results)[0]].arch.genes
        return None

    def _share_of_incumbent(self, space: SearchSpace, history: History) -> float:
        """Return how the share of the prior is divided: 0 for the prior alone, 1 for the incumbent alone."""
        incumbent, least = self._incumbent(history), int(np.ceil(self._factor))
        rungs = [found for budget in self.fidelity.budgets if len(found := results_at(history, budget)) >= least]
        if incumbent is None:
            return 0.0
        if not results_at(history, self.fidelity.budgets[-1]) or not rungs or not self._spent_a_bracket(history):
            return 0.5 if self.default_as_incumbent else 0.0
        top = [rungs[-1][row] for row in best_first(history, rungs[-1])[: int(len(rungs[-1]) / self._factor)]]
        weight_K = np.log(np.arange(len(top), 0, -1))
        genes_KG = space.encode([trial.arch for trial in top])
        by_prior, by_incumbent = (
            np.logaddexp.reduce(weight_K + one.log_prior(genes_KG)) for one in (space, centred(space, incumbent))
        )
        return float(np.exp(by_incumbent - np.logaddexp(by_prior, by_incumbent)))

    def _spent_a_bracket(self, history: History) -> bool:
        """Whether finished trials took as many epochs as one bracket of successive halving, each step once."""
        budgets = self.fidelity.budgets
        steps = [upper - lower for lower, upper in zip((0, *budgets), budgets, strict=False)]
        sizes = [self._factor ** (len(budgets) - 1 - rung) for rung in range(len(budgets))]
        done = [trial.budget for trial in history if trial.state is State.COMPLETE and trial.budget in budgets]
        spent = sum(steps[budgets.index(budget)] for budget in done)
        return spent >= sum(size * step for size, step in zip(sizes, steps, strict=True))


def centred(space: SearchSpace, genes: tuple[int, ...]) -> SearchSpace:
    """Return the space with a prior around an architecture; see `nas.priors.around`.

    Args:
        space: The space.
        genes: Genes of the architecture.

    Returns:
        A copy of the space.
    """
    return space.with_prior({gene.name: around(gene, index) for gene, index in zip(space.genes, genes, strict=True)})


def neighbourhood(space: SearchSpace, genes: tuple[int, ...]) -> SearchSpace:
    """Return the space with a prior that keeps each gene of an architecture with probability 0.5 or more.

    Args:
        space: The space.
        genes: Genes of the architecture.

    Returns:
        A copy of the space; a changed gene has a choice near to its own if neighbouring choices are alike, else any
        other choice.
    """
    return space.with_prior(
        {gene.name: _changed_by_half(gene, index) for gene, index in zip(space.genes, genes, strict=True)}
    )


def _changed_by_half(gene: Gene, index: int) -> list[float]:
    count = len(gene.choices)
    if count == 1:
        return [1.0]
    change = around(gene, index) if gene.is_scale else [(other != index) / (count - 1) for other in range(count)]
    return [MUTATED * weight + (1 - MUTATED) * (other == index) for other, weight in enumerate(change)]
