"""Which running trials have lost their worker, and who goes on with them.

A worker gives signs of life by counting a beat up. Nobody compares clocks: a trial counts as abandoned when an observer
has seen no change for the length of a lease by its own clock, so a clock that is an hour off does no harm. On one
machine the process itself is looked at, and a dead one is replaced at once.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial

from nas.study.storage import Store
from nas.utils.process import is_dead

OWNER, BEAT, TAKING = "voxnas:owner", "voxnas:beat", "voxnas:taking:"
WORKER, ATTEMPT, EPOCH, IDLE = "worker", "attempt", "epoch", "idle"  # of an owner: how often taken over, in vain
GIVEN_BACK = -1
MOST_IDLE = 5  # workers that may die in a trial one after the other without finishing an epoch
LONGEST_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class Attempt:
    """The present attempt at a trial. beat: -1 where its worker gave it back. epoch: epochs done, as last heard. seen:
    when its worker last beat by its own clock, in seconds since 1970, for people to read (0.0: never)."""

    owner: Mapping[str, Any]
    beat: int
    epoch: int
    seen: float = 0.0


def attempt_of(attrs: Mapping[str, Any]) -> Attempt:
    beat, epoch, *seen = attrs[BEAT]
    return Attempt(attrs[OWNER], int(beat), int(epoch), float(seen[0]) if seen else 0.0)


def is_mine(owner: Mapping[str, Any] | None, me: Mapping[str, Any]) -> bool:
    return owner is not None and owner["token"] == me["token"]


class Watch:
    """What one worker has seen of the others' running trials."""

    def __init__(self, lease_s: float, me: Mapping[str, Any]) -> None:
        self._lease_s, self._me = lease_s, me
        self._seen: dict[int, tuple[str, float]] = {}  # trial number -> its signature, and since when
        self._alive: set[int] = set()

    def forget_others(self, trials: Iterable[FrozenTrial]) -> None:
        """Keeps only these trials in mind."""
        numbers = {trial.number for trial in trials}
        self._seen = {number: seen for number, seen in self._seen.items() if number in numbers}
        self._alive &= numbers

    def saw_life(self, trial: FrozenTrial) -> bool:
        """Whether its beat moved while this worker was looking."""
        self._unchanged_s(trial)
        return trial.number in self._alive

    def is_abandoned(self, trial: FrozenTrial) -> bool:
        attempt = attempt_of(trial.user_attrs)
        if is_mine(attempt.owner, self._me):
            return attempt.beat == GIVEN_BACK
        if self._unchanged_s(trial) >= self._lease_s:
            return True
        takers = self._takers(trial.user_attrs, attempt.owner[ATTEMPT] + 1)
        return (attempt.beat == GIVEN_BACK or is_dead(attempt.owner)) and all(map(is_dead, takers))

    def is_hopeless(self, trial: FrozenTrial) -> bool:
        """Whether this take-over is one too many."""
        return self._idle(attempt_of(trial.user_attrs)) > MOST_IDLE

    def take(self, trial: FrozenTrial, store: Store, worker: str) -> int | None:
        """Makes an abandoned trial this worker's; the number of its new attempt, or None where a rival was found.

        Written, then read: of several takers at most one finds itself alone. A taker that died in between is passed
        over by the next with a higher number once its own lease has run out.
        """
        attempt, me = attempt_of(trial.user_attrs), self._me
        number = int(attempt.owner[ATTEMPT]) + 1
        while any(self._takers(trial.user_attrs, number)):
            number += 1  # abandoned takers: `is_abandoned` saw no life in them
        key = f"{TAKING}{number}:{me['token']}"
        if not store.set_trial_attr(trial._trial_id, key, dict(me)):
            return None
        now = store.trial(trial._trial_id)
        rivals = [taker for taker in self._takers(now.user_attrs, number) if not is_mine(taker, me)]
        if rivals or now.user_attrs[OWNER] != trial.user_attrs[OWNER] or now.state.is_finished():
            store.set_trial_attr(trial._trial_id, key, None)
            time.sleep(random.uniform(0, LONGEST_PAUSE_S))
            return None
        owner = {**me, WORKER: worker, ATTEMPT: number, EPOCH: attempt.epoch, IDLE: self._idle(attempt)}
        if not store.set_trial_attr(trial._trial_id, BEAT, [0, attempt.epoch]):
            return None
        return number if store.set_trial_attr(trial._trial_id, OWNER, owner) else None

    def _idle(self, attempt: Attempt) -> int:
        """How often in a row it was taken over without an epoch done in between; a trial given back does not count."""
        moved = attempt.epoch > attempt.owner.get(EPOCH, 0) or attempt.beat == GIVEN_BACK
        return 0 if moved else int(attempt.owner.get(IDLE, 0)) + 1

    def _takers(self, attrs: Mapping[str, Any], number: int) -> list[Mapping[str, Any]]:
        prefix = f"{TAKING}{number}:"
        return [value for key, value in attrs.items() if key.startswith(prefix) and value is not None]

    def _unchanged_s(self, trial: FrozenTrial) -> float:
        attrs = trial.user_attrs
        marks = {key: attrs[key] for key in attrs if key in (OWNER, BEAT) or key.startswith(TAKING)}
        signature = json.dumps(marks, sort_keys=True)
        before = self._seen.get(trial.number)
        if before is None or before[0] != signature:
            if before is not None:
                self._alive.add(trial.number)
            self._seen[trial.number] = (signature, time.monotonic())
            return 0.0
        return time.monotonic() - before[1]
