"""The only store: an Optuna study, seen as a list of immutable records.

A trial is created whole, in one write, with its architecture, budget and owner; a rival for the same architecture is
found by reading after writing. Identity never depends on the order of parameters or on Optuna's own samplers.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import socket
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from nas.errors import NASError
from nas.files import write_text
from nas.history import CostFunction, History, Proposal, Record, State
from nas.space import SearchSpace

LEASE_S = 600.0  # a running trial that was not renewed for so long may be taken over
CREATE_TRIES = 8
GENES, BUDGET, OWNER, LEASE, METRICS, REASON, WORKER, WITHDRAWN = (
    f"voxnas:{key}" for key in ("genes", "budget", "owner", "lease", "metrics", "reason", "worker", "withdrawn")
)
SPEC = "voxnas:spec"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ticket:
    """The right to evaluate one proposal. trial_id: the store's own key of the trial."""

    number: int
    trial_id: int
    proposal: Proposal


class Study:
    """A study in a store, for one search space.

    spec: what must agree between all who work on the study (space, data, split, objectives, cost, training): key ->
    short value. Raises NASError where the store holds a study of another spec, and where the store cannot be read.
    """

    def __init__(
        self, url: str, name: str, space: SearchSpace, objectives: Mapping[str, str], spec: Mapping[str, Any]
    ) -> None:
        self.url, self.name, self.space, self.objectives = url, name, space, dict(objectives)
        self._finished: dict[int, Record] = {}
        self._distributions: dict[str, BaseDistribution] = {
            gene.name: CategoricalDistribution(gene.choices) for gene in space.genes
        }
        _quiet_optuna()
        with _readable(url):
            self._study = _create_or_attach(url, name, list(self.objectives.values()))
            self._store = self._study._storage
            self._id = self._study._study_id
            self._agree({**spec, "space": space.fingerprint, "objectives": self.objectives})

    def _agree(self, spec: Mapping[str, Any]) -> None:
        wanted = json.loads(json.dumps(spec))
        found = self._study.user_attrs.get(SPEC)
        if found is None:
            self._study.set_metric_names(list(self.objectives))
            self._study.set_user_attr(SPEC, wanted)
            return
        for key in sorted({*wanted, *found}):
            if wanted.get(key) != found.get(key):
                raise NASError(
                    f"{key} {_short(wanted.get(key))} for the study {self.name!r}",
                    f"{key} {_short(found.get(key))}, with which it was made",
                    "restore the setting, or start another study (study.name=...)",
                )

    def records(self) -> tuple[Record, ...]:
        """All trials in order of number; withdrawn claims are left out."""
        with _readable(self.url):
            trials = self._store.get_all_trials(self._id, deepcopy=False)
        records = []
        for trial in trials:
            if GENES not in trial.user_attrs or WITHDRAWN in trial.user_attrs:
                continue
            record = self._finished.get(trial.number) or self._record(trial)
            if record.state is not State.RUNNING:
                self._finished[trial.number] = record
            records.append(record)
        return tuple(records)

    def history(self, cost: CostFunction, cost_name: str) -> History:
        return History(self.records(), self.objectives, cost, cost_name)

    def claim(self, proposal: Proposal, worker: str) -> Ticket | None:
        """Creates the trial; None where another trial holds the same architecture and budget (then propose again)."""
        arch = proposal.arch
        trial = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params={gene.name: gene.choices[i] for gene, i in zip(self.space.genes, arch.genes, strict=True)},
            distributions=self._distributions,
            user_attrs={
                GENES: list(arch.genes),
                BUDGET: proposal.budget,
                WORKER: worker,
                OWNER: _owner(),
                LEASE: time.time() + LEASE_S,
            },
        )
        trial_id = self._store.create_new_trial(self._id, template_trial=trial)
        number = self._store.get_trial_number_from_id(trial_id)
        for record in self.records():
            same = record.arch == arch and record.budget == proposal.budget
            if same and record.number != number and record.state is not State.FAILED:
                self._store.set_trial_user_attr(trial_id, WITHDRAWN, True)
                self._store.set_trial_state_values(trial_id, TrialState.FAIL)
                return None
        return Ticket(number, trial_id, proposal)

    def take_over(self) -> Ticket | None:
        """A running trial whose worker is gone: its process has ended on this machine, or its lease has run out."""
        for trial in self._store.get_all_trials(self._id, deepcopy=False, states=(TrialState.RUNNING,)):
            if GENES in trial.user_attrs and _is_abandoned(trial):
                self._store.set_trial_user_attr(trial._trial_id, OWNER, _owner())
                self._store.set_trial_user_attr(trial._trial_id, LEASE, time.time() + LEASE_S)
                record = self._record(trial)
                return Ticket(trial.number, trial._trial_id, Proposal(record.arch, record.budget))
        return None

    def renew(self, ticket: Ticket) -> None:
        """Extends the lease; the evaluator does this after each epoch."""
        self._store.set_trial_user_attr(ticket.trial_id, LEASE, time.time() + LEASE_S)

    def release(self, ticket: Ticket) -> None:
        """Gives an interrupted trial back: whoever comes next goes on with it."""
        self._store.set_trial_user_attr(ticket.trial_id, LEASE, 0.0)

    def finish(self, ticket: Ticket, metrics: Mapping[str, float]) -> None:
        """Raises NASError where an objective is missing from the metrics or not finite."""
        values = [float(metrics.get(name, float("nan"))) for name in self.objectives]
        if any(value != value or abs(value) == float("inf") for value in values):
            missing = [name for name, value in zip(self.objectives, values, strict=True) if value != value]
            raise NASError(
                f"no finite value for {', '.join(missing) or 'an objective'}",
                f"all of {', '.join(self.objectives)} among the metrics {', '.join(metrics)}",
                "mend `objectives` or the evaluator",
            )
        self._close(ticket, TrialState.COMPLETE, METRICS, {k: float(v) for k, v in metrics.items()}, values)

    def fail(self, ticket: Ticket, reason: str) -> None:
        self._close(ticket, TrialState.FAIL, REASON, " ".join(reason.split())[:500])

    def _close(
        self, ticket: Ticket, state: TrialState, key: str, content: Any, values: Sequence[float] | None = None
    ) -> None:
        try:
            self._store.set_trial_user_attr(ticket.trial_id, key, content)
            self._store.set_trial_state_values(ticket.trial_id, state, values)
        except optuna.exceptions.UpdateFinishedTrialError:
            log.warning("trial %d was finished by another worker meanwhile; this result is dropped", ticket.number)

    def export_csv(self, path: str | Path) -> None:
        """One row a trial: number, state, architecture, every metric, reason, seconds."""
        records = self.records()
        names = sorted({name for record in records for name in record.metrics})
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["number", "state", "arch_id", "genes", "budget", *names, "seconds", "worker", "reason"])
        for record in records:
            seconds = f"{record.finished - record.started:.2f}" if record.finished else ""
            genes = " ".join(map(str, record.arch.genes))
            metrics = [record.metrics.get(name, "") for name in names]
            row = [record.number, record.state.value, record.arch.id, genes, record.budget, *metrics]
            writer.writerow([*row, seconds, record.worker, record.reason])
        write_text(path, text.getvalue())

    def close(self) -> None:
        """Lets go of the store's connections."""
        self._store.remove_session()
        engine = getattr(getattr(self._store, "_backend", None), "engine", None)
        if engine is not None:
            engine.dispose()

    def _record(self, trial: FrozenTrial) -> Record:
        attrs = trial.user_attrs
        state = {TrialState.COMPLETE: State.COMPLETE, TrialState.RUNNING: State.RUNNING}.get(trial.state, State.FAILED)
        return Record(
            number=trial.number,
            arch=self.space.architecture(attrs[GENES]),
            budget=int(attrs[BUDGET]),
            state=state,
            metrics=attrs.get(METRICS, {}),
            reason=attrs.get(REASON, ""),
            worker=attrs.get(WORKER, ""),
            started=trial.datetime_start.timestamp() if trial.datetime_start else 0.0,
            finished=trial.datetime_complete.timestamp() if trial.datetime_complete else 0.0,
        )


