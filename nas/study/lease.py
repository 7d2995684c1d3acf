"""Leases of running trials: detection of abandoned trials and their take-over.

A worker renews its lease by incrementing a counter (heartbeat). Clocks of different workers are not compared: a trial
is abandoned if an observer has seen no change for the length of a lease by its own monotonic clock. On the same machine
the process is checked, and a trial of a dead process is abandoned immediately.
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
WORKER, ATTEMPT, EPOCH, IDLE = (
    "worker",
    "attempt",
    "epoch",
    "idle",
)  # keys of an owner; IDLE: successive take-overs without an epoch
GIVEN_BACK = -1  # heartbeat of a trial that its worker has released
MOST_IDLE = 5  # maximum number of successive take-overs without a finished epoch
LONGEST_PAUSE_S = 0.05  # upper bound of the random back-off after a withdrawn claim


@dataclass(frozen=True, slots=True)
class Attempt:
    """Current attempt at a trial.

    Args:
        owner: Process of the worker that began the highest attempt, with its number.
        beat: Heartbeat counter; GIVEN_BACK if the worker has released the trial.
        epoch: Finished epochs, as last reported.
        seen: Last heartbeat by the worker's clock in seconds since 1970, for display only; 0.0 if there is none.
    """

    owner: Mapping[str, Any]
    beat: int
    epoch: int
    seen: float = 0.0


def attempt_of(attrs: Mapping[str, Any]) -> Attempt:
    """Read the current attempt from the attributes of a trial.

    Each attempt has keys of its own, and the highest counts. A write that a server applies after its sender has died
    therefore cannot undo the take-over by another worker.

    Args:
        attrs: User attributes of a running trial.

    Returns:
        The attempt.
    """
    owners = [value for key, value in attrs.items() if key == OWNER or key.startswith(f"{OWNER}:")]
    owner = max(owners, key=lambda one: int(one[ATTEMPT]))
    beat, epoch, *seen = attrs.get(beat_key(owner[ATTEMPT]), [0, owner.get(EPOCH, 0)])
    return Attempt(owner, int(beat), int(epoch), float(seen[0]) if seen else 0.0)


def beat_key(attempt: int) -> str:
    """Return the attribute that holds the heartbeat of an attempt.

    Args:
        attempt: Number of the attempt, 0 for the first.

    Returns:
        The key.
    """
    return _key_of(BEAT, attempt)


def _key_of(name: str, attempt: int) -> str:
    return f"{name}:{attempt}" if attempt else name


def is_mine(owner: Mapping[str, Any] | None, me: Mapping[str, Any]) -> bool:
    """Check whether an owner is this worker.

    Args:
        owner: Owner of a trial or lock, or None.
        me: This worker.

    Returns:
        True if both have the same token.
    """
    return owner is not None and owner["token"] == me["token"]


class LeaseMonitor:
    """Observations of one worker about the running trials of other workers.

    Args:
        lease_s: Seconds without a heartbeat after which a trial is abandoned.
        me: This worker.
    """

    def __init__(self, lease_s: float, me: Mapping[str, Any]) -> None:
        self._lease_s, self._me = lease_s, me
        self._seen: dict[int, tuple[str, float]] = {}  # signature and time of its last change, by trial number
        self._alive: set[int] = set()

    def forget_others(self, trials: Iterable[FrozenTrial]) -> None:
        """Drop the observations of all other trials.

        Args:
            trials: Trials to remember.
        """
        numbers = {trial.number for trial in trials}
        self._seen = {number: seen for number, seen in self._seen.items() if number in numbers}
        self._alive &= numbers

    def saw_life(self, trial: FrozenTrial) -> bool:
        """Check whether the heartbeat of a trial has changed since the first observation.

        Args:
            trial: Running trial.

        Returns:
            True if a change was observed.
        """
        self._unchanged_s(trial)
        return trial.number in self._alive

    def is_abandoned(self, trial: FrozenTrial) -> bool:
        """Check whether a trial has lost its worker and may be taken over.

        Args:
            trial: Running trial.

        Returns:
            True if it was released, its process is dead, or its lease has expired.
        """
        attempt = attempt_of(trial.user_attrs)
        if not is_mine(attempt.owner, self._me) and self._unchanged_s(trial) >= self._lease_s:
            return True
        takers = _takers(trial.user_attrs, attempt).values()
        return (attempt.beat == GIVEN_BACK or is_dead(attempt.owner)) and all(map(is_dead, takers))

    def is_hopeless(self, trial: FrozenTrial) -> bool:
        """Check whether a trial was taken over too often without progress.

        Args:
            trial: Abandoned trial.

        Returns:
            True if a further take-over exceeds MOST_IDLE.
        """
        return self._idle(attempt_of(trial.user_attrs)) > MOST_IDLE

    def take(self, trial: FrozenTrial, store: Store, worker: str) -> int | None:
        """Take over an abandoned trial.

        A claim is written, then all claims are read: at most one of several claimants reads no new claim. The claims
        of claimants that died remain, so the number of the next one is higher.

        Args:
            trial: Abandoned trial.
            store: Store of the study.
            worker: Name of this worker.

        Returns:
            Number of the new attempt, or None if there was a competing claim.
        """
        attempt, me = attempt_of(trial.user_attrs), self._me
        abandoned = _takers(trial.user_attrs, attempt)  # see `is_abandoned`
        number = 1 + max([int(attempt.owner[ATTEMPT]), *map(_number_of, abandoned)])
        key = f"{TAKING}{number}:{me['token']}"
        if not store.set_trial_attr(trial._trial_id, key, dict(me)):
            return None
        now = store.trial(trial._trial_id)
        rivals = _takers(now.user_attrs, attempt).keys() - abandoned.keys() - {key}
        if rivals or attempt_of(now.user_attrs).owner != attempt.owner or now.state.is_finished():
            store.set_trial_attr(trial._trial_id, key, None)
            time.sleep(random.uniform(0, LONGEST_PAUSE_S))
            return None
        owner = {**me, WORKER: worker, ATTEMPT: number, EPOCH: attempt.epoch, IDLE: self._idle(attempt)}
        return number if store.set_trial_attr(trial._trial_id, _key_of(OWNER, number), owner) else None

    def _idle(self, attempt: Attempt) -> int:
        """Count successive take-overs without a finished epoch; released trials do not count."""
        moved = attempt.epoch > attempt.owner.get(EPOCH, 0) or attempt.beat == GIVEN_BACK
        return 0 if moved else int(attempt.owner.get(IDLE, 0)) + 1

    def _unchanged_s(self, trial: FrozenTrial) -> float:
        attrs = trial.user_attrs
        marks = {key: attrs[key] for key in attrs if key.startswith((OWNER, BEAT, TAKING))}
        signature = json.dumps(marks, sort_keys=True)
        before = self._seen.get(trial.number)
        if before is None or before[0] != signature:
            if before is not None:
                self._alive.add(trial.number)
            self._seen[trial.number] = (signature, time.monotonic())
            return 0.0
        return time.monotonic() - before[1]


def _takers(attrs: Mapping[str, Any], attempt: Attempt) -> dict[str, Mapping[str, Any]]:
    """Return the claimants of the attempts after the current one, by their keys."""
    return {
        key: value
        for key, value in attrs.items()
        if key.startswith(TAKING) and value is not None and _number_of(key) > attempt.owner[ATTEMPT]
    }


def _number_of(key: str) -> int:
    """Return the number of the attempt that a claim is for."""
    return int(key.removeprefix(TAKING).partition(":")[0])
