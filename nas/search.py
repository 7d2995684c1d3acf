"""The worker's loop: propose, claim, evaluate, record, until the study holds the requested number of trials."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas.budget import is_spent, stop_after_repeated_failures
from nas.confirmation import further_replicate, next_confirmation
from nas.context import OnEpoch, RunContext, data_facts, ignore, split_facts, versions
from nas.data.loading import VolumeSet
from nas.data.splits import Split
from nas.errors import NASError, TrialFailed
from nas.evaluators.base import Evaluator
from nas.history import CONFIRMATION, History, Proposal, State
from nas.kept_checkpoints import CheckpointKeeper
from nas.metrics.names import TRAINING_MACS
from nas.multiobjective.constraints import violation
from nas.problem import Problem
from nas.provenance import Replication, SearchRecord
from nas.strategies.base import Strategy
from nas.strategies.feasible import require_feasible, require_recipes
from nas.strategies.first_trial import next_proposal
from nas.study.heartbeat import LeaseLost
from nas.study.study import LEASE_S, Claim, Study
from nas.tracking.base import NO_TRACKING, Tracker
from nas.utils.annotations import Duration, Keep, PositiveInt, Seconds, seconds_of
from nas.utils.checked import check_value, signature_of
from nas.utils.hashing import digest
from nas.utils.identity import StudyIdentity, identity_of

CHECKPOINTS = "checkpoints"  # sub-folder of a search
OnHistory = Callable[[History], None]
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SearchJob:
    """Everything that one worker of a search needs beside the study.

    Args:
        problem: Space, task, cost, objectives and constraints.
        strategy: Proposes architectures.
        evaluator: Scores them.
        context: Data, device, seed and folder.
        trials: Number of ended trials, failed ones included, that the study holds at the end, at least 1.
        time_limit_s: A trial that takes longer fails; None for no limit.
        time: Time that all trials may take together, such as "2h": after it no trial begins; None for no limit.
        keep_checkpoints: Trials whose weights are kept: "front" for the Pareto front, "best" for the chosen network,
            or "all". Whatever a resumed search needs is kept as well.
        replication: How often networks are evaluated. `trials` and `time` count the replicates of the search, but not
            the confirmation.

    Raises:
        NASError: If `trials`, a time or `keep_checkpoints` is out of range.
    """

    problem: Problem
    strategy: Strategy
    evaluator: Evaluator
    context: RunContext
    trials: PositiveInt
    time_limit_s: Seconds | None = None
    time: Duration | None = None
    keep_checkpoints: Keep = "front"
    replication: Replication = field(default_factory=Replication)

    def __post_init__(self) -> None:
        known, _ = signature_of(SearchJob)
        for name in ("trials", "time_limit_s", "time", "keep_checkpoints"):
            check_value(f"study.{name}", getattr(self, name), known[name])
        for name, argument in signature_of(Replication)[0].items():
            check_value(f"study.{name}", getattr(self.replication, name), argument)

    @property
    def time_s(self) -> float | None:
        """Seconds that all trials may take together."""
        return None if self.time is None else seconds_of(self.time)

    def check(self) -> None:
        """Check the search before anything is created.

        Raises:
            NASError: If a metric is unknown, a network refuses the data, or a part cannot work on the problem or
                with the other parts. A latency table has to be of the search's device.
        """
        table = self.problem.cost.table
        if table is not None:
            table.require_device(self.context.device)
            if table.warning:
                log.warning(table.warning)
        require_recipes(self.problem, self.strategy, self.evaluator)
        self.strategy.check_evaluator(self.evaluator, self.context)
        self._check_replication()
        self.problem.check(self.evaluator.metrics(self.problem.task))
        self.evaluator.check(self.problem, self.context)
        self.strategy.check(self.problem)
        require_feasible(self.problem, self.strategy.limits, draws=not self.strategy.trains_supernet)

    def _check_replication(self) -> None:
        """Check that the evaluator can give the replicates that are asked for."""
        asked, most = self.replication, self.evaluator.replicates
        wanted = asked.replicates + (asked.confirm_replicates if asked.confirm else 0)
        if most is not None and wanted > max(most, 1):
            words = f"study.replicates={asked.replicates}"
            words += f" and study.confirm_replicates={asked.confirm_replicates}" if asked.confirm else ""
            raise NASError(
                f"{words} with {type(self.evaluator).__name__}, which gives {most} for each network",
                f"at most {most} replicates together",
                "ask for fewer replicates, or set study.confirm=0",
            )
        if asked.rotate_folds and not self.evaluator.trains:
            raise NASError(
                f"study.rotate_folds=true with {type(self.evaluator).__name__}, which validates no network on a fold",
                "an evaluator that trains networks",
                "set study.rotate_folds=false",
            )
        if asked.rotate_folds and (self.strategy.trains_supernet or self.evaluator.needs_supernet):
            raise NASError(
                "study.rotate_folds=true with a supernet, which is trained on one part of the data",
                "one validation fold",
                "set study.rotate_folds=false, or evaluator=train with a strategy that trains no supernet",
            )


def search(job: SearchJob, study: Study, *, worker: int = 0, on_history: OnHistory = ignore) -> History:
    """Run one worker until the budget of the job is spent or the strategy has nothing left to propose, then confirm.

    The strategy sees the trials of the search. Before it is asked for another network, those that it has proposed get
    their replicates; the confirmation begins when all trials of the search have ended.

    The random generator of a proposal depends only on the seed, the worker and the number of trials, so that a resumed
    study continues as if it had never stopped. A worker with nothing to propose stays until the running trials of other
    workers have ended, to take over those whose worker dies.

    Args:
        job: The problem, the strategy, the evaluator, the run context and the limits of the search.
        study: The store that all workers of this search share.
        worker: Number of this worker; each worker of a study needs its own.
        on_history: Called with the current history before every proposal.

    Returns:
        The history of the study when this worker stopped.

    Raises:
        NASError: If five trials in a row failed, or another process uses this worker number.
    """
    job.strategy.prepare(job.problem, job.context)
    ended_before: frozenset[int] | None = None
    checkpoints = CheckpointKeeper(
        job.keep_checkpoints, job.strategy, job.evaluator, job.problem, job.context, job.replication
    )
    with study.worker(worker) as me:
        while True:
            history = study.history()
            on_history(history)
            spent = is_spent(history.searched, job.trials, job.time_s) and not job.replication.confirm
            checkpoints.tidy(history, has_ended=spent)
            ended = [record for record in history if record.state is not State.RUNNING]
            if spent:
                return history
            if ended_before is None:
                ended_before = frozenset(record.number for record in ended)
            stop_after_repeated_failures([record for record in ended if record.number not in ended_before])
            running = len(history) - len(ended)
            claim = me.take_over() if running else None  # a trial whose worker died comes first
            if claim is None:
                proposal = _next_proposal(job, history, worker)
                if proposal is None and not running:
                    checkpoints.tidy(history, has_ended=True)
                    return history
                if proposal is not None:
                    claim = me.claim(proposal, None if proposal.replicate >= CONFIRMATION else job.trials)
                    if claim is None:  # another worker was first
                        continue
            if claim is None:
                me.wait()
            else:
                evaluate(job, study, claim)


def _next_proposal(job: SearchJob, history: History, worker: int) -> Proposal | None:
    """Return the next evaluation of the search, else of the confirmation; None if there is none at present."""
    searched = history.searched
    if not is_spent(searched, job.trials, job.time_s):
        if len(searched) >= job.trials:
            return None
        rng = np.random.default_rng([job.context.seed, worker, len(searched)])
        proposal = further_replicate(searched, job.replication.replicates)
        proposal = proposal or next_proposal(job.strategy, job.problem.space, searched, rng)
        if proposal is not None:
            return proposal
    if any(record.state is State.RUNNING for record in searched) or not searched.complete():
        return None
    return next_confirmation(history, job.replication)


def evaluate(job: SearchJob, study: Study, claim: Claim) -> None:
    """Evaluate a claimed proposal and record the outcome; an interrupted trial is released for other workers.

    Args:
        job: Problem, strategy and evaluator of the search, and its settings.
        study: The store.
        claim: The claim of this worker.

    Raises:
        NASError: If the settings are at fault; the trial is released.
        OSError: If a file cannot be read or written, as on a full disk; the trial is released.
    """
    problem = job.problem
    try:
        with study.lease(claim, job.time_limit_s) as lease:

            def on_epoch(epoch: int, epochs: int) -> None:
                lease.on_epoch(epoch, epochs)
                job.context.on_epoch(epoch, epochs)

            costs = problem.cost.all_of(claim.proposal.arch, problem.metrics)
            context = job.context.of_replicate(claim.proposal.replicate)
            scores = job.evaluator.evaluate(
                claim.proposal, problem, replace(context, on_epoch=on_epoch, trial=claim.number)
            )
            metrics = {**costs, **scores}
            if "macs" in metrics and "epochs" in metrics:
                metrics[TRAINING_MACS] = metrics["macs"] * metrics["epochs"] * context.train.per_epoch
        if not math.isfinite(violation(problem.constraints, metrics)):
            raise TrialFailed(f"no finite value for one of {', '.join(map(str, problem.constraints))}")
        study.finish(claim, metrics)
    except TrialFailed as failure:
        log.info("trial %d failed: %s", claim.number, failure)
        study.fail(claim, str(failure))
    except LeaseLost:
        log.warning("trial %d was taken over by another worker", claim.number)
    except (NASError, OSError, KeyboardInterrupt):  # of the settings or the machine, not of this network
        study.release(claim)
        raise
    except Exception as error:
        log.exception("trial %d failed", claim.number)
        study.fail(claim, f"{type(error).__name__}: {error}")


def context_of(
    split: Split,
    folder: Path,
    *,
    seed: int,
    device: str | torch.device,
    tracker: Tracker = NO_TRACKING,
    on_epoch: OnEpoch = ignore,
    rotate_folds: bool = False,
) -> RunContext:
    """Return the surroundings of a search on the parts of a split that are not for testing.

    Args:
        split: The split of the data set.
        folder: The output folder; checkpoints go into a sub-folder.
        seed: Seed of the search, at least 0.
        device: Device of the trainings.
        tracker: Receiver of live curves.
        on_epoch: Called after each epoch with the numbers of epochs done and planned.
        rotate_folds: Whether each replicate has another validation fold, in turn, the first one that of `split.search`.

    Returns:
        The context.

    Raises:
        NASError: If folds are to rotate and the split has only one validation part.
    """
    device = torch.device(device)
    rounds = split.holdout_rounds()
    if rotate_folds and len(rounds) < 2:
        raise NASError(
            "study.rotate_folds=true for a split with one validation part",
            "a split into folds",
            "set study.rotate_folds=false, or split.given and split.overfit to false",
        )
    parts = tuple(
        (VolumeSet(split.store, fold.train, device), VolumeSet(split.store, fold.valid, device)) for fold in rounds
    )
    train, valid = parts[0]
    return RunContext(
        train, valid, folder / CHECKPOINTS, device, seed, tracker, on_epoch, folds=parts if rotate_folds else ()
    )


def open_study(
    job: SearchJob,
    split: Split,
    name: str,
    url: str,
    *,
    lease_s: float = LEASE_S,
    config: Mapping[str, Any] | None = None,
) -> Study:
    """Create the study of a search, or open it if the store has it.

    Args:
        job: Problem, strategy and evaluator of the search, and its settings.
        split: The split of the data set.
        name: Name of the study.
        url: URL of the store.
        lease_s: Seconds after which a running trial without a sign of life is taken over.
        config: The configuration of the command, recorded with a new study.

    Returns:
        The study.

    Raises:
        NASError: If the study was created with other settings.
    """
    return Study(url, name, job.problem, study_parts(job, split), lease_s=lease_s, config=config)


def study_parts(job: SearchJob, split: Split) -> Mapping[str, Any]:
    """Return everything that decides the results of a search beside its space and its objectives.

    Args:
        job: Problem, strategy and evaluator of the search, and its settings.
        split: The split of the data set.

    Returns:
        What all workers of the study have to agree on, by part.
    """
    problem = job.problem
    folds = {"rotate_folds": True} if job.replication.rotate_folds else {}  # earlier versions did not rotate
    stated = {name: weights for name, weights in problem.space.stated_priors.items() if weights is not None}
    priors = {"prior": identity_of(stated)} if stated else {}  # not of the space, but of how it is searched
    identity = StudyIdentity(
        data=split.store.sha256,
        split=split.sha256,
        cost=problem.cost,
        strategy=job.strategy,
        constraints=[str(limit) for limit in problem.constraints],
        evaluator=job.evaluator,
        task=problem.task,
        seed=job.context.seed,
    )
    return {**identity.parts(), **folds, **priors}


def search_record(
    job: SearchJob,
    split: Split,
    name: str,
    config: Mapping[str, Any] | None = None,
) -> SearchRecord:
    """Return the record of a search for arch.json.

    Args:
        job: Problem, strategy and evaluator of the search, and its settings.
        split: The split of the data set.
        name: Name of the study.
        config: The configuration of the command.

    Returns:
        The record, without a trial.
    """
    store, rows = split.store, np.sort(np.concatenate(split.search))
    return SearchRecord(
        study=name,
        trials=0,
        trial=-1,
        budget=0,
        seed=job.context.seed,
        data=data_facts(store),
        split=split_facts(split),
        config=dict(config or {}),
        preparation=dict(store.preparation),
        trains=job.evaluator.trains,
        limits=job.strategy.limits.arguments,
        patients=tuple(store.patient_digests(rows)),
        contents=tuple(store.content_digests(rows)),
        versions=versions(),
        config_sha256=digest(config or {}),
        objectives=dict(job.problem.objectives),
        constraints=tuple(map(str, job.problem.constraints)),
        replication=job.replication,
    )
