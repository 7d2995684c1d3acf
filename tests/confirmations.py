"""Histories of searches with a confirmation, for its tests."""

from __future__ import annotations

from dataclasses import replace

from nas.history import CONFIRMATION, History, State, Trial
from tests.tables import records_of

NETWORKS = [record.arch for record in records_of()]
OBJECTIVES = {"auc": "maximize"}


def history_with(values: dict[int, list[float]], running: tuple[int, int] | None = None) -> History:
    """Searched networks 0 to 3 with falling scores, and confirmed values by network."""
    records = [Trial(n, NETWORKS[n], 0, State.COMPLETE, {"auc": 0.9 - n / 100}, finished=1.0 + n) for n in range(4)]
    for network, row in values.items():
        for number, value in enumerate(row):
            state = State.RUNNING if running == (network, number) else State.COMPLETE
            metrics = {"auc": value} if state is State.COMPLETE else {}
            one = Trial(len(records), NETWORKS[network], 0, state, metrics, finished=9.0)
            records.append(replace(one, replicate=CONFIRMATION + number))
    return History(tuple(records), OBJECTIVES, lambda genes_NG: genes_NG[:, 0])
