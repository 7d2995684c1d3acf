"""The random counterpart of a searched network: random search at its search's budget, or a network of its cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from experiments.build import build
from experiments.progress import SearchProgress, logs_above
from experiments.search.strategies import full_proposal, mean_proposal, rule_of
from experiments.spaces import with_prior_of
from nas.api.searching import run_search
from nas.artifact import Artifact
from nas.budget import Estimate
from nas.context import TaskSetup
from nas.cost.latency import LatencyTable
from nas.cost.model import CostModel
from nas.errors import NASError
from nas.evaluators.base import Evaluator
from nas.found import CHOSEN
from nas.history import History
from nas.problem import Problem
from nas.provenance import SearchRecord
from nas.search import context_of
from nas.strategies.base import Strategy
from nas.strategies.fidelity.strategy import MultiFidelity
from nas.strategies.random import RandomSearch
from nas.strategies.sampling import CostWindow, draw
from nas.task_spec import TaskSpec

EQUAL = 0.1  # relative difference of costs that are called equal


def random_counterpart(
    searched: Artifact,
    record: SearchRecord,
    folder: Path,
    setting: TaskSetup,
    allow: Sequence[str] = (),
    number: int = 0,
) -> tuple[Artifact, str]:
    """Return the random network that a searched network is compared with.

    If the search trained its candidates, it is repeated with random search. If they inherited weights, there is nothing
    to repeat, and one network of equal cost is drawn.

    Args:
        searched: The network.
        record: Its search.
        folder: Output folder of the repeated search, which resumes there.
        setting: Data, split, task and device.
        allow: Packages beside VoxNAS whose evaluators the search may name.
        number: Number of the process among those that repeat the search together.

    Returns:
        The network, and its name in the table.

    Raises:
        NASError: If the data are not those of the search, or no network of equal cost is found.
    """
    if not record.trains:
        task, shape = setting.task.spec, setting.store.input_shape
        return random_network_of_equal_cost(searched, task, shape, record.seed), "random, equal cost"
    return random_search_network(searched, record, folder, setting, allow, number), "random search"


def check_counterpart(searched: Artifact, record: SearchRecord, setting: TaskSetup, allow: Sequence[str] = ()) -> None:
    """Check, before the training of a searched network, that its search can be repeated at random.

    Args:
        searched: The network that the search found.
        record: The search.
        setting: Data, split, task and device of the training.
        allow: Packages beside VoxNAS whose evaluators the search may name.

    Raises:
        NASError: If it cannot, because the data are others, or the record holds no configuration.
    """
    if record.trains:
        _repetition(searched, record, setting, allow)


def random_network_of_equal_cost(searched: Artifact, task: TaskSpec, input_shape: Sequence[int], seed: int) -> Artifact:
    """Draw a network whose MACs are within 10 % of those of another.

    Args:
        searched: The network to compare with; the space samples the drawn one.
        task: The task.
        input_shape: Shape (C, D, H, W) on which MACs are counted.
        seed: Seed of the draw.

    Returns:
        The network.

    Raises:
        NASError: If none is found.
    """
    cost = CostModel(searched.space, task, input_shape, "macs")
    own = cost.of(searched.arch)
    window = CostWindow((1 - EQUAL) * own, (1 + EQUAL) * own)
    arch = draw(searched.space, History((), {}, cost), window, np.random.default_rng([seed, 1]))
    if arch is None:
        raise NASError(
            f"no random network within 10 % of {own:.3g} MACs",
            "one among some thousand draws",
            "baselines.random_search=false",
        )
    return Artifact(searched.space, arch, task)


def random_search_network(
    searched: Artifact,
    record: SearchRecord,
    folder: Path,
    setting: TaskSetup,
    allow: Sequence[str] = (),
    number: int = 0,
) -> Artifact:
    """Repeat a search with random search: same space, data, split, training, trials, confirmation and cost window.

    A multi-fidelity rule is repeated as well, so that the networks are trained as long.

    Args:
        searched: The network that the search found.
        record: Its search.
        folder: Output folder of the repeated search, which resumes there; the test fold is never read.
        setting: Data, split, task and device.
        allow: Packages beside VoxNAS whose evaluators the search may name.
        number: Number of the process among those that repeat the search together.

    Returns:
        The chosen network.

    Raises:
        NASError: If the search cannot be repeated, see `check_counterpart`.
    """
    problem, strategy, evaluator = _repetition(searched, record, setting, allow)
    progress = SearchProgress(record.trials, strategy, problem, name="random search")
    try:
        with logs_above(progress):
            result = run_search(
                problem,
                setting.split,
                strategy=strategy,
                evaluator=evaluator,
                trials=record.trials,
                folder=folder,
                name=f"{record.study}-random",
                **asdict(record.replication),
                seed=record.seed,
                device=setting.device,
                worker=1 + number,  # other draws than those of worker 0 of the search
                on_epoch=progress.update_epoch,
                on_history=progress.update,
                config=record.config,
            )
    finally:
        progress.close()
    return result.best


def counterpart_estimate(
    searched: Artifact, record: SearchRecord, folder: Path, setting: TaskSetup, allow: Sequence[str] = ()
) -> Estimate | None:
    """Estimate the time and the disk of the repeated search; see `random_counterpart`.

    Args:
        searched: The network, which is timed.
        record: Its search.
        folder: Output folder of the repeated search.
        setting: Data, split, task and device.
        allow: Packages beside VoxNAS whose evaluators the search may name.

    Returns:
        The estimate; None if the time of a trial is unknown. Nothing if the search is not repeated or finished.

    Raises:
        NASError: If the search cannot be repeated.
    """
    if not record.trains or (folder / CHOSEN).is_file():
        return Estimate()
    problem, strategy, evaluator = _repetition(searched, record, setting, allow)
    context = context_of(setting.split, folder, seed=record.seed, device=setting.device)
    arch = problem.space.architecture(searched.arch.genes)
    one = evaluator.estimate(mean_proposal(arch, strategy, evaluator), problem, context)
    again = record.replication.confirm * record.replication.confirm_replicates
    full = evaluator.estimate(full_proposal(arch, strategy), problem, context) if again else Estimate()
    return None if one is None or full is None else one.times(record.trials) + full.times(again)


def _repetition(
    searched: Artifact, record: SearchRecord, setting: TaskSetup, allow: Sequence[str]
) -> tuple[Problem, Strategy, Evaluator]:
    """Return problem, strategy and evaluator of a search that is repeated at random."""
    if record.data.sha256 != setting.store.sha256:
        raise NASError(
            f"data {setting.store.sha256[:12]} for a network searched on {record.data.sha256[:12]}",
            "the data of the search, to repeat it at random",
            "baselines.random_search=false if the data differ on purpose",
        )
    config = record.config
    try:
        cost, objectives, constraints = config["cost"], config["objectives"], config["constraints"]
        metric, table, evaluator = cost["metric"], cost.get("table"), config["evaluator"]
    except (KeyError, TypeError, AttributeError) as error:
        raise NASError(
            f"a search that did not record its configuration ({error})",
            "one by run_search.py, to repeat it at random",
            "baselines.random_search=false",
        ) from error
    problem = Problem.of(
        with_prior_of(searched.searched_space, config.get("space") or {}, config.get("recipe")),
        setting.store,
        objectives=objectives,
        constraints=constraints,
        task=setting.task,
        cost=metric,
        table=LatencyTable.load(table, other_device=True) if table else None,
    )
    strategy: Strategy = RandomSearch(**record.limits)
    if (rule := rule_of(config, allow)) is not None:
        strategy = MultiFidelity(strategy, rule)
    return problem, strategy, build(evaluator, "evaluator", Evaluator, allow)
