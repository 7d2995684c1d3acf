"""What a network costs: parameters, MACs, bytes, memory of activations, and latency from a table of the device.

voxnas cost latency space=naslung            # measure this device's table and write it
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import nn

from nas.architecture import Architecture
from nas.cost.latency import LatencyTable
from nas.cost.profile import profile, training_bytes
from nas.errors import NASError
from nas.space import Block, SearchSpace
from nas.task_spec import TaskSpec

METRICS = ("params", "macs", "bytes", "activation_bytes", "training_bytes", "latency_ms")
CHUNK = 262_144  # networks whose block sums are taken at once; bounds the memory on spaces of 10^7


class CostModel:
    """A deterministic cost of architectures: genes (N, G) -> (N,) float64.

    metric: "params", "macs", "bytes", "activation_bytes", "training_bytes" (of one sample; see `training_bytes`), or
    "latency_ms" from a measured `table`. Where the space offers blocks, a network costs the sum of its blocks (a peak,
    activation_bytes, is never a sum: it is profiled whole).
    """

    def __init__(
        self,
        space: SearchSpace,
        task: TaskSpec,
        input_shape: Sequence[int],
        metric: str = "macs",
        table: LatencyTable | None = None,
    ) -> None:
        if metric not in METRICS:
            raise NASError(f"the cost {metric!r}", f"one of {', '.join(METRICS)}", "mend cost.metric")
        if metric == "latency_ms" and table is None:
            raise NASError(
                "the cost latency_ms without a table",
                "cost.table=<file>",
                "measure one: voxnas cost latency space=<name>",
            )
        self.space, self.task, self.metric, self.table = space, task, metric, table
        self.input_shape = tuple(int(n) for n in input_shape)  # (C, D, H, W)
        if table is not None:
            table.require(space, self.input_shape)
        self._vocabulary_costs: np.ndarray | None = None
        self._measured: dict[str | tuple[int, ...], dict[str, float]] = {}  # by block key, or genes
        self._offers_blocks: bool | None = None
        self._siblings: dict[str, CostModel] = {metric: self}

    def of_metric(self, metric: str) -> CostModel:
        """The cost of another metric, for the same space, task, input and table."""
        if metric not in self._siblings:
            sibling = CostModel(self.space, self.task, self.input_shape, metric, self.table)
            sibling._siblings, sibling._measured = self._siblings, self._measured
            self._siblings[metric] = sibling
        return self._siblings[metric]

    def all_of(self, arch: Architecture, asked: Container[str] = METRICS) -> dict[str, float]:
        """The costs of one network by name: those that are sums of blocks always, the others where they are asked for
        or where the network has to be profiled whole in any case."""
        if self.of_metric("macs").is_sum:
            names = ["params", "macs", "bytes", *(["activation_bytes"] if "activation_bytes" in asked else [])]
            found = {name: self.of_metric(name).of(arch) for name in names}
        else:
            found = static_costs(self.space, arch, self.task, self.input_shape)
        if "training_bytes" in asked:
            found["training_bytes"] = self.of_metric("training_bytes").of(arch)
        if self.table is not None:
            found["latency_ms"] = self.of_metric("latency_ms").of(arch)
        return found

    @property
    def is_sum(self) -> bool:
        """Whether a network costs the sum of its blocks, so that a million networks are a matter of a second."""
        if self._offers_blocks is None:
            first = np.array([self.space.sample(np.random.default_rng(0)).genes])
            self._offers_blocks = self.space.blocks(first, self.input_shape[1:], self.task) is not None
        return self._offers_blocks and self.metric != "activation_bytes"

    @property
    def identity(self) -> Mapping[str, Any]:
        """What a study records, so that no other cost is ever mixed in."""
        table = self.table.sha256 if self.table else None
        return {"metric": self.metric, "table": table, "input_shape": list(self.input_shape)}

    def __call__(self, genes_NG: np.ndarray) -> np.ndarray:
        genes_NG = np.atleast_2d(genes_NG)
        if not self.is_sum:
            return np.array([self._measure_whole(tuple(int(g) for g in genes)) for genes in genes_NG])
        parts = [self._sum_blocks(genes_NG[start : start + CHUNK]) for start in range(0, len(genes_NG), CHUNK)]
        return np.concatenate(parts) if parts else np.empty(0)

    def of(self, arch: Architecture) -> float:
        """The cost of one architecture."""
        return float(self(np.array([arch.genes]))[0])

    def of_blocks(self) -> dict[str, float]:
        """The cost of each of the space's blocks by its key; empty where costs are no sums of blocks."""
        if not self.is_sum:
            return {}
        genes_1G = np.array([self.space.sample(np.random.default_rng(0)).genes])
        offered = self.space.blocks(genes_1G, self.input_shape[1:], self.task)
        assert offered is not None  # `is_sum` looked
        return {block.key: self._cost_of_block(block) for block in offered[0]}

    def _sum_blocks(self, genes_NG: np.ndarray) -> np.ndarray:
        offered = self.space.blocks(genes_NG, self.input_shape[1:], self.task)
        assert offered is not None  # `is_sum` looked
        vocabulary, ids_NK = offered
        if self._vocabulary_costs is None:
            self._vocabulary_costs = np.array([*(self._cost_of_block(block) for block in vocabulary), 0.0])
        total = np.zeros(len(genes_NG))
        for ids_N in ids_NK.T:
            total += self._vocabulary_costs[ids_N]  # -1, no block, reads the trailing zero
        return total

    def _cost_of_block(self, block: Block) -> float:
        if self.metric == "latency_ms":
            assert self.table is not None
            return self.table.median_ms(block.key)
        return self._measure(block.key, lambda: _ghost(block), block.input_shape)

    def _measure_whole(self, genes: tuple[int, ...]) -> float:
        if self.metric == "latency_ms":
            raise NASError(
                f"the cost latency_ms for {type(self.space).__name__}, which offers no blocks",
                "a space with `blocks`",
                "choose cost.metric=macs, params or bytes",
            )
        return self._measure(
            genes, lambda: self.space.build(self.space.architecture(genes), self.task), self.input_shape
        )

    def _measure(self, key: str | tuple[int, ...], build: Callable[[], nn.Module], input_shape: Sequence[int]) -> float:
        """The cost of what `build` makes, which `key` names; its other costs are kept for the other metrics."""
        found = self._measured.setdefault(key, {})
        if self.metric not in found:
            found.update(measured(build(), input_shape, self.metric))
        return found[self.metric]


def _ghost(block: Block) -> nn.Module:
    with torch.device("meta"):
        return block.build()


def measured(model: nn.Module, input_shape: Sequence[int], metric: str) -> dict[str, float]:
    """What `model` costs for one sample of `input_shape` (C, D, H, W): `metric`, any of METRICS but the latency, and
    what is found with it."""
    if metric == "training_bytes":  # of one in a batch of two: batch normalisation takes no fewer
        return {metric: training_bytes(model, (2, *input_shape)) / 2}
    return {name: float(value) for name, value in asdict(profile(model, (1, *input_shape))).items()}


def static_costs(
    space: SearchSpace, arch: Architecture, task: TaskSpec, input_shape: Sequence[int]
) -> dict[str, float]:
    """Parameters, MACs, bytes and activation bytes of one network, measured on the whole."""
    return measured(space.build(arch, task), input_shape, "macs")
