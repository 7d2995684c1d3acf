"""Optuna's database storage with one transaction and a few statements for each step of a trial."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Container, Mapping, Sequence
from datetime import datetime, timezone
from functools import cache
from types import SimpleNamespace
from typing import Any

from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

Holds = Callable[[Mapping[str, Any]], bool]  # user attributes of a running trial -> whether it may be finished


class TrialDatabase(RDBStorage):
    """Optuna's tables, written and read with fewer statements.

    Optuna looks up a trial and a distribution before it writes a parameter, and parses the distributions of all
    parameters when it reads a trial. With 21 genes these are about 90 statements per trial, and the outcome of a trial
    takes two transactions, each of which waits for the disk. Here a trial is created by five statements, and its
    outcome is recorded in one transaction. The rows are those that Optuna writes.

    Attributes:
        created: The trial that was created last.
    """

    created: FrozenTrial | None = None

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        """Insert a running trial with its parameters and user attributes; Optuna inserts any other trial."""
        if template_trial is None or not _is_claim(template_trial):
            return super()._create_new_trial(study_id, template_trial)
        known, sql = template_trial.distributions, _statements()
        with self.engine.begin() as connection:
            if connection.execute(sql.lock_study, {"study": study_id}).first() is None:
                raise KeyError(sql.not_found)
            row = {"study": study_id, "began": _utc(template_trial.datetime_start)}
            inserted = connection.execute(sql.insert_trial, row).inserted_primary_key
            assert inserted is not None
            trial_id = int(inserted[0])
            params = [
                {
                    "trial_id": trial_id,
                    "param_name": name,
                    "param_value": known[name].to_internal_repr(value),
                    "distribution_json": distribution_to_json(known[name]),
                }
                for name, value in template_trial.params.items()
            ]
            if params:
                connection.execute(sql.insert_params, params)
            attrs = [
                {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
                for key, value in template_trial.user_attrs.items()
            ]
            if attrs:
                connection.execute(sql.insert_attrs, attrs)
            number = connection.execute(sql.number, {"trial": trial_id}).scalar_one()
        start, attrs_of_it = template_trial.datetime_start, dict(template_trial.user_attrs)
        self.created = _frozen(trial_id, number, TrialState.RUNNING, start, None, attrs_of_it)
        return self.created

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
        sql, now = _statements(), _utc(datetime.now())
        with self.engine.connect() as connection:
            # the first statement takes the lock, so that what is read after it stays true
            changed = connection.execute(sql.finish, {"trial": trial_id, "now_state": state, "now": now})
            if changed.rowcount != 1:
                return False
            rows = connection.execute(sql.attrs_of_one, {"trial": trial_id}).all()
            attrs = {name: json.loads(text) for _, name, text in rows}
            if not holds(attrs):
                return False
            if key in attrs:
                connection.execute(sql.delete_attr, {"trial": trial_id, "name": key})
            row = {"trial_id": trial_id, "key": key, "value_json": json.dumps(content)}
            connection.execute(sql.insert_attrs, [row])
            if values is not None:
                stored = [sql.value_to_stored(value) for value in values]
                connection.execute(
                    sql.insert_values,
                    [
                        {"trial_id": trial_id, "objective": objective, "value": value, "value_type": kind}
                        for objective, (value, kind) in enumerate(stored)
                    ],
                )
            connection.commit()
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
        found = self._read("one", {"trial": trial_id})
        if not found:
            raise KeyError(_statements().not_found)
        return found[0]

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        """Return trials without parameters, system attributes and intermediate values, in order of their keys."""
        wanted = {"study": study_id, "after": trial_id_greater_than, "included": sorted(included_trial_ids)}
        found = self._read("several", wanted)
        return [one for one in found if states is None or one.state in states]

    def _read(self, which: str, arguments: Mapping[str, Any]) -> list[FrozenTrial]:
        sql = _statements()
        attrs: dict[int, dict[str, Any]] = defaultdict(dict)
        values: dict[int, list[float]] = defaultdict(list)
        with self.engine.connect() as connection:
            # states first: what belongs to a finished trial was written before it was finished
            trials = connection.execute(getattr(sql, f"trials_of_{which}"), arguments).all()
            if not trials:
                return []
            for trial_id, key, text in connection.execute(getattr(sql, f"attrs_of_{which}"), arguments):
                attrs[trial_id][key] = json.loads(text)
            if any(state is TrialState.COMPLETE for _, _, state, _, _ in trials):
                for trial_id, value, kind in connection.execute(getattr(sql, f"values_of_{which}"), arguments):
                    values[trial_id].append(sql.stored_to_value(value, kind))
        return [
            _frozen(trial_id, number, state, _local(start), _local(complete), attrs[trial_id], values.get(trial_id))
            for trial_id, number, state, start, complete in trials
        ]


@cache
def _statements() -> SimpleNamespace:
    """Make the statements once; SQLAlchemy takes longer to make one than SQLite to run it."""
    from optuna.storages._rdb import models
    from sqlalchemy import and_, bindparam, delete, func, insert, or_, select, update

    study, trial = models.StudyModel.__table__, models.TrialModel.__table__
    attr, value = models.TrialUserAttributeModel.__table__, models.TrialValueModel.__table__
    one, own = trial.c.trial_id == bindparam("trial"), attr.c.trial_id == bindparam("trial")
    included = trial.c.trial_id.in_(bindparam("included", expanding=True))
    several = and_(trial.c.study_id == bindparam("study"), or_(trial.c.trial_id > bindparam("after"), included))
    before = select(func.count()).select_from(trial).where(trial.c.study_id == bindparam("study")).scalar_subquery()
    sql = SimpleNamespace(
        not_found=models.NOT_FOUND_MSG,
        value_to_stored=models.TrialValueModel.value_to_stored_repr,
        stored_to_value=models.TrialValueModel.stored_repr_to_value,
        # a server lets one process at a time count the trials of a study; SQLite does so with any write
        lock_study=select(study.c.study_id).where(study.c.study_id == bindparam("study")).with_for_update(),
        insert_trial=insert(trial).values(
            number=before, study_id=bindparam("study"), state=TrialState.RUNNING, datetime_start=bindparam("began")
        ),
        number=select(trial.c.number).where(one),
        insert_params=insert(models.TrialParamModel.__table__),
        insert_attrs=insert(attr),
        insert_values=insert(value),
        finish=update(trial)
        .where(one, trial.c.state == TrialState.RUNNING)
        .values(state=bindparam("now_state"), datetime_complete=bindparam("now")),
        delete_attr=delete(attr).where(own, attr.c.key == bindparam("name")),
    )
    columns = (trial.c.trial_id, trial.c.number, trial.c.state, trial.c.datetime_start, trial.c.datetime_complete)
    for name, where in (("one", one), ("several", several)):
        setattr(sql, f"trials_of_{name}", select(*columns).where(where).order_by(trial.c.trial_id))
        rows = select(attr.c.trial_id, attr.c.key, attr.c.value_json)
        setattr(sql, f"attrs_of_{name}", rows.join(trial, trial.c.trial_id == attr.c.trial_id).where(where))
        rows = select(value.c.trial_id, value.c.value, value.c.value_type).order_by(value.c.objective)
        setattr(sql, f"values_of_{name}", rows.join(trial, trial.c.trial_id == value.c.trial_id).where(where))
    return sql


def _is_claim(template: FrozenTrial) -> bool:
    """Whether a trial is running and has nothing but parameters and user attributes."""
    return template.state is TrialState.RUNNING and not (
        template.values or template.system_attrs or template.intermediate_values
    )


def _frozen(
    trial_id: int,
    number: int,
    state: TrialState,
    start: datetime | None,
    complete: datetime | None,
    attrs: dict[str, Any],
    values: list[float] | None = None,
) -> FrozenTrial:
    return FrozenTrial(
        number=number,
        state=state,
        value=None,
        values=values,
        datetime_start=start,
        datetime_complete=complete,
        params={},
        distributions={},
        user_attrs=attrs,
        system_attrs={},
        intermediate_values={},
        trial_id=trial_id,
    )


def _utc(local: datetime | None) -> datetime | None:
    """Convert naive local time to a stored time, as Optuna does."""
    return None if local is None else local.astimezone(timezone.utc).replace(tzinfo=None)


def _local(utc: datetime | None) -> datetime | None:
    """Convert a stored time to naive local time, as Optuna does."""
    return None if utc is None else utc.replace(tzinfo=timezone.utc).astimezone().replace(tzinfo=None)
