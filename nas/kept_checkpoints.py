"""Checkpoints of a search: which of them are deleted while it runs."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from nas.context import RunContext
from nas.evaluators.base import Evaluator
from nas.history import CONFIRMATION, History, State, Trial
from nas.problem import Problem
from nas.provenance import Replication
from nas.strategies.base import Strategy
from nas.utils.annotations import Keep

log = logging.getLogger(__name__)


@dataclass
class CheckpointKeeper:
    """Deletes the weights of trials that have ended and that nothing needs any more; their curves stay.

    Kept are the weights of running trials, of trainings that a later proposal of the strategy may continue, of the
    first replicate of networks whose mean may still change, those of a supernet, and those that `keep` names. At the
    end of a search with "best" no training counts as one that may continue; if the search gets more trials later, its
    promotions start again.

    Args:
        keep: "front" for the networks of the Pareto front, "best" for the chosen network, "all" to delete nothing.
        strategy: For the trainings that it may continue.
        evaluator: For the files of a trial.
        problem: The search problem.
        context: The surroundings of the evaluations.
        replication: How often networks are evaluated.
    """

    keep: Keep
    strategy: Strategy
    evaluator: Evaluator
    problem: Problem
    context: RunContext
    replication: Replication = field(default_factory=Replication)
    _deleted: set[Path] = field(default_factory=set)

    def tidy(self, history: History, *, has_ended: bool = False) -> None:
        """Delete what is no longer needed.

        Args:
            history: The trials of the study.
            has_ended: Whether the search proposes nothing any more.

        Raises:
            OSError: If a file cannot be deleted.
        """
        if self.keep == "all":
            return
        needed = {self._folder(trial) for trial in self.needed(history, has_ended=has_ended)}
        for trial in history:
            folder = self._folder(trial)
            if folder is None or folder in needed or folder in self._deleted:
                continue
            for path in self.evaluator.weights_of(folder):
                with suppress(FileNotFoundError):  # another worker was faster
                    path.unlink()
                    log.debug("deleted %s", path)
            self._deleted.add(folder)
        self._deleted -= needed

    def needed(self, history: History, *, has_ended: bool = False) -> list[Trial]:
        """Return the trials whose weights are kept.

        Args:
            history: The trials of the study.
            has_ended: Whether the search proposes nothing any more.

        Returns:
            Trials of the history.
        """
        continues = self.evaluator.continues and not (has_ended and self.keep == "best")
        unfinished = self.strategy.unfinished(history) if continues else frozenset()
        kept = [trial for trial in history if trial.state is State.RUNNING or trial.arch.id in unfinished]
        parts = [history]
        if unfinished:  # a training that continues may lose its place, so that the front without it counts as well
            settled = tuple(trial for trial in history if trial.arch.id not in unfinished)
            parts.append(replace(history, records=settled))
        for part in parts:
            if part.complete():
                kept += part.front() if self.keep == "front" else [part.best]
        return kept + self._unsettled(history)

    def _unsettled(self, history: History) -> list[Trial]:
        """Return the first replicates of networks that get further ones, by which they may reach the front again."""
        wanted = {0: self.replication.replicates, CONFIRMATION: self.replication.confirm_replicates}
        ended = Counter(
            (trial.arch.id, trial.budget, trial.replicate >= CONFIRMATION)
            for trial in history
            if trial.state is not State.RUNNING
        )
        return [
            trial
            for trial in history.complete()
            if trial.replicate in wanted
            and ended[trial.arch.id, trial.budget, trial.replicate == CONFIRMATION] < wanted[trial.replicate]
        ]

    def _folder(self, trial: Trial) -> Path | None:
        return self.evaluator.folder_of(trial.proposal, self.problem, self.context)
