"""A study that any number of workers on any number of machines work on.

A trial is created whole, in one write, with its architecture, budget and owner. Two workers never hold the same
architecture and budget: each writes its claim, then reads; a worker that finds another claim withdraws its own. (Two
claims that are both confirmed would each have been written before the other was read, which is impossible.) There is no
lock, and no clock is compared with that of another machine.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from nas.architecture import Architecture
from nas.artifact import SpaceFacts
from nas.errors import NASError, TrialFailed
from nas.history import CONFIRMATION, History, Proposal, State
from nas.problem import Problem
from nas.study.agreement import agree, spec_of
from nas.study.heartbeat import Heartbeat, time_limit
from nas.study.lease import ATTEMPT, BEAT, GIVEN_BACK, OWNER, WORKER, LeaseMonitor, attempt_of, beat_key, is_mine
from nas.study.reader import (
    BUDGET,
    GENES,
    METRICS,
    REASON,
    REPLICATE,
    WITHDRAWN,
    StudyReader,
    holding,
    is_live,
)
from nas.study.storage import Store
from nas.utils.process import host_id, is_dead, new_worker_id

CLAIM, REGISTERED = "voxnas:claim", "voxnas:worker:"
LEASE_S = 60.0
MAX_BACKOFF_S = 0.05  # upper bound of the random back-off after a withdrawn claim
IDLE_S = 1.0  # polling interval of an idle worker that waits to take over abandoned trials
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to evaluate one proposal, until another worker takes it over.

    Args:
        number: Number of the trial.
        trial_id: The store's own key of the trial.
        proposal: Architecture, budget and replicate.
        attempt: How often the trial has been taken over.
    """

    number: int
    trial_id: int
    proposal: Proposal
    attempt: int = 0


