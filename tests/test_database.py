"""The database storage writes what Optuna's writes, in fewer transactions, and a trial is finished once."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event

from nas.study.database import TrialDatabase
from nas.study.opening import open_storage
from nas.study.storage import Store, always

GENES: dict[str, BaseDistribution] = {
    "width": CategoricalDistribution((4, 8, 16)),
    "norm": CategoricalDistribution(("batch", None)),
}
ATTRS = {"genes": [1, 0], "owner": {"token": "a\u00e4"}, "mark": "7"}


def template(state: TrialState = TrialState.RUNNING, **more: Any) -> FrozenTrial:
    params = {"width": 8, "norm": None}
    return optuna.trial.create_trial(state=state, params=params, distributions=GENES, user_attrs=ATTRS, **more)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[TrialDatabase, RDBStorage, int]]:
    """Ours, Optuna's on the same file, and the key of a study with two objectives."""
    url = f"sqlite:///{tmp_path}/study.db"
    ours = open_storage(url)._backend  # type: ignore[attr-defined]
    plain = RDBStorage(url)
    yield ours, plain, plain.create_new_study([StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE], "s")
    for one in (ours, plain):
        one.remove_session()
        one.engine.dispose()


def fields(trial: FrozenTrial) -> Mapping[str, Any]:
    names = ("state", "params", "distributions", "user_attrs", "system_attrs", "intermediate_values", "values")
    return {name: getattr(trial, name) for name in names} | {"params": list(trial.params.items())}


def test_a_trial_is_the_one_that_optuna_writes(opened: tuple[TrialDatabase, RDBStorage, int]) -> None:
    ours, plain, study = opened
    began = template()
    created = [storage._create_new_trial(study, began) for storage in (ours, plain, ours)]
    assert [trial.number for trial in created] == [0, 1, 2]
    assert {trial.datetime_start for trial in created} == {began.datetime_start}
    first, second, third = (plain.get_trial(trial._trial_id) for trial in created)
    assert fields(first) == fields(second) == fields(third)
    assert first.datetime_start == second.datetime_start
    assert ours.finish(first._trial_id, TrialState.COMPLETE, [0.5, float("inf")], "metrics", {"a": 1.0}, always)
    plain.set_trial_user_attr(second._trial_id, "metrics", {"a": 1.0})
    plain.set_trial_state_values(second._trial_id, TrialState.COMPLETE, [0.5, float("inf")])
    first, second = (plain.get_trial(trial._trial_id) for trial in created[:2])
    assert fields(first) == fields(second)
    assert first.datetime_complete is not None
    assert second.datetime_complete is not None
    assert abs((first.datetime_complete - second.datetime_complete).total_seconds()) < 60
    whole = ours.create_new_trial(study, template(TrialState.COMPLETE, values=[1.0, 2.0], system_attrs={"x": 1}))
    assert plain.get_trial(whole).values == [1.0, 2.0]
    assert plain.get_trial(whole).system_attrs == {"x": 1}


def test_what_is_read_is_what_optuna_reads(opened: tuple[TrialDatabase, RDBStorage, int]) -> None:
    ours, plain, study = opened
    for number in range(6):
        trial_id = ours.create_new_trial(study, template())
        if number % 2:
            state, values = (TrialState.FAIL, None) if number == 3 else (TrialState.COMPLETE, [number, -1.0])
            assert ours.finish(trial_id, state, values, "outcome", number, always)
    plain.create_new_study([StudyDirection.MINIMIZE], "another")
    names = ("number", "state", "values", "user_attrs", "datetime_start", "datetime_complete", "_trial_id")
    for states in (None, (TrialState.RUNNING,), (TrialState.COMPLETE, TrialState.FAIL)):
        mine, meant = (one.get_all_trials(study, states=states) for one in (ours, plain))
        assert [[getattr(one, name) for name in names] for one in mine] == [
            [getattr(one, name) for name in names] for one in meant
        ]
    later = ours._get_trials(study, None, {1}, 4)
    assert [trial._trial_id for trial in later] == [1, 5, 6]
    with pytest.raises(KeyError):
        ours.get_trial(99)
    with pytest.raises(KeyError):
        ours.create_new_trial(study + 7, template())


def test_a_trial_is_finished_once_and_only_by_its_holder(opened: tuple[TrialDatabase, RDBStorage, int]) -> None:
    ours, plain, study = opened
    trial_id = ours.create_new_trial(study, template())
    assert not ours.finish(trial_id, TrialState.COMPLETE, [1.0, 2.0], "metrics", {}, lambda attrs: attrs != ATTRS)
    assert plain.get_trial(trial_id).state is TrialState.RUNNING
    assert plain.get_trial(trial_id).user_attrs == ATTRS
    done: list[bool] = []
    barrier = threading.Barrier(4)

    def race(value: float) -> None:
        barrier.wait()
        done.append(ours.finish(trial_id, TrialState.COMPLETE, [value, value], "metrics", {"a": value}, always))

    racers = [threading.Thread(target=race, args=(float(value),)) for value in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert sorted(done) == [False, False, False, True]
    kept = plain.get_trial(trial_id)
    assert kept.values == [kept.user_attrs["metrics"]["a"]] * 2


def test_workers_that_create_trials_at_once_get_different_numbers(
    opened: tuple[TrialDatabase, RDBStorage, int],
) -> None:
    ours, plain, study = opened
    workers = [
        threading.Thread(target=lambda: [ours.create_new_trial(study, template()) for _ in range(5)]) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [trial.number for trial in plain.get_all_trials(study)] == list(range(20))


def test_a_trial_takes_two_transactions(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/study.db")
    store.create_or_attach("s", ["maximize", "minimize"])
    store.trials()
    said: list[str] = []
    engine = store._storage._backend.engine  # type: ignore[attr-defined]
    event.listen(engine, "checkout", lambda connection, *rest: connection.set_trace_callback(said.append))
    trial = store.add(template(), "mark")
    assert store.finish(trial._trial_id, TrialState.COMPLETE, "metrics", {"a": 1.0}, [1.0, 2.0])
    assert len(store.trials()) == 1
    words = [statement.split()[0].upper() for statement in said]
    assert words.count("COMMIT") == words.count("BEGIN") == 2
    assert len(words) < 30
    store.close()


def test_a_commit_waits_for_the_disk(tmp_path: Path) -> None:
    """As with Optuna's storage, a commit waits for the disk (synchronous FULL), with a journal that is deleted."""
    store = Store(f"sqlite:///{tmp_path}/study.db")
    store.create_or_attach("s", ["maximize"])
    with store._storage._backend.engine.connect() as connection:  # type: ignore[attr-defined]
        found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("synchronous", "journal_mode")]
    assert found == [2, "delete"]
    store.close()
