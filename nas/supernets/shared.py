"""Supernet of any space: sampled networks with weights shared by name and shape.

The probability of an architecture is a product over genes with independent parameters. Each step samples one network.
Its weights receive the gradient of the task, and the probabilities the score-function gradient of its loss (Williams,
Machine Learning 8, 1992, with a moving mean as baseline), as in the controller of Pham et al. (ENAS, ICML 2018, arXiv
1802.03268). The space needs only `genes`, `repair` and `build`.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

from nas.architecture import Architecture
from nas.errors import NASError
from nas.network_traits import announce_length, depends_on_length, takes_target
from nas.space import SearchSpace
from nas.supernets.base import NEAR, Costs, Decoded, HasSupernet, Supernet, allowed_costs
from nas.task_spec import TaskSpec

MOMENTUM = 0.1  # weight of the newest loss in the moving mean
COST_SAMPLES = 16  # architectures per estimate of the expected cost
MAX_CANDIDATES = 4096  # most probable gene vectors that `decode` considers


class SharedSupernet(Supernet):
    """Supernet that samples a network per `forward` in training and uses the most probable one in evaluation.

    The architecture parameters are `alpha.<gene>`, one logit per choice, initially 0. Weights are created when a
    network first needs them. Samples and initial weights depend only on torch's initial seed at construction and the
    number of samples so far, so they agree on every rank and after a resume.

    Args:
        space: Space of the networks.
        task: Task that they are built for. If None, the space's own.

    Attributes:
        last: Architecture of the last `forward`.
    """

    grows = True
    baseline: torch.Tensor
    draws: torch.Tensor

    def __init__(self, space: SearchSpace, task: TaskSpec | None = None) -> None:
        super().__init__()
        self.space, self.task, self.seed = space, task, torch.initial_seed()
        self.alphas = nn.ParameterList(torch.zeros(len(gene.choices)) for gene in space.genes)
        self.shared = nn.ParameterDict()
        self.register_buffer("baseline", torch.zeros(2))  # moving mean of the loss, and its total weight
        self.register_buffer("draws", torch.zeros((), dtype=torch.int64))
        self._statistics: dict[str, torch.Tensor] = {}
        self._log_prob = torch.zeros(())
        self._steps: int | None = None
        self.last = space.repair([0] * len(space.genes))
        network = self._built(self.last)
        self._share(network)
        self.needs_target, self.depends_on_length = takes_target(network), depends_on_length(network)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        if self.training:
            genes_1G, self._log_prob = self._draw(1)
            self.last = self.space.repair(genes_1G[0])
        else:
            self.last = self.decode()[0].arch
        network = self._built(self.last)
        if self.training:  # a validation creates no weights, so that it does not depend on those before it
            self._share(network)
        network = network.train(self.training).to(inputs[0].device)
        return functional_call(network, self._shared_values(network), inputs)

    def set_training_steps(self, steps: int) -> None:
        """Set the length of the training for networks that depend on it.

        Args:
            steps: Number of optimiser steps of the weights.
        """
        self._steps = steps

    def architecture_parameters(self) -> Mapping[str, nn.Parameter]:
        return {f"alpha.{gene.name}": alpha for gene, alpha in zip(self.space.genes, self.alphas, strict=True)}

    def regularisers(self) -> Mapping[str, torch.Tensor]:
        """Return "entropy", the mean over genes of the entropy of their choices, relative to the maximum."""
        entropies = [
            -(alpha.softmax(0) * alpha.log_softmax(0)).sum() / np.log(len(alpha))
            for alpha in self.alphas
            if len(alpha) > 1
        ]
        return {"entropy": torch.stack(entropies).mean()} if entropies else {}

    def architecture_loss(self, loss: torch.Tensor) -> torch.Tensor:
        """Return `loss` with a gradient in the probabilities instead of the weights."""
        with torch.no_grad():
            mean, weight = self.baseline
            advantage = loss - torch.where(weight > 0, mean / weight.clamp(min=MOMENTUM), loss)
            self.baseline.mul_(1 - MOMENTUM).add_(MOMENTUM * torch.stack([loss.float(), torch.ones_like(mean)]))
        surrogate = advantage * self._log_prob
        return loss.detach() + surrogate - surrogate.detach()

    def expected_cost(self, costs: Costs) -> torch.Tensor:
        """Return an estimate from a few sampled architectures, unbiased in value and gradient."""
        genes_NG, log_N = self._draw(COST_SAMPLES)
        valid_NG = np.array([self.space.repair(genes).genes for genes in genes_NG])
        cost_N = torch.as_tensor(costs.of_genes(valid_NG), dtype=log_N.dtype, device=log_N.device)
        surrogate = ((cost_N - cost_N.mean()) * COST_SAMPLES / (COST_SAMPLES - 1) * log_N).mean()
        return cost_N.mean() + surrogate - surrogate.detach()

    def decode(
        self, k: int = 1, costs: Costs | None = None, budget: float | None = None, target: float | None = None
    ) -> list[Decoded]:
        """Return distinct repaired architectures by descending log-probability, their score.

        Only the MAX_CANDIDATES most probable gene vectors are considered.
        """
        score_of: dict[Architecture, float] = {}
        limited = budget is not None or target is not None
        for genes, score in self._most_probable():
            score_of.setdefault(self.space.repair(genes), score)
            if not limited and len(score_of) == k:
                break
        ranked = [Decoded(arch, score) for arch, score in score_of.items()]
        return _limited(ranked, costs, budget, target)[:k] if limited else ranked

    def subnetwork(self, arch: Architecture) -> nn.Module:
        network = self._built(arch)
        own: dict[str, torch.Tensor] = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        with torch.no_grad():
            for name, value in self._shared_values(network).items():
                own[name].copy_(value)
        return network.to(self.alphas[0].device).train(self.training)

    def _most_probable(self):  # type: ignore[no-untyped-def]
        """Yield gene vectors and log-probabilities in descending order, by best-first search over ranks of choices."""
        logs = [alpha.detach().double().log_softmax(0).cpu().numpy() for alpha in self.alphas]
        orders = [np.argsort(-log, kind="stable") for log in logs]

        def score(ranks: tuple[int, ...]) -> float:
            return float(sum(log[order[r]] for log, order, r in zip(logs, orders, ranks, strict=True)))

        first = (0,) * len(logs)
        heap, seen = [(-score(first), first)], {first}
        for _ in range(MAX_CANDIDATES):
            if not heap:
                return
            minus, ranks = heapq.heappop(heap)
            yield [int(order[r]) for order, r in zip(orders, ranks, strict=True)], -minus
            for gene, rank in enumerate(ranks):
                later = (*ranks[:gene], rank + 1, *ranks[gene + 1 :])
                if rank + 1 < len(logs[gene]) and later not in seen:
                    seen.add(later)
                    heapq.heappush(heap, (-score(later), later))

    def _draw(self, count: int) -> tuple[np.ndarray, torch.Tensor]:
        """Genes (N, G), not repaired, and their log-probabilities (N,), with a gradient."""
        generator = torch.Generator().manual_seed(self._seed_of(f"draw {int(self.draws)}"))
        self.draws += 1
        columns, logs = [], []
        for alpha in self.alphas:
            chosen_N = torch.multinomial(alpha.detach().cpu().softmax(0), count, replacement=True, generator=generator)
            columns.append(chosen_N.numpy())
            logs.append(alpha.log_softmax(0)[chosen_N.to(alpha.device)])
        return np.stack(columns, axis=1), torch.stack(logs).sum(dim=0)

    def _built(self, arch: Architecture) -> nn.Module:
        """Build a network on the CPU, with initial weights that follow from the architecture."""
        with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
            torch.manual_seed(self._seed_of(arch.id))
            network = self.space.build(arch, self.task)
            if self._steps is not None:
                announce_length(network, self._steps)
        return network

    def _share(self, network: nn.Module) -> None:
        """Create the shared weights and buffers of a network that do not exist yet."""
        device = self.alphas[0].device
        with torch.inference_mode(False):
            for name, weight in network.named_parameters():
                if (key := self._key(name, weight)) not in self.shared:
                    self.shared[key] = nn.Parameter(weight.detach().clone().to(device))
            for name, buffer in network.named_buffers():
                self._statistics.setdefault(self._key(name, buffer), buffer.detach().clone().to(device))

    def _shared_values(self, network: nn.Module) -> dict[str, torch.Tensor]:
        """Return the weights and buffers of a network that are shared, by their names in the network."""
        device = self.alphas[0].device
        found: dict[str, torch.Tensor] = {}
        for name, weight in network.named_parameters():
            if (key := self._key(name, weight)) in self.shared:
                found[name] = self.shared[key]
        for name, buffer in network.named_buffers():
            if (key := self._key(name, buffer)) in self._statistics:
                self._statistics[key] = self._statistics[key].to(device)
                found[name] = self._statistics[key]
        return found

    @staticmethod
    def _key(name: str, value: torch.Tensor) -> str:
        return f"{name.replace('.', '/')} {'x'.join(map(str, value.shape))}"

    def _seed_of(self, text: str) -> int:
        return int.from_bytes(hashlib.blake2s(f"{self.seed}|{text}".encode(), digest_size=7).digest(), "big")

    def get_extra_state(self) -> dict[str, torch.Tensor]:
        """Return the shared buffers.

        Returns:
            Buffers by name and shape.
        """
        return dict(self._statistics)

    def set_extra_state(self, state: dict[str, torch.Tensor]) -> None:
        """Restore the shared buffers.

        Args:
            state: Result of `get_extra_state`.
        """
        self._statistics = dict(state)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **options: Any) -> Any:
        """Create the missing shared weights in the order of the state, then load it.

        Args:
            state_dict: State of a supernet of the same space and task.
            *args: Passed on to `torch.nn.Module.load_state_dict`.
            **options: Passed on as well.

        Returns:
            Missing and unexpected keys.
        """
        for name, value in state_dict.items():
            key = name.removeprefix("shared.")
            if key != name and key not in self.shared:
                self.shared[key] = nn.Parameter(torch.empty_like(value, device=self.alphas[0].device))
        return super().load_state_dict(state_dict, *args, **options)


def _limited(
    ranked: Sequence[Decoded], costs: Costs | None, budget: float | None, target: float | None
) -> list[Decoded]:
    """Order by `Supernet.decode`: the best within the budget and nearest to the target, then all within the limits."""
    if costs is None:
        raise NASError(
            f"costs=None with budget={budget}, target={target}", "costs of the networks", "set costs, or leave out both"
        )
    cost_N = costs.of_genes(np.array([decoded.arch.genes for decoded in ranked]))
    least, most = allowed_costs(target, budget)
    within_N = cost_N <= (math.inf if budget is None else budget)
    if not within_N.any():
        raise NASError(
            f"strategy.budget={budget:.4g}",
            f"at least {cost_N.min():.4g}, the cheapest of the {MAX_CANDIDATES} most probable networks",
            "set strategy.budget to a larger value, or strategy.target to a smaller one, which favours cheap networks",
        )
    deviation_N = np.zeros(len(ranked)) if target is None else np.abs(cost_N / target - 1)
    first = int(np.where(within_N, np.maximum(deviation_N, NEAR), np.inf).argmin())
    allowed = np.flatnonzero((cost_N >= least) & (cost_N <= most)).tolist()
    return [ranked[first], *(ranked[row] for row in allowed if row != first)]


def supernet_of(space: SearchSpace, task: TaskSpec | None = None) -> Supernet:
    """Make the supernet of a space.

    Args:
        space: Any space.
        task: If None, the space's own numbers of channels and outputs are used.

    Returns:
        The space's own supernet if it has one, else a `SharedSupernet`.
    """
    return space.supernet(task) if isinstance(space, HasSupernet) else SharedSupernet(space, task)
