"""Cost of architectures: parameters, MACs, bytes, memory, and latency from a table of the device.

voxnas cost naslung            # measure the table of this device and write it
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
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
CHUNK = 262_144  # networks per batch of block sums; bounds the memory on spaces of 10^7 networks


class CostModel:
    """A deterministic cost of architectures: genes (N, G) -> (N,) float64.

    If the space offers blocks, the cost of a network is the sum over its blocks. "activation_bytes" is a peak, not a
    sum: networks are then profiled as a whole.

    Args:
        space: Space of the architectures.
        task: Task that the networks are built for.
        input_shape: (C, D, H, W) of one image.
        metric: "params", "macs", "bytes", "activation_bytes", "training_bytes" (per sample, see `training_bytes`), or
            "latency_ms".
        table: Measured latencies; needed for "latency_ms".

    Raises:
        NASError: If the metric is unknown, or the table is missing or belongs to another space or input shape.
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
            raise NASError(f"cost.metric={metric}", f"one of {', '.join(METRICS)}", "set cost.metric to one of these")
        if metric == "latency_ms" and table is None:
            raise NASError(
                "cost.metric=latency_ms with cost.table=null",
                "a latency table",
                "measure one with `voxnas cost SPACE` and set cost.table to its file",
            )
        self.space, self.task, self.metric, self.table = space, task, metric, table
        self.input_shape = tuple(int(n) for n in input_shape)  # (C, D, H, W)
        if table is not None:
            table.require(space, self.input_shape)
        self._vocabulary_costs: np.ndarray | None = None
        self._measured = _profiles(type(space), space.fingerprint, task, self.input_shape)
        self._offers_blocks: bool | None = None
        self._siblings: dict[str, CostModel] = {metric: self}

    def of_metric(self, metric: str) -> CostModel:
        """Return the cost model of another metric, for the same space, task, input and table.

        Args:
            metric: One of METRICS.

        Returns:
            A model that shares the profiles measured so far.
        """
        if metric not in self._siblings:
            sibling = CostModel(self.space, self.task, self.input_shape, metric, self.table)
            sibling._siblings, sibling._measured = self._siblings, self._measured
            self._siblings[metric] = sibling
        return self._siblings[metric]

    def all_of(self, arch: Architecture, requested: Container[str] = METRICS) -> dict[str, float]:
        """Return the costs of one network by name.

        Args:
            arch: Architecture of the space.
            requested: Names of the costs needed. Cheap ones are included in any case.

        Returns:
            Costs by name, a subset of METRICS.
        """
        if self.of_metric("macs").is_sum:
            names = ["params", "macs", "bytes", *(["activation_bytes"] if "activation_bytes" in requested else [])]
            costs = {name: self.of_metric(name).of(arch) for name in names}
        else:
            costs = static_costs(self.space, arch, self.task, self.input_shape)
        if "training_bytes" in requested:
            costs["training_bytes"] = self.of_metric("training_bytes").of(arch)
        if self.table is not None:
            costs["latency_ms"] = self.of_metric("latency_ms").of(arch)
        return costs

    @property
    def is_sum(self) -> bool:
        """True if costs add up over blocks, which makes large batches cheap."""
        if self._offers_blocks is None:
            first = np.array([self.space.sample(np.random.default_rng(0)).genes])
            self._offers_blocks = self.space.blocks(first, self.input_shape[1:], self.task) is not None
        return self._offers_blocks and self.metric != "activation_bytes"

    @property
    def identity(self) -> Mapping[str, Any]:
        """Facts that a study records, so that trials with different costs are not mixed."""
        table = self.table.sha256 if self.table else None
        return {"metric": self.metric, "table": table, "input_shape": list(self.input_shape)}

    def __call__(self, genes_NG: np.ndarray) -> np.ndarray:
        genes_NG = self.space.network_genes(np.atleast_2d(genes_NG))
        if not self.is_sum:
            return np.array([self._measure_whole(tuple(int(g) for g in genes)) for genes in genes_NG])
        chunks = [self._sum_blocks(genes_NG[start : start + CHUNK]) for start in range(0, len(genes_NG), CHUNK)]
        return np.concatenate(chunks) if chunks else np.empty(0)

    def of(self, arch: Architecture) -> float:
        """Return the cost of one architecture.

        Args:
            arch: Architecture of the space.

        Returns:
            The cost in the unit of the metric: a count, bytes or milliseconds.
        """
        return float(self(np.array([arch.genes]))[0])

    def of_blocks(self) -> dict[str, float]:
        """Return the cost of each block of the space.

        Returns:
            Costs by block key; empty if costs are not sums of blocks.
        """
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
            self._vocabulary_costs = np.array([*[np.nan] * len(vocabulary), 0.0])
        costs = self._vocabulary_costs
        occurs = np.zeros(len(costs), dtype=bool)
        occurs[ids_NK] = True
        for number in np.flatnonzero(occurs & np.isnan(costs)):  # a block is measured when a network first has it
            costs[number] = self._cost_of_block(vocabulary[number])
        total = np.zeros(len(genes_NG))
        for ids_N in ids_NK.T:
            total += costs[ids_N]  # -1 (no block) indexes the trailing zero
        return total

    def _cost_of_block(self, block: Block) -> float:
        if self.metric == "latency_ms":
            assert self.table is not None
            return self.table.median_ms(block.key)
        return self._measure(block.key, lambda: _on_meta(block), block.input_shape)

    def _measure_whole(self, genes: tuple[int, ...]) -> float:
        if self.metric == "latency_ms":
            raise NASError(
                f"cost.metric=latency_ms for {type(self.space).__name__}, a space without `blocks`",
                "a space with `blocks`",
                "set cost.metric to macs, params or bytes",
            )
        return self._measure(
            genes, lambda: self.space.build(self.space.architecture(genes), self.task), self.input_shape
        )

    def _measure(self, key: str | tuple[int, ...], build: Callable[[], nn.Module], input_shape: Sequence[int]) -> float:
        """Profile the module of a key once and cache all of its costs for the other metrics."""
        costs = self._measured.setdefault(key, {})
        if self.metric not in costs:
            costs.update(measured(build(), input_shape, self.metric))
        return costs[self.metric]


