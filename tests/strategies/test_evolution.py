"""Regularised evolution against its algorithm, written out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.architecture import Architecture
from nas.history import History, State, Trial
from nas.multiobjective.constraints import Constraint
from nas.strategies.evolution import RegularizedEvolution
from tests.strategies.tables import Grid, beats, empty, extended, record


class Watched(Grid):
    """Remembers whom it was asked to mutate."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__(sizes)
        self._parents: list[Architecture] = []

    def mutate(self, arch: Architecture, rng: np.random.Generator) -> Architecture:
        self._parents.append(arch)
        return super().mutate(arch, rng)


@st.composite
def studies(draw: st.DrawFn) -> History:
    """Trials of distinct networks on a grid of 64, in any state, that finished in any order."""
    space = Watched((4, 4, 4))
    rows = draw(st.lists(st.integers(0, 63), min_size=4, max_size=25, unique=True))
    ends = draw(st.permutations(range(len(rows))))
    states = [State.COMPLETE] * 6 + [State.RUNNING, State.FAILED]
    records = []
    for number, (row, end) in enumerate(zip(rows, ends, strict=True)):
        arch = space.architecture((row // 16, row // 4 % 4, row % 4))
        metrics = {"score": float(draw(st.integers(0, 5))), "cost": float(sum(arch.genes))}
        records.append(Trial(number, arch, 0, draw(st.sampled_from(states)), metrics, finished=end + 1.0))
    limits = draw(st.sampled_from([(), (Constraint("score", 3.0, at_most=False),)]))
    objectives = draw(st.sampled_from([{"score": "maximize"}, {"score": "maximize", "cost": "minimize"}]))
    return extended(empty(objectives, constraints=limits), *records)


@given(studies(), st.integers(0, 999))
@settings(max_examples=200, deadline=None)
def test_the_parent_is_the_winner_of_a_tournament_among_the_youngest(history: History, seed: int) -> None:
    population, tournament = 5, 3
    space = Watched((4, 4, 4))
    proposal = RegularizedEvolution(population, tournament).propose(space, history, np.random.default_rng(seed))
    assert proposal is not None
    ended = [r for r in history if r.state is State.COMPLETE]
    alive = sorted(ended, key=lambda r: r.finished)[-population:]
    if sum(r.state is not State.FAILED for r in history) < population or not alive:
        assert space._parents == []
        return
    rivals = [alive[row] for row in np.random.default_rng(seed).integers(len(alive), size=tournament)]
    (winner,) = [r for r in rivals if r.arch == space._parents[0]][:1]
    assert not any(beats(history, rival, winner) for rival in rivals)
    unbeaten = [r for r in rivals if not any(beats(history, other, r) for other in rivals)]
    assert winner.metrics["score"] == max(r.metrics["score"] for r in unbeaten)


def test_the_oldest_leaves_however_good() -> None:
    space = Watched((5, 5))
    scores = [9.0, 1.0, 2.0, 3.0]
    history = extended(
        empty(), *(record(i, space.architecture((i, i)), {"score": s, "cost": 1.0}) for i, s in enumerate(scores))
    )
    for seed in range(20):
        RegularizedEvolution(3, 3).propose(space, history, np.random.default_rng(seed))
    first_parents = set(space._parents)
    assert space.architecture((0, 0)) not in first_parents
    assert space.architecture((3, 3)) in first_parents


@pytest.mark.parametrize("state", [State.RUNNING, State.COMPLETE])
def test_the_first_are_drawn_at_random(state: State) -> None:
    space = Watched((5, 5))
    history = empty()
    for number in range(4):
        proposal = RegularizedEvolution(4, 2).propose(space, history, np.random.default_rng(number))
        assert proposal is not None
        history = extended(
            history, Trial(number, proposal.arch, 0, state, {"score": 1.0, "cost": 1.0}, finished=number + 1.0)
        )
    assert space._parents == []
    RegularizedEvolution(4, 2).propose(space, history, np.random.default_rng(4))
    assert bool(space._parents) == (state is State.COMPLETE)
