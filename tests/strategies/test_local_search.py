"""Local search: where it looks, when it moves, when it starts again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.history import Proposal
from nas.strategies.local_search import MAX_CACHED, LocalSearch
from nas.strategies.ranking import neighbours
from tests.strategies.tables import Grid, Staircase, empty, extended, hill, play, record


def table(seed: int):  # type: ignore[no-untyped-def]
    """Rugged: a random score for each network."""
    return lambda genes: {"score": float(np.random.default_rng([seed, *genes]).normal()), "cost": float(sum(genes))}


@given(st.integers(0, 999), st.booleans(), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_a_sequential_search_is_the_algorithm_written_out(seed: int, stairs: bool, starts: int) -> None:
    """Every proposal lies next to the best climb whose top has an untried neighbour; where there is none, anywhere."""
    space = (Staircase if stairs else Grid)((3, 3, 3))
    strategy, score = LocalSearch(starts), table(seed)
    history = empty({"score": "maximize"})
    climbs: list[tuple[float, set]] = []  # score of the top, neighbours of the top
    owner: dict = {}  # of each neighbour of what a climb was at, the climb that came there first
    for number in range(40):
        proposal = strategy.propose(space, history, np.random.default_rng([seed, number]))
        held = {r.arch for r in history}
        if proposal is None:
            assert len(held) == len({space.repair(row) for row in space.enumerate().tolist()})
            break
        opened = [climb for climb in sorted(climbs, key=lambda climb: -climb[0]) if climb[1] - held]
        if number >= starts and opened:
            assert proposal.arch in opened[0][1]
        assert proposal.arch not in held
        metrics = score(proposal.arch.genes)
        history = extended(history, record(number, proposal.arch, metrics))
        around = set(neighbours(space, proposal.arch))
        place = owner.get(proposal.arch, len(climbs))
        if place == len(climbs):
            climbs.append((metrics["score"], around))
        elif metrics["score"] > climbs[place][0]:
            climbs[place] = (metrics["score"], around)
        else:
            continue
        for arch in around:
            owner.setdefault(arch, place)


def test_it_climbs_a_hill_to_the_top_and_then_starts_elsewhere() -> None:
    space = Grid((6, 6, 6, 6))
    history = play(LocalSearch(1), space, empty({"score": "maximize"}), 150)
    best = max(history, key=lambda r: r.metrics["score"])
    assert best.metrics["score"] == 0.0
    after = history.records[best.number + 1 :]
    distances = [sum(a != b for a, b in zip(r.arch.genes, best.arch.genes, strict=True)) for r in after]
    beside = sum(distance == 1 for distance in distances)
    assert set(distances[:beside]) == {1}  # first all that is left beside the top
    assert min(distances[beside:]) > 1


def test_what_is_remembered_is_bounded_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    space = Grid((5, 5, 5))
    history = play(LocalSearch(2), space, empty(), 40)

    def ask(strategy: LocalSearch) -> Proposal | None:
        return strategy.propose(space, history, np.random.default_rng(0))

    expected = ask(LocalSearch(2))
    monkeypatch.setattr("nas.strategies.local_search.MAX_CACHED", 3)
    forgetful = LocalSearch(2)
    assert ask(forgetful) == expected
    assert len(forgetful._neighbours) <= 3 < MAX_CACHED


def test_parallel_workers_join_the_best_climb() -> None:
    space = Grid((6, 6))
    history = extended(
        empty({"score": "maximize"}),
        record(0, space.architecture((0, 0)), hill((0, 0))),
        record(1, space.architecture((5, 4)), hill((5, 4))),
    )
    climbs = LocalSearch(1).climbs(space, history)
    assert [climb.top.genes for climb in climbs] == [(0, 0), (5, 4)]
    proposal = LocalSearch(1).propose(space, history, np.random.default_rng(0))
    assert proposal is not None
    assert proposal.arch in neighbours(space, space.architecture((5, 4)))
