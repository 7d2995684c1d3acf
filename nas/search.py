"""The worker's loop: propose, claim, evaluate, tell, until the study holds as many trials as were asked for."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from annotated_types import Gt, Le

from nas.cost.model import METRICS, CostModel
from nas.errors import NASError, TrialFailed
from nas.evaluators.base import EvaluationContext, Evaluator
from nas.history import History, Record, State
from nas.multiobjective.constraints import Constraint, violation
from nas.strategies.base import Strategy
from nas.study.heartbeat import Heartbeat, time_limit
from nas.study.study import Study, Ticket
from nas.utils.checked import PositiveInt, checked

FAILURES_IN_A_ROW = 5  # then something is wrong with the setting, not with the candidates
IDLE_S = 1.0  # between two looks of a worker that has nothing to do but to stand in for one that dies
LONGEST_S = 1e8  # three years: timers of the operating system refuse much longer limits
log = logging.getLogger(__name__)


@checked("study")
@dataclass(frozen=True, slots=True)
class Budget:
    """trials: finished trials the study is to hold in the end, failed ones included; a resumed study counts its own.

    time_limit_s: a trial that takes longer fails; None: no limit. Raises NASError for other values.
    """

    trials: PositiveInt
    time_limit_s: Annotated[float, Gt(0), Le(LONGEST_S)] | None = None


class LeaseLost(Exception):
    """Another worker has taken this worker's trial over."""


def search(
    strategy: Strategy,
    evaluator: Evaluator,
    study: Study,
    cost: CostModel,
    context: EvaluationContext,
    budget: Budget,
    *,
    constraints: Sequence[Constraint] = (),
    worker: int = 0,
    on_trial: Callable[[History], None] = lambda history: None,
) -> History:
    """Runs one worker to the end of the budget or of the strategy, and returns the study as it is then.

    A trial whose worker is gone is taken over first. The random generator of a proposal depends only on (seed, worker,
    number of trials), so a resumed study goes on as if it had never stopped. A candidate that cannot be scored fails
    its trial with a reason. A worker for whom nothing is left stays until the others' trials are finished, to take
    over from those that die. Raises NASError where the last 5 trials that ended since this worker began have failed,
    and for a worker number that is taken; an interrupted trial is given back to the study.
    """
    costs = {c.metric: cost.of_metric(c.metric) for c in constraints if c.metric in METRICS}
    strategy.begin(context, cost)
    study.register(str(worker))
    earlier: frozenset[int] | None = None  # what had ended before this worker began
    try:
        while True:
            history = study.history(cost, cost.metric, constraints, costs)
            on_trial(history)
            running = sum(record.state is State.RUNNING for record in history)
            if len(history) - running >= budget.trials:
                return history
            if earlier is None:
                earlier = frozenset(record.number for record in history if record.state is not State.RUNNING)
            _stop_if_hopeless([record for record in history if record.number not in earlier])
            ticket = study.take_over(str(worker)) if running else None
            if ticket is None and len(history) < budget.trials:
                rng = np.random.default_rng([context.seed, worker, len(history)])
                proposal = strategy.propose(context.space, history, rng)
                if proposal is not None:
                    ticket = study.claim(proposal, str(worker), budget.trials)
                    if ticket is None:
                        continue
                elif not running:
                    return history
            if ticket is None:
                time.sleep(random.uniform(0.5, 1.0) * min(IDLE_S, study.lease_s / 4))
            else:
                _evaluate(ticket, evaluator, study, cost, context, budget, constraints)
    finally:
        study.unregister(str(worker))


def _evaluate(
    ticket: Ticket,
    evaluator: Evaluator,
    study: Study,
    cost: CostModel,
    context: EvaluationContext,
    budget: Budget,
    constraints: Sequence[Constraint],
) -> None:
    limit_s = budget.time_limit_s
    asked = {*study.objectives, *(constraint.metric for constraint in constraints), cost.metric}
    with Heartbeat(study, ticket, study.lease_s, limit_s) as heart:

        def on_epoch(epoch: int, epochs: int) -> None:
            if heart.lost:
                raise LeaseLost
            heart.epoch = epoch
            context.on_epoch(epoch, epochs)

        try:
            with time_limit(limit_s):
                metrics = {
                    **cost.all_of(ticket.proposal.arch, asked),
                    **evaluator(ticket.proposal, replace(context, on_epoch=on_epoch)),
                }
            if not math.isfinite(violation(constraints, metrics)):
                raise TrialFailed(f"no finite value for one of {', '.join(map(str, constraints))}")
            study.finish(ticket, metrics)
        except LeaseLost:
            log.warning("trial %d went to another worker; this one stops", ticket.number)
        except TrialFailed as failure:
            log.info("trial %d failed: %s", ticket.number, failure)
            study.fail(ticket, str(failure))
        except (NASError, KeyboardInterrupt):
            study.release(ticket)
            raise
        except Exception as error:
            log.exception("trial %d failed", ticket.number)
            study.fail(ticket, f"{type(error).__name__}: {error}")


def _stop_if_hopeless(records: Sequence[Record]) -> None:
    """records: in order of number, by which "last" is meant: the clocks of workers may differ."""
    last = [record for record in records if record.state is not State.RUNNING][-FAILURES_IN_A_ROW:]
    if len(last) == FAILURES_IN_A_ROW and all(record.state is State.FAILED for record in last):
        raise NASError(
            f"{FAILURES_IN_A_ROW} failed trials in a row, the last with {last[-1].reason!r}",
            "candidates that train",
            "mend the training settings or the data, then run the same command again",
        )
