"""Decisions that follow from the time of a training step: epochs, trials, learning rate and the limit of the cost."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from nas.errors import NASError
from nas.planning.plan import Decision, Plan
from nas.planning.rules import (
    COST_LIMIT,
    FEW_EPOCHS,
    LEAST_BATCH,
    TRAINING_SHARE,
    Limits,
    Measure,
    Network,
    Schedule,
    StepCost,
    epochs_for,
    name_of,
    schedule_for,
    sides_text,
)
from nas.utils.duration import in_words

LR, LARGEST_LR = 0.004, 0.01


def cost_limit(cost: StepCost) -> Decision:
    """Limit the cost of searched networks.

    Args:
        cost: Of a step of the reference network.

    Returns:
        The constraint of the search.
    """
    limit = float(f"{COST_LIMIT * cost.macs:.2g}")
    why = f"{COST_LIMIT:g} times the reference network ({cost.macs:.3g} MACs, {cost.params:,} parameters)"
    return Decision("constraints", [f"macs<={limit:g}"], why, "search")


def learning_rate(batch: int) -> Decision:
    """Choose the learning rate of a segmentation.

    Args:
        batch: Patches of a step.

    Returns:
        The decision.
    """
    lr = min(LR * math.sqrt(batch / LEAST_BATCH), LARGEST_LR)
    return Decision("training.lr", float(f"{lr:.1g}"), "AdamW with one cycle; grows with the root of the batch")


def lengths(schedule: Schedule, limits: Limits, path: str) -> Iterator[Decision]:
    """Decide the lengths of search and training.

    Args:
        schedule: Epochs and trials.
        limits: The time.
        path: The data set, after which the study is named.

    Yields:
        The decisions.
    """
    yield Decision("training.epochs", schedule.search_epochs, schedule.search_reason, "search")
    yield Decision("training.epochs", schedule.epochs, schedule.reason, "train")
    yield Decision("study.name", name_of(path), "that of the data", "search")
    yield Decision("study.trials", schedule.trials, schedule.search_reason, "search")
    seconds = round(limits.seconds / 2)
    yield Decision("study.time", f"{seconds}s", f"half of {in_words(limits.seconds)}", "search")


def validations(schedule: Schedule) -> Iterator[Decision]:
    """Decide how often a segmentation is validated, which takes long for whole volumes.

    Args:
        schedule: Epochs of search and training.

    Yields:
        The decisions.
    """
    for command, epochs, times in (("search", schedule.search_epochs, 4), ("train", schedule.epochs, 10)):
        every = max(epochs // times, 1)
        yield Decision("training.validate_every", every, f"about {times} validations a training", command)


def with_lengths_of_network(plan: Plan, limits: Limits, measure: Measure) -> Plan:
    """Time the reference network of a segmentation whose network comes from elsewhere, and plan with its time.

    Args:
        plan: The plan.
        limits: Time and memory.
        measure: Measures networks.

    Returns:
        The plan with learning rate, limit of the cost, epochs and trials of its own network.

    Raises:
        NASError: If a step does not fit into the memory.
    """
    space = {one.key.removeprefix("space."): one.value for one in plan.of("search") if one.key.startswith("space.")}
    sizes = len(plan.fingerprint["channels"]), len(plan.fingerprint["classes"])
    patch, batch = tuple(plan.value("data.patch")), int(plan.value("training.batch_size"))
    network = Network(str(plan.value("space")), space, plan.reference, patch, batch, *sizes, kind=plan.task)
    cost = measure(network)
    if not math.isfinite(cost.seconds):
        raise NASError(
            f"{batch} patches of {sides_text(patch)} voxels in a step, which need {cost.bytes / 1e9:.3g} GB",
            f"at most {limits.memory / 1e9:.3g} GB on {limits.device}",
            "lower batch_size in the plans file, or choose another device",
        )
    patches = int(plan.value("data.patches_per_volume", default=1))
    steps = max(math.ceil(TRAINING_SHARE * int(plan.fingerprint["cases"]) * patches / batch), 1)
    alone = epochs_for(limits.training_seconds, cost.seconds, steps) < FEW_EPOCHS
    schedule = schedule_for(limits, cost, steps, alone)
    own = [learning_rate(batch), cost_limit(cost), *validations(schedule)]
    own += lengths(schedule, limits, str(plan.value("data.root")))
    replaced = {(one.key, one.command) for one in own}
    kept = [one for one in plan.decisions if (one.key, one.command) not in replaced]
    return replace(plan, decisions=(*kept, *own))
