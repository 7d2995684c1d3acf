"""The worker's loop: propose, claim, evaluate, tell, until the study holds as many trials as were asked for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from nas.cost import CostModel, static_costs
from nas.errors import NASError, TrialFailed
from nas.evaluators.base import EvaluationContext, Evaluator
from nas.history import History, Proposal, State
from nas.strategies.base import Strategy
from nas.study import Study, Ticket

FAILURES_IN_A_ROW = 5  # then something is wrong with the setting, not with the candidates
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Budget:
    """trials: finished trials the study is to hold in the end, failed ones included; a resumed study counts its own."""

    trials: int

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise NASError(f"trials={self.trials}", "at least 1", "mend study.trials")


def search(
    strategy: Strategy,
    evaluator: Evaluator,
    study: Study,
    cost: CostModel,
    context: EvaluationContext,
    budget: Budget,
    *,
    worker: int = 0,
    on_trial: Callable[[History], None] = lambda history: None,
) -> History:
    """Runs one worker to the end of the budget or of the strategy, and returns the study as it is then.

    A trial that an earlier process left behind is taken over first. The random generator of a proposal depends only on
    (seed, worker, number of trials), so a resumed study goes on as if it had never stopped. A candidate that cannot be
    scored fails its trial with a reason. Raises NASError after 5 failed trials in a row; an interrupted trial is given
    back to the study.
    """
    while True:
        history = study.history(cost, cost.metric)
        on_trial(history)
        _stop_if_hopeless(history)
        if sum(record.state is not State.RUNNING for record in history) >= budget.trials:
            return history
        ticket = study.take_over()
        if ticket is None:
            rng = np.random.default_rng([context.seed, worker, len(history)])
            proposal = strategy.propose(context.space, history, rng)
            if proposal is None:
                return history
            ticket = study.claim(proposal, str(worker))
        if ticket is not None:
            _evaluate(ticket, evaluator, study, cost, context)


def _evaluate(ticket: Ticket, evaluator: Evaluator, study: Study, cost: CostModel, context: EvaluationContext) -> None:
    def on_epoch(epoch: int, epochs: int) -> None:
        study.renew(ticket)
        context.on_epoch(epoch, epochs)

    try:
        metrics = {
            **costs_of(ticket.proposal, cost, context),
            **evaluator(ticket.proposal, replace(context, on_epoch=on_epoch)),
        }
        study.finish(ticket, metrics)
    except TrialFailed as failure:
        log.info("trial %d failed: %s", ticket.number, failure)
        study.fail(ticket, str(failure))
    except (NASError, KeyboardInterrupt):
        study.release(ticket)
        raise
    except Exception as error:
        log.exception("trial %d failed", ticket.number)
        study.fail(ticket, f"{type(error).__name__}: {error}")


def costs_of(proposal: Proposal, cost: CostModel, context: EvaluationContext) -> Mapping[str, float]:
    """Every static cost of the proposed network, and the study's own cost."""
    static = static_costs(context.space, proposal.arch, context.task.spec, cost.input_shape)
    return {**static, cost.metric: cost.of(proposal.arch)}


def _stop_if_hopeless(history: History) -> None:
    ended = sorted((r for r in history if r.state is not State.RUNNING), key=lambda r: (r.finished, r.number))
    last = ended[-FAILURES_IN_A_ROW:]
    if len(last) == FAILURES_IN_A_ROW and all(record.state is State.FAILED for record in last):
        raise NASError(
            f"{FAILURES_IN_A_ROW} failed trials in a row, the last with {last[-1].reason!r}",
            "candidates that train",
            "mend the training settings or the data, then run the same command again",
        )
