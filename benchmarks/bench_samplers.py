"""Time of a proposal of NSGA-II and TPE at 1,000 trials, beside that of Optuna's own samplers in an in-memory study.

    python -m benchmarks.bench_samplers

Both start from the same finished trials of distinct random networks with simulated results. A turn of Optuna is `ask`
with all genes and `tell`; a turn of ours is `propose` with a history that has one more trial. The turns alternate in
one process; reported are medians of CPU time and how often a proposal asked the sampler: Optuna also returns networks
that have a trial, where ours asks again.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, TPESampler

from benchmarks.common import write_results
from experiments.argument_types import count_type
from experiments.cli import run_command
from nas.architecture import Architecture
from nas.history import History, State, Trial
from nas.space import SearchSpace
from nas.strategies import NSGA2, TPE
from nas.strategies.base import Strategy
from search_spaces.dints import DiNTSSpace
from search_spaces.naslung import NASLungSpace

SPACES: Mapping[str, SearchSpace] = {
    "naslung": NASLungSpace(),
    "dints": DiNTSSpace(num_blocks=4, num_depths=3, channel_mul=0.25, use_downsample=False, out_channels=3),
}
OBJECTIVES = {"score": "maximize", "cost": "minimize"}


def cost_of(genes_NG: np.ndarray) -> np.ndarray:
    return np.asarray(genes_NG).sum(axis=1).astype(float)


def metrics_of(arch: Architecture) -> dict[str, float]:
    noise = np.random.default_rng(list(arch.genes)).normal()
    return {"score": float(np.tanh(sum(arch.genes) / 40) + 0.05 * noise), "cost": float(sum(arch.genes))}


def record(number: int, arch: Architecture) -> Trial:
    return Trial(number, arch, 0, State.COMPLETE, metrics_of(arch), finished=number + 1.0)


def some(space: SearchSpace, count: int) -> list[Architecture]:
    rng, archs = np.random.default_rng(0), dict[Architecture, None]()
    while len(archs) < count:
        archs[space.sample(rng)] = None
    return list(archs)


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    return {
        gene.name: IntDistribution(0, len(gene.choices) - 1)
        if gene.ordered
        else CategoricalDistribution(range(len(gene.choices)))
        for gene in space.genes
    }


class Ours:
    """A strategy with its history."""

    def __init__(self, strategy: Strategy, space: SearchSpace, archs: Sequence[Architecture], objectives: Any) -> None:
        self.strategy, self.space, self.objectives = strategy, space, objectives
        self.records = tuple(record(number, arch) for number, arch in enumerate(archs))

    def turn(self) -> float:
        history = History(self.records, self.objectives, cost_of, "cost")
        rng = np.random.default_rng([0, len(self.records)])
        start = time.process_time()
        proposal = self.strategy.propose(self.space, history, rng)
        spent = time.process_time() - start
        assert proposal is not None
        self.records = (*self.records, record(len(self.records), proposal.arch))
        return spent


class Theirs:
    """A study of Optuna."""

    def __init__(
        self, sampler: BaseSampler, space: SearchSpace, archs: Sequence[Architecture], objectives: Any
    ) -> None:
        self.space, self.objectives, self.genes = space, objectives, distributions(space)
        self.study = optuna.create_study(sampler=sampler, directions=list(objectives.values()))
        key = NSGAIISampler._get_generation_key()
        for number, arch in enumerate(archs):
            self.study.add_trial(
                optuna.trial.create_trial(
                    params=dict(zip(self.genes, arch.genes, strict=True)),
                    distributions=self.genes,
                    values=self.values(arch),
                    system_attrs={key: number // 20},
                )
            )

    def values(self, arch: Architecture) -> list[float]:
        metrics = metrics_of(arch)
        return [metrics[name] for name in self.objectives]

    def turn(self) -> float:
        start = time.process_time()
        trial = self.study.ask(fixed_distributions=self.genes)
        params = trial.params
        asked = time.process_time()
        values = self.values(self.space.repair([params[gene.name] for gene in self.space.genes]))
        added = time.process_time()
        self.study.tell(trial, values)
        return asked - start + time.process_time() - added


def compare(name: str, space: str, objectives: Mapping[str, str], trials: int, turns: int) -> dict[str, Any]:
    archs = some(SPACES[space], trials)
    strategy = {"nsga2": NSGA2, "tpe": TPE}[name]()
    sampler = {"nsga2": NSGAIISampler(population_size=20, seed=0), "tpe": TPESampler(multivariate=True, seed=0)}[name]
    ours, theirs = Ours(strategy, SPACES[space], archs, objectives), Theirs(sampler, SPACES[space], archs, objectives)
    asked, ask = [0], optuna.Study.ask

    def counted(study: optuna.Study, *arguments: Any, **more: Any) -> optuna.Trial:
        asked[0] += 1
        return ask(study, *arguments, **more)

    ours.turn(), theirs.turn()  # the first of ours converts all trials
    times: list[tuple[float, float]] = []
    for _ in range(turns):
        optuna.Study.ask = counted  # type: ignore[method-assign,assignment]
        own = ours.turn()
        optuna.Study.ask = ask  # type: ignore[method-assign]
        times.append((own, theirs.turn()))
    own_ms, their_ms = (1000 * statistics.median(column) for column in zip(*times, strict=True))
    return {
        "sampler": name,
        "space": space,
        "objectives": len(objectives),
        "trials": trials,
        "ours_ms": round(own_ms, 2),
        "optuna_ms": round(their_ms, 2),
        "ratio": round(own_ms / their_ms, 2),
        "asked": round(asked[0] / turns, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=count_type, default=1000)
    parser.add_argument("--turns", type=count_type, default=40)
    parser.add_argument("--out", default=None)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    write_results(
        "bench_samplers",
        [
            compare(name, space, objectives, options.trials, options.turns)
            for name in ("nsga2", "tpe")
            for space in SPACES
            for objectives in ({"score": "maximize"}, OBJECTIVES)
        ],
        options.out,
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