class Study(StudyReader):
    """A study of a problem, created if the store does not have it.

    Args:
        url: URL of the store.
        name: Name of the study.
        problem: Space, task, cost, objectives and constraints.
        spec: Facts that all workers of the study have to agree on beside space and objectives (data, split, cost, ...).
        lease_s: A running trial without a sign of life for this number of seconds, above 0, is taken over.
        config: The configuration, recorded when the study is created.

    Raises:
        NASError: If the store cannot be used, or holds a study of another spec or schema.
    """

    def __init__(
        self,
        url: str,
        name: str,
        problem: Problem,
        spec: Mapping[str, Any],
        *,
        lease_s: float = LEASE_S,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        if isinstance(lease_s, bool) or not isinstance(lease_s, int | float) or not lease_s > 0:
            raise NASError(f"study.lease_s={lease_s}", "a number of seconds above 0", "set study.lease_s to 1 or more")
        self.problem, self.lease_s = problem, lease_s
        self.owner = new_worker_id()
        self._watch = LeaseMonitor(lease_s, self.owner)
        self._distributions: dict[str, BaseDistribution] = {
            gene.name: CategoricalDistribution(gene.choices) for gene in problem.space.genes
        }
        store = Store(url)
        store.create_or_attach(name, list(problem.objectives.values()))
        agree(store, name, spec_of(problem, spec), SpaceFacts.of(problem.space), self.owner["token"], config or {})
        super().__init__(store, name)

    def history(self) -> History:
        """Return the trials with the objectives, constraints and costs of the problem.

        Returns:
            The history.
        """
        problem = self.problem
        return History(
            self.records(),
            dict(problem.objectives),
            problem.cost,
            problem.cost.metric,
            problem.constraints,
            problem.limiting_costs,
        )

    def require_free(self, number: int) -> None:
        """Check that no living process of this machine has a worker's number.

        Args:
            number: Number of the worker.

        Raises:
            NASError: If one has it.
        """
        other = self.store.attrs().get(f"{REGISTERED}{number}")
        if other is not None and other["place"] == host_id() and not is_mine(other, self.owner) and not is_dead(other):
            raise _duplicate_worker(str(number), f"process {other['pid']} has it")

    @contextmanager
    def worker(self, number: int) -> Iterator[Worker]:
        """Take a worker's number for this process, and release it at the end.

        Args:
            number: Number of the worker, at least 0; each worker of a study needs its own.

        Yields:
            The worker.

        Raises:
            NASError: If a living process of this machine has the number.
        """
        name, key = str(number), f"{REGISTERED}{number}"
        self.require_free(number)
        self.store.set_attr(key, self.owner)
        try:
            yield Worker(self, name)
        finally:
            if is_mine(self.store.attrs().get(key), self.owner):
                self.store.set_attr(key, {**self.owner, "pid": 0, "place": "", "token": ""})

    @contextmanager
    def lease(self, claim: Claim, limit_s: float | None = None) -> Iterator[Heartbeat]:
        """Hold a claim: send signs of life, and end the block after a time limit.

        Args:
            claim: A claim of this process.
            limit_s: Seconds after which the block fails; None for no limit.

        Yields:
            The heartbeat; its `on_epoch` raises LeaseLost if another worker has taken the trial over.

        Raises:
            TrialFailed: If the limit is exceeded.
        """

        def renew(beat: int, epoch: int) -> bool:
            return self.renew(claim, beat, epoch)

        heart = Heartbeat(renew, self.store.leave_thread, claim.number, self.lease_s, limit_s)
        with heart, time_limit(limit_s):
            yield heart

    def claim(self, proposal: Proposal, worker: str, limit: int | None = None) -> Claim | None:
        """Create the trial of a proposal.

        Args:
            proposal: Architecture, budget and replicate.
            worker: Name of the worker.
            limit: Largest number of trials of the search, without its confirmation; None for no limit.

        Returns:
            The claim, or None if another trial holds the same architecture, budget and replicate, or the study is full.
        """
        arch, space = proposal.arch, self.problem.space
        self.owner = {**self.owner, "claims": self.owner.get("claims", 0) + 1}
        trial = self.store.add(
            optuna.trial.create_trial(
                state=TrialState.RUNNING,
                params={gene.name: gene.choices[i] for gene, i in zip(space.genes, arch.genes, strict=True)},
                distributions=self._distributions,
                user_attrs={
                    GENES: list(arch.genes),
                    BUDGET: proposal.budget,
                    REPLICATE: proposal.replicate,
                    CLAIM: f"{self.owner['token']}-{self.owner['claims']}",
                    OWNER: {**self.owner, ATTEMPT: 0, WORKER: worker},
                    BEAT: [0, 0],
                },
            ),
            CLAIM,
        )
        records = self.records()
        before = sum(record.number <= trial.number and record.replicate < CONFIRMATION for record in records)
        full = limit is not None and before > limit
        if full or any(record.number != trial.number for record in holding(proposal, records)):
            self._withdraw(trial._trial_id)
            time.sleep(random.uniform(0, MAX_BACKOFF_S))
            return None
        return Claim(trial.number, trial._trial_id, proposal)

    def take_over(self, worker: str = "") -> Claim | None:
        """Claim a running trial whose worker is gone.

        A worker is gone if it gave the trial back, if its process has ended on this machine, or if it gave no sign of
        life for the length of a lease by this worker's own clock. A trial in which several workers died is failed; a
        claim whose worker died before it looked for others, and that has another, is withdrawn.

        Args:
            worker: Name of the worker that takes over.

        Returns:
            The claim, or None if there is no abandoned trial.

        Raises:
            NASError: If a living worker on another machine has this worker's number.
        """
        running = [trial for trial in self.store.trials((TrialState.RUNNING,)) if is_live(trial)]
        self._watch.forget_others(running)
        for trial in running:
            owner = attempt_of(trial.user_attrs).owner
            if owner[WORKER] == worker and owner["place"] != host_id() and self._watch.saw_life(trial):
                raise _duplicate_worker(worker, f"its trial {trial.number} is alive on another machine")
            if self._watch.is_abandoned(trial):
                claim = self._taken(trial, worker)
                if claim is not None:
                    return claim
        return None

    def _taken(self, trial: FrozenTrial, worker: str) -> Claim | None:
        attempt = self._watch.take(trial, self.store, worker)
        if attempt is None:
            return None
        record = self._record(trial)
        proposal = record.proposal
        rivals = holding(proposal, self.records())  # of two running claims, the older one was confirmed
        if any(rival.number < trial.number or rival.state is State.COMPLETE for rival in rivals):
            self._withdraw(trial._trial_id)
            return None
        claim = Claim(trial.number, trial._trial_id, proposal, attempt)
        if not self._watch.is_hopeless(trial):
            return claim
        self.fail(claim, "worker after worker died in it without finishing an epoch")
        return None

    def _withdraw(self, trial_id: int) -> None:
        self.store.finish(trial_id, TrialState.FAIL, WITHDRAWN, True)

    def renew(self, claim: Claim, beat: int, epoch: int) -> bool:
        """Send a sign of life.

        Args:
            claim: A claim of this process.
            beat: Count of the signs of life.
            epoch: Epochs done.

        Returns:
            False if the trial has been taken over or finished by another worker.
        """
        trial = self.store.trial(claim.trial_id)
        if trial.state.is_finished() or not self._holds(claim, trial.user_attrs):
            return False
        return self.store.set_trial_attr(claim.trial_id, beat_key(claim.attempt), [beat, epoch, round(time.time())])

    def release(self, claim: Claim) -> None:
        """Give an interrupted trial back, so that the next worker continues it.

        Args:
            claim: A claim of this process.
        """
        trial = self.store.trial(claim.trial_id)
        if self._holds(claim, trial.user_attrs):
            epoch = attempt_of(trial.user_attrs).epoch
            self.store.set_trial_attr(claim.trial_id, beat_key(claim.attempt), [GIVEN_BACK, epoch])

    def finish(self, claim: Claim, metrics: Mapping[str, float]) -> None:
        """Record the metrics of a finished trial; the first result is kept.

        Args:
            claim: A claim of this process.
            metrics: Values by name, all objectives among them.

        Raises:
            NASError: If an objective is missing.
            TrialFailed: If an objective is not finite.
        """
        missing = [name for name in self.objectives if name not in metrics]
        if missing:
            raise NASError(
                f"no value for the objective {', '.join(missing)}",
                f"some of {', '.join(sorted(metrics))}",
                "change objectives or the evaluator",
            )
        values = [float(metrics[name]) for name in self.objectives]
        infinite = [name for name, value in zip(self.objectives, values, strict=True) if not math.isfinite(value)]
        if infinite:
            raise TrialFailed(f"no finite value for {', '.join(infinite)}")
        self._close(claim, TrialState.COMPLETE, METRICS, {k: float(v) for k, v in metrics.items()}, values)

    def fail(self, claim: Claim, reason: str) -> None:
        """Record that a candidate could not be scored.

        Args:
            claim: A claim of this process.
            reason: One line for people.
        """
        self._close(claim, TrialState.FAIL, REASON, " ".join(reason.split())[:500])

    def _close(
        self, claim: Claim, state: TrialState, key: str, content: Any, values: Sequence[float] | None = None
    ) -> None:
        """Record an outcome under the number of the attempt, which is fixed with the state.

        The first result is kept: a worker whose lease expired cannot overwrite it.
        """

        def holds(attrs: Mapping[str, Any]) -> bool:
            return self._holds(claim, attrs)

        if not self.store.finish(claim.trial_id, state, f"{key}:{claim.attempt}", content, values, holds):
            log.warning("trial %d was finished or taken over by another worker; this result is dropped", claim.number)

    def _holds(self, claim: Claim, attrs: Mapping[str, Any]) -> bool:
        owner = attempt_of(attrs).owner
        return is_mine(owner, self.owner) and owner[ATTEMPT] == claim.attempt

    def _architecture(self, genes: Sequence[int]) -> Architecture:
        return self.problem.space.architecture(genes)


class Worker:
    """One worker of a study, with its number.

    Args:
        study: The study.
        name: The worker's number as text.
    """

    def __init__(self, study: Study, name: str) -> None:
        self._study, self.name = study, name

    def take_over(self) -> Claim | None:
        """Claim a running trial whose worker is gone; see `Study.take_over`.

        Returns:
            The claim, or None if there is no such trial.
        """
        return self._study.take_over(self.name)

    def claim(self, proposal: Proposal, limit: int | None = None) -> Claim | None:
        """Create the trial of a proposal; see `Study.claim`.

        Args:
            proposal: Architecture, budget and replicate.
            limit: Largest number of trials of the search, without its confirmation; None for no limit.

        Returns:
            The claim, or None if another worker was first.
        """
        return self._study.claim(proposal, self.name, limit)

    def wait(self) -> None:
        """Sleep until it is worth looking at the study again."""
        time.sleep(random.uniform(0.5, 1.0) * min(IDLE_S, self._study.lease_s / 4))


def _duplicate_worker(worker: str, how: str) -> NASError:
    return NASError(f"worker={worker} twice in one study ({how})", "a number of its own for each worker", "worker=<n>")
