"""Optuna's database storage with one transaction and a few statements for each step of a trial."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Container, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState

if TYPE_CHECKING:
    from optuna.storages._rdb.models import TrialModel
    from sqlalchemy.orm import Session

Holds = Callable[[Mapping[str, Any]], bool]  # user attributes of a running trial -> whether it may be finished


class TrialDatabase(RDBStorage):
    """Optuna's tables, written and read with fewer statements.

    Optuna looks up a trial and a distribution before it writes a parameter, and parses the distributions of all
    parameters when it reads a trial. With 21 genes these are about 90 statements per trial, and the outcome of a trial
    takes two transactions, each of which waits for the disk. Here a trial is created by five statements, and its
    outcome is recorded in one transaction. The rows are those that Optuna writes.
    """

    def _get_prepared_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None, session: Session
    ) -> TrialModel:
        """Insert a running trial with its parameters and user attributes; Optuna inserts any other trial."""
        from optuna.storages._rdb import models
        from sqlalchemy import insert

        if not _is_claim(template_trial):
            return super()._get_prepared_new_trial(study_id, template_trial, session)
        assert template_trial is not None
        trial = models.TrialModel(
            study_id=study_id, number=None, state=TrialState.RUNNING, datetime_start=template_trial.datetime_start
        )
        session.add(trial)
        session.flush()  # takes the write lock, under which the trials before this one are counted
        known, params = template_trial.distributions, template_trial.params
        rows = [
            {
                "trial_id": trial.trial_id,
                "param_name": name,
                "param_value": known[name].to_internal_repr(value),
                "distribution_json": distribution_to_json(known[name]),
            }
            for name, value in params.items()
        ]
        if rows:
            session.execute(insert(models.TrialParamModel), rows)
        attrs = [
            {"trial_id": trial.trial_id, "key": key, "value_json": json.dumps(value)}
            for key, value in template_trial.user_attrs.items()
        ]
        if attrs:
            session.execute(insert(models.TrialUserAttributeModel), attrs)
        trial.number = trial.count_past_trials(session)
        return trial

    def finish(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None, key: str, content: Any, holds: Holds
    ) -> bool:
        """Finish a running trial and set an attribute of it, in one transaction.

        Args:
            trial_id: Key of the trial.
            state: Its last state.
            values: Values of the objectives, or None.
            key: Name of the attribute.
            content: A JSON value.
            holds: Called with the user attributes once no other process can finish the trial; if it returns False,
                nothing is changed.

        Returns:
            Whether the trial was finished by this call.
        """
        from optuna.storages._rdb import models
        from sqlalchemy import delete, insert, select, update

        trial, attr, value_of = models.TrialModel, models.TrialUserAttributeModel, models.TrialValueModel
        now = datetime.now(timezone.utc).replace(tzinfo=None)
        running = (trial.trial_id == trial_id, trial.state == TrialState.RUNNING)
        content_json = json.dumps(content)
        with _create_scoped_session(self.scoped_session) as session:
            # the first statement takes the lock, so that what is read after it stays true
            changed = session.execute(
                update(trial)
                .where(*running)
                .values({trial.state: state, trial._datetime_complete_utc: now})
                .execution_options(synchronize_session=False)
            )
            if changed.rowcount != 1:
                return False
            rows = session.execute(select(attr.key, attr.value_json).where(attr.trial_id == trial_id))
            if not holds({name: json.loads(text) for name, text in rows}):
                session.rollback()
                return False
            session.execute(
                delete(attr)
                .where(attr.trial_id == trial_id, attr.key == key)
                .execution_options(synchronize_session=False)
            )
            session.execute(insert(attr), [{"trial_id": trial_id, "key": key, "value_json": content_json}])
            if values is not None:
                session.execute(
                    insert(value_of),
                    [
                        {"trial_id": trial_id, "objective": objective, "value": stored, "value_type": kind}
                        for objective, value in enumerate(values)
                        for stored, kind in [value_of.value_to_stored_repr(value)]
                    ],
                )
        return True

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial without parameters, system attributes and intermediate values.

        Args:
            trial_id: Key of the trial.

        Returns:
            Its present state.

        Raises:
            KeyError: If there is none.
        """
        from optuna.storages._rdb import models

        found = self._read(models.TrialModel.trial_id == trial_id)
        if not found:
            raise KeyError(models.NOT_FOUND_MSG)
        return found[0]

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        """Return trials without parameters, system attributes and intermediate values, in order of their keys."""
        from optuna.storages._rdb import models
        from sqlalchemy import and_, or_

        trial = models.TrialModel
        wanted = or_(trial.trial_id > trial_id_greater_than, trial.trial_id.in_(sorted(included_trial_ids)))
        found = self._read(and_(trial.study_id == study_id, wanted))
        return [one for one in found if states is None or one.state in states]

    def _read(self, where: Any) -> list[FrozenTrial]:
        from optuna.storages._rdb import models
        from sqlalchemy import select

        trial, attr, value_of = models.TrialModel, models.TrialUserAttributeModel, models.TrialValueModel
        attrs: dict[int, dict[str, Any]] = defaultdict(dict)
        values: dict[int, list[float]] = defaultdict(list)
        columns = (trial.trial_id, trial.number, trial.state, trial._datetime_start_utc, trial._datetime_complete_utc)
        with _create_scoped_session(self.scoped_session) as session:
            # states first: what belongs to a finished trial was written before it was finished
            trials = session.execute(select(*columns).where(where).order_by(trial.trial_id)).all()
            if not trials:
                return []
            rows = select(attr.trial_id, attr.key, attr.value_json).join(trial, trial.trial_id == attr.trial_id)
            for trial_id, key, text in session.execute(rows.where(where)):
                attrs[trial_id][key] = json.loads(text)
            if any(state is TrialState.COMPLETE for _, _, state, _, _ in trials):
                rows = select(value_of.trial_id, value_of.value, value_of.value_type)
                rows = rows.join(trial, trial.trial_id == value_of.trial_id).where(where).order_by(value_of.objective)
                for trial_id, value, kind in session.execute(rows):
                    values[trial_id].append(value_of.stored_repr_to_value(value, kind))
        return [
            FrozenTrial(
                number=number,
                state=state,
                value=None,
                values=values.get(trial_id),
                datetime_start=_local(start),
                datetime_complete=_local(complete),
                params={},
                distributions={},
                user_attrs=attrs[trial_id],
                system_attrs={},
                intermediate_values={},
                trial_id=trial_id,
            )
            for trial_id, number, state, start, complete in trials
        ]


def _is_claim(template: FrozenTrial | None) -> bool:
    """Whether a trial is running and has nothing but parameters and user attributes."""
    return (
        template is not None
        and template.state is TrialState.RUNNING
        and not (template.values or template.system_attrs or template.intermediate_values)
    )


def _local(utc: datetime | None) -> datetime | None:
    """Convert a stored time to naive local time, as Optuna does."""
    return None if utc is None else utc.replace(tzinfo=timezone.utc).astimezone().replace(tzinfo=None)
