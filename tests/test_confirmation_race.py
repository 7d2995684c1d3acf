"""The race of a confirmation: which networks get further trainings."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from heapq import heappop, heappush
from typing import Any

import numpy as np
import pytest

from nas.confirmation import next_confirmation
from nas.history import CONFIRMATION, History, State, Trial
from nas.multiobjective.constraints import Constraint
from nas.provenance import Replication
from tests.confirmations import NETWORKS, history_with


def proposed(history: History, **settings: Any) -> tuple[int, int] | None:
    found = next_confirmation(history, Replication(**settings))
    return None if found is None else (NETWORKS.index(found.arch), found.replicate - CONFIRMATION)


def test_rounds_of_the_race() -> None:
    race = {"confirm": 3, "confirm_replicates": 4}
    assert proposed(history_with({}), confirm=0) is None
    assert proposed(history_with({}), **race) == (0, 0)
    assert proposed(history_with({0: [0.8], 1: [0.8]}), **race) == (2, 0)
    two = {0: [0.80, 0.82], 1: [0.81, 0.79], 2: [0.60, 0.62]}
    assert proposed(history_with(two, running=(2, 1)), **race) is None  # the round has not ended
    assert proposed(history_with(two), **race) == (0, 2)
    assert proposed(history_with(two | {0: [0.80, 0.82, 0.81]}), **race) == (1, 2)
    third = two | {0: [0.80, 0.82, 0.81], 1: [0.81, 0.79, 0.80]}
    assert proposed(history_with(third), **race) == (0, 3)
    assert proposed(history_with(third), confirm=3, confirm_replicates=3) is None
    clear = {0: [0.80, 0.81], 1: [0.70, 0.71], 2: [0.60, 0.61]}
    assert proposed(history_with(clear), **race) is None  # the leader is alone


def test_a_race_of_several_objectives_keeps_what_may_be_on_the_front() -> None:
    values = {0: [0.80, 0.81], 1: [0.70, 0.71], 2: [0.60, 0.61], 3: [0.805, 0.80]}
    macs = {0: 9.0, 1: 4.0, 2: 4.0, 3: 9.0}  # 1 is cheaper than the leader; 2 costs as much as 1 and is worse
    history = history_with(values)
    records = tuple(
        replace(one, metrics=one.metrics | {"macs": macs[NETWORKS.index(one.arch)]}) for one in history.records
    )
    history = replace(history, records=records, objectives={"auc": "maximize", "macs": "minimize"})
    done = set()
    while (found := next_confirmation(history, Replication(confirm=4, confirm_replicates=3))) is not None:
        number = NETWORKS.index(found.arch)
        done.add((number, found.replicate - CONFIRMATION))
        metrics = {"auc": values[number][0], "macs": macs[number]}
        trial = Trial(len(history), found.arch, 0, State.COMPLETE, metrics, finished=9.0, replicate=found.replicate)
        history = replace(history, records=(*history.records, trial))
    assert done == {(0, 2), (1, 2), (3, 2)}


@pytest.mark.parametrize("seed", range(3))
def test_a_network_that_breaks_a_constraint_ends_no_race(seed: int) -> None:
    rng, quality = np.random.default_rng(seed), (0.80, 0.7999, 0.90, 0.8999)
    history = replace(history_with({}), constraints=(Constraint("ms", 10.0),))

    def with_time(trial: Trial, number: int) -> Trial:  # 2 and 3 are better and too slow
        value = {
            "auc": quality[number] + 0.003 * rng.normal(),
            "ms": (9.0, 9.5, 12.0, 13.0)[number] + 0.01 * rng.normal(),
        }
        return replace(trial, metrics=value)

    records = [with_time(trial, number) for number, trial in enumerate(history)]
    history = replace(history, records=tuple(records))
    while (found := next_confirmation(history, Replication(confirm=4))) is not None:
        trial = Trial(len(history), found.arch, 0, State.COMPLETE, {}, finished=9.0, replicate=found.replicate)
        history = replace(history, records=(*history.records, with_time(trial, NETWORKS.index(found.arch))))
    counts = Counter(NETWORKS.index(trial.arch) for trial in history.confirmed)
    assert counts[2] == counts[3] == 2
    assert counts[0] == counts[1] > 2


def test_the_number_of_workers_does_not_change_a_confirmation() -> None:
    def trainings(workers: int, values_NR: np.ndarray, seconds_N: np.ndarray) -> Counter[int]:
        history, running, now = history_with({}), [], 0.0
        while True:
            while len(running) < workers:
                wanted = next_confirmation(history, Replication(confirm=4))
                if wanted is None:
                    break
                heappush(running, (now + seconds_N[NETWORKS.index(wanted.arch)], len(history)))
                trial = Trial(len(history), wanted.arch, 0, State.RUNNING, {}, replicate=wanted.replicate)
                history = replace(history, records=(*history.records, trial))
            if not running:
                return Counter(NETWORKS.index(trial.arch) for trial in history.confirmed)
            now, number = heappop(running)
            value = values_NR[NETWORKS.index(history[number].arch), history[number].replicate - CONFIRMATION]
            ended = replace(history[number], state=State.COMPLETE, metrics={"auc": value}, finished=now)
            history = replace(history, records=(*history.records[:number], ended, *history.records[number + 1 :]))

    for seed in range(20):
        rng = np.random.default_rng(seed)
        values_NR = rng.normal(0.8, 0.004, size=(4, 1)) + rng.normal(0, 0.003, size=(4, 5))
        seconds_N = rng.uniform(0.5, 2.0, size=4)
        assert trainings(1, values_NR, seconds_N) == trainings(8, values_NR, seconds_N)


def test_folds_that_differ_in_difficulty_do_not_prolong_the_race() -> None:
    hard = np.array([0.0, -0.3])
    values = {n: (level + hard + [0.001 * n, 0]).tolist() for n, level in enumerate((0.8, 0.75, 0.7))}
    assert proposed(history_with(values), confirm=3) is None


def test_a_network_whose_confirmation_fails_leaves_the_race() -> None:
    history = history_with({0: [0.8, 0.8], 1: [0.8, 0.81], 2: [0.8, 0.79]})
    records = [
        replace(one, state=State.FAILED, metrics={})
        if one.arch == NETWORKS[0] and one.replicate == CONFIRMATION + 1
        else one
        for one in history
    ]
    failed = replace(history, records=tuple(records))
    assert proposed(failed, confirm=3) == (1, 2)
