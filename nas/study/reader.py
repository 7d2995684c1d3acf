"""An Optuna study as a list of immutable records, for reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from nas.architecture import Architecture
from nas.artifact import SpaceFacts
from nas.errors import NASError, first_line
from nas.history import History, Proposal, State, Trial
from nas.multiobjective.constraints import Constraint
from nas.study.lease import WORKER, Attempt, attempt_of
from nas.study.storage import Store

SCHEMA = 3
GENES, BUDGET, REPLICATE, METRICS, REASON, WITHDRAWN = (
    f"voxnas:{key}" for key in ("genes", "budget", "replicate", "metrics", "reason", "withdrawn")
)
SPEC, CONFIG, SPACE = "voxnas:spec", "voxnas:config", "voxnas:space"


class StudyReader:
    """A study that exists, without its space: architectures are known by their genes.

    Args:
        store: The store, attached to the study.
        name: Name of the study.

    Attributes:
        url: URL of the store.
        spec: Facts that all workers of the study have to agree on.
        objectives: Metric name -> "maximize" or "minimize".

    Raises:
        NASError: If the study is of another schema.
    """

    def __init__(self, store: Store, name: str) -> None:
        self.store, self.url, self.name = store, store.url, name
        self._finished: dict[int, Trial] = {}
        self._settled: list[Trial] = []  # records of the first trials, as far as all of these are finished
        self._read = 0  # number of these trials
        self.spec = self._recorded_spec()
        self.objectives: dict[str, str] = dict(self.spec["objectives"])

    @classmethod
    def open(cls, url: str, name: str) -> StudyReader:
        """Open an existing study.

        Args:
            url: URL of the store.
            name: Name of the study.

        Returns:
            The study, for reading.

        Raises:
            NASError: If the store cannot be opened, or has no such study of this schema.
        """
        store = Store(url, read_only=True)
        store.attach(name)
        return StudyReader(store, name)

    @property
    def config(self) -> dict[str, Any]:
        """The configuration with which the study was created."""
        recorded = self.store.attrs().get(CONFIG, {})
        return dict(recorded) if isinstance(recorded, Mapping) else {}

    @property
    def space_facts(self) -> SpaceFacts:
        """Class, arguments and genes of the space."""
        recorded = self.store.attrs().get(SPACE)
        if recorded is None:
            raise NASError(
                f"the study {self.name!r} without a record of its space", "a complete study", "read its trials as csv"
            )
        return SpaceFacts.from_json(recorded)

    def attempts(self) -> dict[int, Attempt]:
        """Return who works on each running trial.

        Returns:
            Trial number -> the last sign of life of its worker.
        """
        running = self.store.trials((TrialState.RUNNING,))
        return {trial.number: attempt_of(trial.user_attrs) for trial in running if is_live(trial)}

    def records(self) -> tuple[Trial, ...]:
        """Return all trials in order of number; withdrawn claims are left out.

        Returns:
            The records.
        """
        trials, settled = self.store.trials(), self._settled
        while self._read < len(trials) and trials[self._read].state.is_finished():
            record = self._cached_record(trials[self._read])
            if record is not None:
                settled.append(record)
            self._read += 1
        later = (self._cached_record(trial) for trial in trials[self._read :])
        return (*settled, *(record for record in later if record is not None))

    def history(self) -> History:
        """Return the trials with the objectives and constraints of the study.

        Returns:
            The history. Costs are unknown without the space: the cost function gives NaN.
        """
        constraints = tuple(Constraint.parse(text) for text in self.spec.get("constraints", ()))
        return History(self.records(), self.objectives, _unknown_cost, self.cost_name, constraints)

    @property
    def cost_name(self) -> str:
        """Name of the deterministic cost."""
        return str(self.spec.get("cost", {}).get("metric", ""))

    def close(self) -> None:
        """Release the connections of the store."""
        self.store.close()

    def _recorded_spec(self) -> dict[str, Any]:
        recorded = self.store.attrs().get(SPEC)
        if recorded is not None and not _is_spec(recorded):
            raise self._damaged("a damaged record of its settings")
        if recorded is None or recorded.get("schema") != SCHEMA:
            got = "a study that VoxNAS did not create" if recorded is None else f"schema {recorded.get('schema', 1)}"
            raise NASError(
                f"{got} ({self.name!r} in {self.url})",
                f"a study of schema {SCHEMA}",
                "use the version of VoxNAS that created it, or start another study (study.name=...)",
            )
        return dict(recorded)

    def _cached_record(self, trial: FrozenTrial) -> Trial | None:
        """Return the trial's record, cached once it is finished; None for a withdrawn claim."""
        record = self._finished.get(trial.number)
        if record is not None or not is_live(trial):
            return record
        try:
            record = self._record(trial)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._damaged(
                f"a damaged trial {trial.number} ({type(error).__name__}: {first_line(error)})"
            ) from error
        if record.state is not State.RUNNING:
            self._finished[trial.number] = record
        return record

    def _damaged(self, what: str) -> NASError:
        return NASError(
            f"the study {self.name!r} with {what}",
            "a study that only VoxNAS has written to",
            "restore the store from a copy, or start another study",
        )

    def _architecture(self, genes: Sequence[int]) -> Architecture:
        return Architecture(self.spec["space"], tuple(genes))

    def _record(self, trial: FrozenTrial) -> Trial:
        attrs = trial.user_attrs
        state = {TrialState.COMPLETE: State.COMPLETE, TrialState.RUNNING: State.RUNNING}.get(trial.state, State.FAILED)
        return Trial(
            number=trial.number,
            arch=self._architecture(attrs[GENES]),
            budget=int(attrs[BUDGET]),
            state=state,
            metrics=self._metrics(trial) if state is State.COMPLETE else {},
            reason=_reason(attrs) if state is State.FAILED else "",
            worker=attempt_of(attrs).owner[WORKER],
            started=trial.datetime_start.timestamp() if trial.datetime_start else 0.0,
            finished=trial.datetime_complete.timestamp() if trial.datetime_complete else 0.0,
            replicate=int(attrs.get(REPLICATE, 0)),  # earlier versions had no replicates
        )

    def _metrics(self, trial: FrozenTrial) -> Mapping[str, float]:
        """Metrics of the attempt whose values were recorded when the trial was finished."""
        attempts = [value for key, value in trial.user_attrs.items() if key.startswith(METRICS)]
        for metrics in attempts:
            if [metrics[name] for name in self.objectives] == trial.values:
                return dict(metrics)
        raise NASError(
            f"trial {trial.number} of {self.name!r} without its metrics",
            "a study that only VoxNAS has written to",
            "delete the trial, or start another study",
        )