@lru_cache(maxsize=16)
def _profiles(
    space: type[SearchSpace], fingerprint: str, task: TaskSpec, input_shape: tuple[int, ...]
) -> dict[str | tuple[int, ...], dict[str, float]]:
    """Return the profiles of a space's blocks by key, or of its networks by genes: one cache for all models of it."""
    return {}


def _on_meta(block: Block) -> nn.Module:
    with torch.device("meta"):
        return block.build()


def measured(model: nn.Module, input_shape: Sequence[int], metric: str) -> dict[str, float]:
    """Profile a network for one sample.

    Args:
        model: Network to profile.
        input_shape: (C, D, H, W).
        metric: One of METRICS except "latency_ms".

    Returns:
        `metric` and the costs that the same profile gives.

    Raises:
        NASError: If the network does not accept the shape.
    """
    if metric == "training_bytes":  # batch normalisation needs two samples
        return {metric: training_bytes(model, (2, *input_shape)) / 2}
    return {name: float(value) for name, value in asdict(profile(model, (1, *input_shape))).items()}


def static_costs(
    space: SearchSpace, arch: Architecture, task: TaskSpec, input_shape: Sequence[int]
) -> dict[str, float]:
    """Profile one network as a whole.

    Args:
        space: Space of the architecture.
        arch: Architecture to build.
        task: Task that it is built for.
        input_shape: (C, D, H, W) of one image.

    Returns:
        params, macs, bytes and activation_bytes.

    Raises:
        NASError: If the network does not accept the shape.
    """
    return measured(space.build(arch, task), input_shape, "macs")
