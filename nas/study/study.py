"""An Optuna study seen as a list of immutable records, shared by any number of workers on any number of machines.

A trial is created whole, in one write, with its architecture, budget and owner. Two workers never hold the same
architecture and budget: each writes its claim, then reads; who finds a rival withdraws. (Two claims confirmed at once
would each have to be written before the other was read.) Nobody waits, and nobody needs the others' clocks.

voxnas study list|show|pareto|export|resume|delete <store> [<study>]      # for people
"""

from __future__ import annotations

import json
import logging
import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from nas.architecture import Architecture
from nas.errors import NASError, TrialFailed
from nas.history import CostFunction, History, Proposal, Record, State
from nas.multiobjective.constraints import Constraint
from nas.space import SearchSpace
from nas.space_facts import SpaceFacts
from nas.study.lease import ATTEMPT, BEAT, OWNER, WORKER, Attempt, Watch, attempt_of, is_mine
from nas.study.storage import Store
from nas.utils.config_diff import first_difference
from nas.utils.process import host_id, is_dead, new_worker_id

SCHEMA = 2
GENES, BUDGET, METRICS, REASON, WITHDRAWN, CLAIM = (
    f"voxnas:{key}" for key in ("genes", "budget", "metrics", "reason", "withdrawn", "claim")
)
SPEC, CONFIG, SPACE, REGISTERED = "voxnas:spec", "voxnas:config", "voxnas:space", "voxnas:worker:"
MAKING = "voxnas:making:"  # the spec of a worker that found a study without one
LEASE_S = 60.0
LONGEST_PAUSE_S = 0.05  # of a worker that withdrew, so that two do not meet again
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ticket:
    """The right to evaluate one proposal, until another worker has taken it over. trial_id: the store's own key."""

    number: int
    trial_id: int
    proposal: Proposal
    attempt: int = 0


