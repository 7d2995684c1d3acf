"""Beliefs of an expert about good architectures: a weight for each choice of a gene."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from nas.architecture import Architecture, Gene
from nas.errors import NASError

SPREAD = 0.25  # standard deviation of a belief around a value, as a share of the range
FAVOUR = 4.0  # weight of the value of a belief among choices without an order, the others have 1
S = TypeVar("S", bound="HasPriors")


class HasPriors(ABC):
    """The part of a search space that holds an expert's belief: `Gene.prior` of its genes.

    Priors decide how architectures are sampled and which one is tried first. They are no part of the fingerprint, so
    that studies, checkpoints and files of a space are the same with any prior.
    """

    genes: tuple[Gene, ...]
    stated_priors: Mapping[str, tuple[float, ...] | None] = {}  # of `with_prior`; a study records them

    def with_prior(self: S, prior: Mapping[str, Any]) -> S:
        """Return the space with an expert's belief.

        Args:
            prior: Name of a gene -> the value that is believed to be best; or a weight for each choice, at least 0; or
                None for no prior. Genes that are not named keep their prior.

        Returns:
            A copy with the same fingerprint.

        Raises:
            NASError: If there is no such gene or choice, or the weights do not fit the choices.
        """
        known = {gene.name: gene for gene in self.genes}
        for name in prior:
            if name not in known:
                raise NASError(f"a prior of the gene {name!r}", f"one of {', '.join(known)}", "name genes of the space")
        stated = {name: None if belief is None else weights_of(known[name], belief) for name, belief in prior.items()}
        found = copy.copy(self)
        found.genes = tuple(
            replace(gene, prior=stated[gene.name]) if gene.name in stated else gene for gene in self.genes
        )
        found.stated_priors = {**self.stated_priors, **stated}
        return found

    @property
    def has_prior(self) -> bool:
        """Whether some gene has a prior."""
        return any(gene.prior is not None for gene in self.genes)

    @property
    def centre(self) -> Architecture | None:
        """The architecture that the prior holds for the best; None without a prior.

        It has the choice with the largest weight of each gene, the first of equal ones. A gene without a prior has the
        middle choice if neighbouring choices are alike (the lower one of two), else the first.
        """
        return self.repair([centre_of(gene) for gene in self.genes]) if self.has_prior else None

    def follow_prior(self, arch: Architecture, rng: np.random.Generator) -> Architecture:
        """Draw the genes that have a prior again, for spaces that define `sample` themselves.

        Args:
            arch: An architecture that was drawn without priors.
            rng: Source of randomness.

        Returns:
            The repaired architecture; without priors `arch` itself.
        """
        if not self.has_prior:
            return arch
        pairs = zip(self.genes, arch.genes, strict=True)
        return self.repair([index if gene.prior is None else draw_choice(gene, rng) for gene, index in pairs])

    def log_prior(self, genes_NG: np.ndarray) -> np.ndarray:
        """Return the logarithm of the prior's weight of architectures, before repair.

        Args:
            genes_NG: (N, G) gene indices.

        Returns:
            (N,) sums over the genes of the logarithm of the probability of their choice; minus infinity if one has no
            weight.
        """
        total_N = np.zeros(len(genes_NG))
        with np.errstate(divide="ignore"):
            for column, gene in enumerate(self.genes):
                total_N += np.log(probabilities(gene))[genes_NG[:, column]]
        return total_N

    @abstractmethod
    def repair(self, genes: Sequence[int]) -> Architecture:
        """Return the nearest valid architecture; the space defines it.

        Args:
            genes: Any G integers.

        Returns:
            An architecture of the space.
        """


def weights_of(gene: Gene, belief: Any) -> tuple[float, ...]:
    """Return the weights of a gene's choices.

    Args:
        gene: The gene.
        belief: A choice, or one weight per choice.

    Returns:
        One weight per choice, at least 0, with a positive sum.

    Raises:
        NASError: If there is no such choice, or the weights do not fit.
    """
    if isinstance(belief, str | int | float | bool):
        return around(gene, index_of(gene, belief))
    weights = tuple(belief) if isinstance(belief, Sequence) else ()
    numbers = [one for one in weights if isinstance(one, int | float) and not isinstance(one, bool)]
    right = len(numbers) == len(weights) == len(gene.choices)
    if not right or not all(math.isfinite(one) and one >= 0 for one in numbers) or sum(numbers) <= 0:
        raise NASError(
            f"a prior {belief!r} of the gene {gene.name}",
            f"one of {list(gene.choices)}, or {len(gene.choices)} weights of at least 0, one of them above 0",
            "set the prior to a choice, or to a list with a weight for each choice",
        )
    return tuple(float(one) for one in numbers)


def index_of(gene: Gene, value: Any) -> int:
    """Return the index of a choice.

    Args:
        gene: The gene.
        value: The choice; a number also matches an equal number of another type.

    Returns:
        The index into `gene.choices`.

    Raises:
        NASError: If there is no such choice.
    """
    for number, choice in enumerate(gene.choices):
        if isinstance(choice, bool) == isinstance(value, bool) and choice == value:
            return number
    raise NASError(
        f"a prior {value!r} of the gene {gene.name}",
        f"one of {list(gene.choices)}, or a weight for each",
        "set the prior to a choice of the gene",
    )


def around(gene: Gene, index: int) -> tuple[float, ...]:
    """Return weights that are largest at a choice.

    Neighbouring choices that are alike have the weights of a normal distribution over the positions of the choices in
    [0, 1], truncated there, with a standard deviation of 0.25. Of choices without an order the one has weight 4 and the
    others 1.

    Source: the normal distribution is that of Mallik et al., PriorBand, NeurIPS 2023 (arXiv 2306.12370), as implemented
    in NePS 0.17 with prior_confidence="high"; the weight 4 is a choice of this project.

    Args:
        gene: The gene.
        index: Index of the choice.

    Returns:
        One weight per choice, with a sum of 1.
    """
    count = len(gene.choices)
    if gene.is_scale:
        # the mass of a cell of width 1 / count is about its width times the density in its middle
        weights = [math.exp(-0.5 * ((other - index) / (SPREAD * count)) ** 2) for other in range(count)]
    else:
        weights = [FAVOUR if other == index else 1.0 for other in range(count)]
    total = sum(weights)
    return tuple(weight / total for weight in weights)


def centre_of(gene: Gene) -> int:
    """Return the choice that a prior holds for the best, see `HasPriors.centre`.

    Args:
        gene: The gene.

    Returns:
        Index of the choice.
    """
    if gene.prior is not None:
        return int(np.argmax(gene.prior))
    return (len(gene.choices) - 1) // 2 if gene.is_scale else 0


def probabilities(gene: Gene) -> np.ndarray:
    """Return the probability of each choice.

    Args:
        gene: The gene.

    Returns:
        (choices,) numbers with a sum of 1.
    """
    if gene.prior is None:
        return np.full(len(gene.choices), 1 / len(gene.choices))
    weights = np.array(gene.prior, dtype=float)
    return np.asarray(weights / weights.sum())


def draw_choice(gene: Gene, rng: np.random.Generator) -> int:
    """Draw a choice by the prior; without one, each is as probable.

    Args:
        gene: The gene.
        rng: Source of randomness.

    Returns:
        Index of the choice.
    """
    if gene.prior is None:
        return int(rng.integers(len(gene.choices)))
    return int(rng.choice(len(gene.choices), p=probabilities(gene)))
