"""Stores of studies: an Optuna storage whose calls are repeated while it is out of reach."""

from __future__ import annotations

import logging
import random
import time
import warnings
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas.errors import NASError, first_line
from nas.study.database import Holds, TrialDatabase
from nas.study.opening import open_storage
from nas.study.password import take_password
from nas.study.store_errors import is_of_disk, is_of_store, is_passing, is_race, unusable
from nas.study.url import file_of

PATIENCE_S = 120.0
OPENING_PATIENCE_S = 10.0  # retries while opening, so that a wrong URL is reported soon
DISK_PATIENCE_S = 10.0  # retries on a disk that is full or cannot be written: people have to make room
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 3.0
log = logging.getLogger(__name__)
T = TypeVar("T")


def always(attrs: Mapping[str, Any]) -> bool:
    """Accept every trial.

    Args:
        attrs: User attributes of a trial.

    Returns:
        True.
    """
    return True


class Store:
    """One study in one store.

    While the store cannot be reached (network, a restarted server, a lock), each call is repeated with growing pauses,
    for a shorter time if the disk is full or the file cannot be written, and not at all if the file has been removed.
    After a call that failed for so long, the next ones fail at once, until one succeeds. Only calls that are safe to
    repeat are repeated.

    Args:
        url: URL of the store, see `nas.study.url.FORMS`.
        patience_s: Seconds of retries before NASError.
        read_only: Whether to open an SQLite file without writing to it.

    Raises:
        NASError: If the URL has another form, the driver is missing, or the store is damaged or of another version of
            Optuna.
    """

    def __init__(self, url: str, patience_s: float = PATIENCE_S, *, read_only: bool = False) -> None:
        self.url, self.patience_s = take_password(url), min(patience_s, OPENING_PATIENCE_S)
        self._file: Path | None = None  # once it exists
        self._gave_up = False
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # else every trial is a line
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        try:
            self._storage: BaseStorage = self._with_retries(lambda: open_storage(self.url, read_only=read_only))
            self._with_retries(self._storage.get_all_studies)
        except (AssertionError, LookupError, TypeError, AttributeError) as error:  # entries of a damaged journal
            raise unusable(self.url, error) from error
        self.patience_s = patience_s
        self._file = file_of(url)
        self._study_id = -1

    def create_or_attach(self, name: str, directions: Sequence[str]) -> None:
        """Create the study, or attach to it if it exists.

        Several workers may call this at once on a new store: one creates the study, the others attach.

        Args:
            name: Name of the study.
            directions: "maximize" or "minimize" for each objective.
        """
        found = [StudyDirection[direction.upper()] for direction in directions]
        self._study_id = self._with_retries(lambda: self._create_or_find(name, found))

    def _create_or_find(self, name: str, directions: list[StudyDirection]) -> int:
        try:
            return self._storage.create_new_study(directions, name)
        except optuna.exceptions.DuplicatedStudyError:
            return self._storage.get_study_id_from_name(name)

    def attach(self, name: str) -> None:
        """Attach to a study that exists.

        Args:
            name: Name of the study.

        Raises:
            NASError: If the store holds no study of this name.
        """
        try:
            self._study_id = self._with_retries(lambda: self._storage.get_study_id_from_name(name))
        except KeyError as error:
            raise NASError(
                f"no study {name!r} in {self.url}", f"one of {', '.join(self.names()) or 'none'}", "check the name"
            ) from error

    def names(self) -> list[str]:
        """Return the names of all studies of the store.

        Returns:
            The names, sorted.
        """
        return sorted(study.study_name for study in self._with_retries(self._storage.get_all_studies))

    def delete(self) -> None:
        """Delete the study and all its trials."""
        self._with_retries(lambda: self._storage.delete_study(self._study_id))

    def attrs(self) -> Mapping[str, Any]:
        """Return the attributes of the study.

        Returns:
            Attributes by key.
        """
        return self._with_retries(lambda: self._storage.get_study_user_attrs(self._study_id))

    def set_attr(self, key: str, value: Any) -> None:
        """Set an attribute of the study.

        Args:
            key: Name of the attribute.
            value: A JSON value.
        """
        self._with_retries(lambda: self._storage.set_study_user_attr(self._study_id, key, value))

    def set_metric_names(self, names: Sequence[str]) -> None:
        """Set the names by which Optuna's dashboard shows the objectives.

        Args:
            names: One name per objective.
        """
        self._with_retries(
            lambda: self._storage.set_study_system_attr(self._study_id, "study:metric_names", list(names))
        )

    def trials(self, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """Return the trials, which the caller must not change.

        Args:
            states: If given, only trials in these states.

        Returns:
            The trials in order of number.
        """
        return self._with_retries(lambda: self._storage.get_all_trials(self._study_id, deepcopy=False, states=states))

    def trial(self, trial_id: int) -> FrozenTrial:
        """Read a trial from the store.

        Args:
            trial_id: Key of the trial in the store.

        Returns:
            Its present state.
        """
        return self._with_retries(lambda: self._storage.get_trial(trial_id))

    def add(self, template: FrozenTrial, key: str) -> FrozenTrial:
        """Create a trial in one write.

        Args:
            template: The trial to write.
            key: User attribute of the template with a unique value, by which a repeated attempt recognises a trial that
                an interrupted attempt wrote.

        Returns:
            The trial in the store.
        """
        mark, attempts = template.user_attrs[key], 0

        def create() -> FrozenTrial:
            nonlocal attempts
            attempts += 1
            if attempts > 1:
                written = self._storage.get_all_trials(self._study_id, deepcopy=False)
                for trial in reversed(written):
                    if trial.user_attrs.get(key) == mark:
                        return trial
            trial_id = self._storage.create_new_trial(self._study_id, template)
            created = None if self._database is None else self._database.created
            if created is not None and created._trial_id == trial_id:
                return created
            return self._storage.get_trial(trial_id)

        return self._with_retries(create)

    def set_trial_attr(self, trial_id: int, key: str, value: Any) -> bool:
        """Set an attribute of a trial that is not finished.

        Args:
            trial_id: Key of the trial in the store.
            key: Name of the attribute.
            value: A JSON value.

        Returns:
            False if the trial is finished and therefore unchanged.
        """
        return self._unless_finished(lambda: self._storage.set_trial_user_attr(trial_id, key, value))

    def finish(
        self,
        trial_id: int,
        state: TrialState,
        key: str,
        content: Any,
        values: Sequence[float] | None = None,
        holds: Holds = always,
    ) -> bool:
        """Finish a trial and set an attribute of it. A database does both in one transaction.

        Args:
            trial_id: Key of the trial in the store.
            state: Its last state.
            key: Name of the attribute.
            content: A JSON value.
            values: Values of the objectives.
            holds: Called with the user attributes of the trial; if it returns False, nothing is changed.

        Returns:
            False if `holds` does, or if the trial was finished before, also by an interrupted first attempt of this
            call.
        """
        database = self._database
        if database is not None:
            return self._with_retries(lambda: database.finish(trial_id, state, values, key, content, holds))
        return (
            holds(self.trial(trial_id).user_attrs)
            and self.set_trial_attr(trial_id, key, content)
            and self._unless_finished(lambda: self._storage.set_trial_state_values(trial_id, state, values))
        )

    @property
    def _database(self) -> TrialDatabase | None:
        """The database behind Optuna's cache; None for other stores."""
        backend = getattr(self._storage, "_backend", None)
        return backend if isinstance(backend, TrialDatabase) else None

    def _unless_finished(self, write: Callable[[], Any]) -> bool:
        try:
            self._with_retries(write)
        except optuna.exceptions.UpdateFinishedTrialError:
            return False
        return True

    def leave_thread(self) -> None:
        """Release the connection of the calling thread."""
        self._storage.remove_session()

    def close(self) -> None:
        """Release all connections."""
        self._storage.remove_session()
        engine = getattr(getattr(self._storage, "_backend", None), "engine", None)
        if engine is not None:
            engine.dispose()
        closing = getattr(self._storage, "close", None)
        if closing is not None:
            closing()

    def _with_retries(self, call: Callable[[], T]) -> T:
        start, pause = time.monotonic(), FIRST_PAUSE_S
        while True:
            try:
                result = call()
                self._gave_up = False
                return result
            except Exception as error:
                if not is_passing(error):
                    if is_of_store(error):
                        raise unusable(self.url, error) from error
                    raise
                if time.monotonic() + pause > start + self._patience(error):
                    self._gave_up = not is_race(error)
                    raise unusable(self.url, error, removed=self._is_removed()) from error
                log.warning("the store does not answer (%s); trying again", first_line(error))
            time.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _patience(self, error: Exception) -> float:
        """Return for how many seconds a call is repeated."""
        if is_race(error):
            return self.patience_s + PATIENCE_S
        if self._gave_up or self._is_lost():
            return 0.0
        return min(self.patience_s, DISK_PATIENCE_S) if is_of_disk(error) else self.patience_s

    def _is_removed(self) -> bool:
        return self._file is not None and not self._file.exists()

    def _is_lost(self) -> bool:
        """Whether the file cannot come back: SQLite keeps a removed file open, a journal is opened again each time."""
        if self._file is None or self._file.exists():
            return False
        return self.url.startswith("sqlite") or not self._file.parent.exists()