class Study:
    """A study in a store. With a space it can be worked on; without one (`Study.open`) it can be read.

    spec: what must agree between all who work on the study (data, split, cost, training ...): key -> short value; space
    and objectives are added to it. lease_s: a running trial that gave no sign of life for so long is taken over.
    Raises NASError where the store holds a study of another spec or schema, and where the store cannot be used.
    """

    def __init__(
        self,
        url: str,
        name: str,
        space: SearchSpace | None,
        objectives: Mapping[str, str],
        spec: Mapping[str, Any],
        lease_s: float = LEASE_S,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(lease_s, int | float) or not lease_s > 0:
            raise NASError(f"study.lease_s={lease_s}", "seconds, above 0", "mend study.lease_s")
        for metric, way in objectives.items():
            if way not in ("maximize", "minimize"):
                raise NASError(
                    f"objectives={{{metric}: {way}}}", "maximize or minimize for each metric", "mend objectives"
                )
        self.url, self.name, self.space, self.objectives = url, name, space, dict(objectives)
        self.owner = new_worker_id()
        self._finished: dict[int, Record] = {}
        self._settled: list[Record] = []  # of the first trials, as far as all of them are finished
        self._looked_at = 0  # how many trials that are
        self.lease_s, self._watch = lease_s, Watch(lease_s, self.owner)
        genes = space.genes if space is not None else ()
        self._distributions: dict[str, BaseDistribution] = {
            gene.name: CategoricalDistribution(gene.choices) for gene in genes
        }
        self.store = Store(url)
        if space is None:
            self.store.attach(name)
            self.spec = self._recorded_spec()
            self.objectives = dict(self.spec["objectives"])
        else:
            self.store.create_or_attach(name, list(self.objectives.values()))
            self.spec = json.loads(
                json.dumps({**spec, "schema": SCHEMA, "space": space.fingerprint, "objectives": self.objectives})
            )
            self._agree(space, config)

    @classmethod
    def open(cls, url: str, name: str) -> Study:
        """An existing study to be read: its space is known by fingerprint only."""
        return cls(url, name, None, {}, {})

    @property
    def config(self) -> dict[str, Any]:
        """The configuration with which the study was made."""
        return dict(self.store.attrs().get(CONFIG, {}))

    @property
    def space_facts(self) -> SpaceFacts:
        """What is recorded of the space. Raises NASError where the study is of a version that did not record it."""
        found = self.store.attrs().get(SPACE)
        if found is None:
            raise NASError(
                f"the study {self.name!r} without a record of its space", "a newer study", "read its trials as csv"
            )
        return SpaceFacts.from_json(found)

    def attempts(self) -> dict[int, Attempt]:
        """Who works on each running trial: trial number -> the last that was heard of its worker."""
        running = self.store.trials((TrialState.RUNNING,))
        return {trial.number: attempt_of(trial.user_attrs) for trial in running if _is_live(trial)}

    def _recorded_spec(self) -> dict[str, Any]:
        found = self.store.attrs().get(SPEC)
        if found is None or found.get("schema") != SCHEMA:
            made = "no study of VoxNAS" if found is None else f"schema {found.get('schema', 1)}"
            raise NASError(
                f"{made} ({self.name!r} in {self.url})",
                f"a study of schema {SCHEMA}",
                "use the version of VoxNAS that made it, or start another study (study.name=...)",
            )
        return dict(found)

    def _agree(self, space: SearchSpace, config: Mapping[str, Any] | None) -> None:
        """Writes the spec of a new study. Each worker that finds none writes down its own, then reads: of two that
        differ at least one sees the other and is refused, whichever spec the study gets."""
        if self.store.attrs().get(SPEC) is None:
            if self.store.trials():
                self._recorded_spec()
            mine = f"{MAKING}{self.owner['token']}"
            self.store.set_attr(mine, self.spec)
            for key, rival in self.store.attrs().items():
                if key.startswith(MAKING) and rival is not None and rival != self.spec:
                    self.store.set_attr(mine, None)
                    self._require_equal(rival)
            self.store.set_metric_names(list(self.objectives))
            self.store.set_attr(CONFIG, dict(config or {}))
            self.store.set_attr(SPACE, SpaceFacts.of(space).to_json())
            self.store.set_attr(SPEC, self.spec)
        self._require_equal(self._recorded_spec())

    def _require_equal(self, found: Mapping[str, Any]) -> None:
        if self.spec != found:
            key, mine, its = first_difference(self.spec, found)
            raise NASError(
                f"{key} {_short(mine)} for the study {self.name!r}",
                f"{key} {_short(its)}, with which it was made",
                "restore the setting, or start another study (study.name=...)",
            )

    def register(self, worker: str) -> None:
        """Takes the worker's number for this process. Raises NASError where a living process has it."""
        key = f"{REGISTERED}{worker}"
        other = self.store.attrs().get(key)
        if other is not None and other["place"] == host_id() and not is_mine(other, self.owner) and not is_dead(other):
            raise _twice(worker, f"process {other['pid']} has it")
        self.store.set_attr(key, self.owner)

    def unregister(self, worker: str) -> None:
        key = f"{REGISTERED}{worker}"
        if is_mine(self.store.attrs().get(key), self.owner):
            self.store.set_attr(key, {**self.owner, "pid": 0, "place": "", "token": ""})

    def records(self) -> tuple[Record, ...]:
        """All trials in order of number; withdrawn claims are left out."""
        trials, settled = self.store.trials(), self._settled
        while self._looked_at < len(trials) and trials[self._looked_at].state.is_finished():
            record = self._seen(trials[self._looked_at])
            if record is not None:
                settled.append(record)
            self._looked_at += 1
        later = (self._seen(trial) for trial in trials[self._looked_at :])
        return (*settled, *(record for record in later if record is not None))

    def _seen(self, trial: FrozenTrial) -> Record | None:
        """The trial's record, kept from when it is finished; None for a withdrawn claim."""
        record = self._finished.get(trial.number)
        if record is not None or not _is_live(trial):
            return record
        record = self._record(trial)
        if record.state is not State.RUNNING:
            self._finished[trial.number] = record
        return record

    def history(
        self,
        cost: CostFunction,
        cost_name: str,
        constraints: Sequence[Constraint] = (),
        costs: Mapping[str, CostFunction] | None = None,
    ) -> History:
        return History(self.records(), self.objectives, cost, cost_name, tuple(constraints), costs or {})

    def claim(self, proposal: Proposal, worker: str, limit: int | None = None) -> Ticket | None:
        """Creates the trial; None where another trial holds the same architecture and budget, or where the study holds
        `limit` trials already (then look again)."""
        arch, space = proposal.arch, self.space
        assert space is not None, "a study opened for reading"
        self.owner = {**self.owner, "claims": self.owner.get("claims", 0) + 1}
        trial = self.store.add(
            optuna.trial.create_trial(
                state=TrialState.RUNNING,
                params={gene.name: gene.choices[i] for gene, i in zip(space.genes, arch.genes, strict=True)},
                distributions=self._distributions,
                user_attrs={
                    GENES: list(arch.genes),
                    BUDGET: proposal.budget,
                    CLAIM: f"{self.owner['token']}-{self.owner['claims']}",
                    OWNER: {**self.owner, ATTEMPT: 0, WORKER: worker},
                    BEAT: [0, 0],
                },
            ),
            CLAIM,
        )
        records = self.records()
        late = limit is not None and sum(record.number <= trial.number for record in records) > limit
        if late or any(record.number != trial.number for record in _holding(proposal, records)):
            self._withdraw(trial._trial_id)
            time.sleep(random.uniform(0, LONGEST_PAUSE_S))
            return None
        return Ticket(trial.number, trial._trial_id, proposal)

    def _withdraw(self, trial_id: int) -> None:
        self.store.set_trial_attr(trial_id, WITHDRAWN, True)
        self.store.finish(trial_id, TrialState.FAIL)

    def take_over(self, worker: str = "") -> Ticket | None:
        """A running trial whose worker is gone: given back, its process ended on this machine, or no sign of life for
        the length of a lease by this worker's own clock. A trial in which several workers died is failed instead; a
        claim whose worker died before it looked for rivals, and that has one, is withdrawn in its place.

        Raises NASError where a living worker on another machine has this worker's number.
        """
        running = [t for t in self.store.trials((TrialState.RUNNING,)) if _is_live(t)]
        self._watch.forget_others(running)
        for trial in running:
            owner = trial.user_attrs[OWNER]
            if owner[WORKER] == worker and owner["place"] != host_id() and self._watch.saw_life(trial):
                raise _twice(worker, f"its trial {trial.number} is alive on another machine")
            if not self._watch.is_abandoned(trial):
                continue
            attempt = self._watch.take(trial, self.store, worker)
            if attempt is None:
                continue
            record = self._record(trial)
            proposal = Proposal(record.arch, record.budget)
            rivals = _holding(proposal, self.records())  # of two that run, the honest one was there first
            if any(rival.number < trial.number or rival.state is State.COMPLETE for rival in rivals):
                self._withdraw(trial._trial_id)
                continue
            ticket = Ticket(trial.number, trial._trial_id, proposal, attempt)
            if not self._watch.is_hopeless(trial):
                return ticket
            self.fail(ticket, "worker after worker died in it without finishing an epoch")
        return None

    def renew(self, ticket: Ticket, beat: int, epoch: int) -> bool:
        """A sign of life, with the epochs done; False where the trial has been taken over or finished by another."""
        trial = self.store.trial(ticket.trial_id)
        if trial.state.is_finished() or not self._holds(ticket, trial):
            return False
        return self.store.set_trial_attr(ticket.trial_id, BEAT, [beat, epoch, round(time.time())])

    def release(self, ticket: Ticket) -> None:
        """Gives an interrupted trial back: whoever comes next goes on with it."""
        trial = self.store.trial(ticket.trial_id)
        if self._holds(ticket, trial):
            self.store.set_trial_attr(ticket.trial_id, BEAT, [-1, attempt_of(trial.user_attrs).epoch])

    def finish(self, ticket: Ticket, metrics: Mapping[str, float]) -> None:
        """Raises NASError where an objective is missing from the metrics, and TrialFailed where it is not finite."""
        missing = [name for name in self.objectives if name not in metrics]
        if missing:
            raise NASError(
                f"no value for the objective {', '.join(missing)}",
                f"some of {', '.join(sorted(metrics))}",
                "mend `objectives` or the evaluator",
            )
        values = [float(metrics[name]) for name in self.objectives]
        endless = [name for name, value in zip(self.objectives, values, strict=True) if not math.isfinite(value)]
        if endless:
            raise TrialFailed(f"no finite value for {', '.join(endless)}")
        self._close(ticket, TrialState.COMPLETE, METRICS, {k: float(v) for k, v in metrics.items()}, values)

    def fail(self, ticket: Ticket, reason: str) -> None:
        self._close(ticket, TrialState.FAIL, REASON, " ".join(reason.split())[:500])

    def _close(
        self, ticket: Ticket, state: TrialState, key: str, content: Any, values: Sequence[float] | None = None
    ) -> None:
        """Only the first to finish a trial counts: whoever was taken for dead and wakes up changes nothing. The content
        is written under the number of the attempt, which is fixed with the state."""
        if (
            self._holds(ticket, self.store.trial(ticket.trial_id))
            and self.store.set_trial_attr(ticket.trial_id, f"{key}:{ticket.attempt}", content)
            and self.store.finish(ticket.trial_id, state, values)
        ):
            return
        log.warning("trial %d was finished or taken over by another worker; this result is dropped", ticket.number)

    def _holds(self, ticket: Ticket, trial: FrozenTrial) -> bool:
        owner = trial.user_attrs.get(OWNER)
        return is_mine(owner, self.owner) and owner is not None and owner[ATTEMPT] == ticket.attempt

    def close(self) -> None:
        """Lets go of the store's connections."""
        self.store.close()

    def _record(self, trial: FrozenTrial) -> Record:
        attrs = trial.user_attrs
        state = {TrialState.COMPLETE: State.COMPLETE, TrialState.RUNNING: State.RUNNING}.get(trial.state, State.FAILED)
        genes = attrs[GENES]
        return Record(
            number=trial.number,
            arch=self.space.architecture(genes) if self.space else Architecture(self.spec["space"], tuple(genes)),
            budget=int(attrs[BUDGET]),
            state=state,
            metrics=self._metrics(trial) if state is State.COMPLETE else {},
            reason=self._reason(attrs) if state is State.FAILED else "",
            worker=attrs[OWNER][WORKER],
            started=trial.datetime_start.timestamp() if trial.datetime_start else 0.0,
            finished=trial.datetime_complete.timestamp() if trial.datetime_complete else 0.0,
        )

    def _metrics(self, trial: FrozenTrial) -> Mapping[str, float]:
        """Those of the attempt whose values were fixed when the trial was finished."""
        attempts = [value for key, value in trial.user_attrs.items() if key.startswith(METRICS)]
        for metrics in attempts:
            if [metrics[name] for name in self.objectives] == trial.values:
                return dict(metrics)
        raise NASError(
            f"trial {trial.number} of {self.name!r} without its metrics",
            "a study that only VoxNAS has written to",
            "delete the trial, or start another study",
        )

    def _reason(self, attrs: Mapping[str, Any]) -> str:
        return next((str(attrs[key]) for key in sorted(attrs, reverse=True) if key.startswith(REASON)), "")


def facts_of(space: SearchSpace | None) -> dict[str, Any]:
    """What a person, or another program, needs to know of a space to read its gene vectors."""
    assert space is not None, "a study opened for reading makes nothing"
    genes = [{"name": gene.name, "choices": list(gene.choices), "ordered": gene.ordered} for gene in space.genes]
    made = {"class": space.class_path, "arguments": space.arguments, "fingerprint": space.fingerprint}
    return {**made, "genes": genes}


def _holding(proposal: Proposal, records: Sequence[Record]) -> list[Record]:
    """The trials, running or finished, that hold the same architecture and budget."""
    return [
        record
        for record in records
        if record.arch.id == proposal.arch.id and record.budget == proposal.budget and record.state is not State.FAILED
    ]


def _is_live(trial: FrozenTrial) -> bool:
    return GENES in trial.user_attrs and WITHDRAWN not in trial.user_attrs


def _twice(worker: str, how: str) -> NASError:
    return NASError(f"worker={worker} twice in one study ({how})", "a number of its own for each worker", "worker=<n>")


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
