"""Dry run of `voxnas auto`: the plan and the division of the time; nothing is written."""

from __future__ import annotations

from experiments.auto.limits import limits_of, params_of, small_enough
from experiments.auto.plan_checks import require_plan_of
from experiments.auto.plan_step import PLAN
from experiments.auto.request import Request
from experiments.auto.schedule import first_reserve
from experiments.cli import write_line
from experiments.devices import pick_device
from experiments.planning import make_plan, reference_network
from nas.planning.plan import Plan
from nas.planning.rules import REFERENCE_SHARE, SEARCH_SHARE, TRIALS
from nas.utils.duration import in_words
from nas.utils.files import from_here


def preview(request: Request) -> None:
    """Print the steps and times of a run.

    Args:
        request: The options.

    Raises:
        NASError: If the data cannot be read, or an option is wrong.
    """
    path = request.out / PLAN
    if path.is_file():
        plan = Plan.read(path)
    else:
        plan = make_plan(
            request.data, pick_device(request.device), request.seconds, request.task, max_params=request.most_params
        )
    require_plan_of(request, plan, path)
    network = reference_network(plan)
    network = small_enough(network, limits_of(network, request.max_params, None, None))
    params = params_of(network.space, network.arch, network.task)
    epochs, trials = plan.value("training.epochs", "train"), plan.value("study.trials", default=TRIALS)
    most = f"up to {epochs} epochs" if epochs else "up to the epochs of conf/training"
    folds, limit = request.folds_of(plan), request.seconds
    part = f"one of {folds} folds" if folds else "the parts that the csv states"
    search = limit * SEARCH_SHARE
    rest = limit - search - limit * REFERENCE_SHARE - first_reserve(limit)
    strategy = request.strategy or "priorband, or local_search with short trials"
    write_line(f"{plan.fingerprint.get('cases')} cases, {plan.task}; in {from_here(request.out)}:")
    write_line(f"1 plan: {len(plan.decisions)} settings" + (f" of {from_here(path)}" if path.is_file() else ""))
    write_line(
        f"2 reference network: {params:,} parameters, {most} on {part}, about {in_words(limit * REFERENCE_SHARE)}"
    )
    write_line(f"3 search: up to {trials} trials, {strategy}, at most {in_words(search)}")
    for limit_text in [*(plan.value("constraints", "search") or []), *request.constraints]:
        write_line(f"  {limit_text}")
    write_line(
        f"4 retraining: the best three networks on as many folds as fit, about {in_words(max(rest, 0.0))}; the "
        "reference network, with all of the time, if it is too short for a search"
    )
    write_line("5 choice: one network or several together, by validation")
    write_line(f"6 test and report: the last {in_words(first_reserve(limit))}; the end after {in_words(limit)}")
    for one in plan.decisions:
        write_line(f"{one.override}  # {one.reason}" + (f" ({one.command})" if one.command else ""))
    write_line("nothing was written")