def _create_or_attach(url: str, name: str, directions: Sequence[Any]) -> optuna.Study:
    """Creates the study where it is missing. Several workers may do this at once on a new file: the losers of that
    race (a table or a study that exists already) try again and attach."""
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(CREATE_TRIES):
        try:
            storage = optuna.storages.RDBStorage(url, engine_kwargs=_engine_options(url))
            return optuna.create_study(
                study_name=name, storage=storage, directions=list(directions), load_if_exists=True
            )
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            race = any(word in str(error) for word in ("already exists", "UNIQUE", "locked"))
            if not race or attempt == CREATE_TRIES - 1:
                raise
            time.sleep(0.1 * 2**attempt * (1 + os.getpid() % 7 / 7))
    raise AssertionError("the last attempt returns or raises")


def _engine_options(url: str) -> dict[str, Any]:
    return {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}


@contextmanager
def _readable(url: str) -> Iterator[None]:
    """Turns the store's own errors into one line."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise NASError(
            f"the study store {url} ({reason})",
            "a store that can be opened, whole",
            "check study.url; move a damaged study.db aside and start again",
        ) from error


def _quiet_optuna() -> None:
    """Optuna logs every study and trial at INFO and warns of its own experimental calls."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def _owner() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid()}


def _is_abandoned(trial: FrozenTrial) -> bool:
    owner, lease = trial.user_attrs.get(OWNER, {}), trial.user_attrs.get(LEASE, 0.0)
    if lease < time.time():
        return True
    if owner.get("host") != socket.gethostname() or owner.get("pid") == os.getpid():
        return False
    try:
        os.kill(int(owner["pid"]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