def is_live(trial: FrozenTrial) -> bool:
    """Return whether a trial is a claim that was not withdrawn.

    Args:
        trial: A trial as Optuna gives it.

    Returns:
        False for trials of other programs and for withdrawn claims.
    """
    return GENES in trial.user_attrs and WITHDRAWN not in trial.user_attrs


def holding(proposal: Proposal, records: Sequence[Trial]) -> list[Trial]:
    """Return the trials, running or finished, that hold the architecture, budget and replicate of a proposal.

    Args:
        proposal: Architecture, budget and replicate.
        records: Trials to search.

    Returns:
        The trials that have not failed.
    """
    wanted = (proposal.arch.id, proposal.budget, proposal.replicate)
    return [
        record
        for record in records
        if record.state is not State.FAILED and (record.arch.id, record.budget, record.replicate) == wanted
    ]


def _is_spec(recorded: Any) -> bool:
    """Whether the record of a study has the types that readers rely on; the store may be from elsewhere."""
    if not isinstance(recorded, Mapping):
        return False
    objectives, cost = recorded.get("objectives", {}), recorded.get("cost", {})
    constraints = recorded.get("constraints", [])
    return (
        isinstance(objectives, Mapping)
        and all(isinstance(text, str) for pair in objectives.items() for text in pair)
        and isinstance(cost, Mapping)
        and isinstance(constraints, list)
        and all(isinstance(text, str) for text in constraints)
        and (recorded.get("schema") != SCHEMA or (bool(objectives) and isinstance(recorded.get("space"), str)))
    )


def _reason(attrs: Mapping[str, Any]) -> str:
    return next((str(attrs[key]) for key in sorted(attrs, reverse=True) if key.startswith(REASON)), "")


def _unknown_cost(genes_NG: np.ndarray) -> np.ndarray:
    return np.full(len(genes_NG), np.nan)
