"""What a searched network is shown beside: random search at its search's budget, or a random network of its cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from experiments.build import build
from experiments.context import Setting
from experiments.search.job import run_search_experiment
from experiments.search.results import LOCAL
from nas.artifact import Artifact, load
from nas.cost.model import CostModel
from nas.errors import NASError
from nas.evaluators.base import Evaluator
from nas.history import History
from nas.strategies.base import Strategy
from nas.strategies.sampling import CostWindow, draw
from nas.task_spec import TaskSpec
from nas.utils.locate import with_present_names

RANDOM = "nas.strategies.RandomSearch"
EQUAL = 0.1  # relative difference of costs that are called equal


def rival(searched: Artifact, folder: Path, setting: Setting, local: Mapping[str, Any]) -> tuple[Artifact, str]:
    """The network to beat, and its name in the table. A search whose candidates were trained is repeated at random;
    where they only inherited weights, there is nothing to repeat, and one network of equal cost is drawn."""
    allow = local["allow_packages"]
    if not build(searched.provenance["search"]["evaluator"], "evaluator", Evaluator, allow).trains:
        drawn = random_network_of_equal_cost(searched, setting.task.spec, setting.store.input_shape, int(local["seed"]))
        return drawn, "random, equal cost"
    return random_search_network(searched, folder, setting, local), "random search"


def random_network_of_equal_cost(searched: Artifact, task: TaskSpec, input_shape: Sequence[int], seed: int) -> Artifact:
    """Drawn as `space.sample` draws, among those whose MACs are within 10 % of those of the searched one, on inputs of
    `input_shape` (C, D, H, W). Raises NASError where none is found."""
    cost = CostModel(searched.space, task, input_shape, "macs")
    own = cost.of(searched.arch)
    window = CostWindow((1 - EQUAL) * own, (1 + EQUAL) * own)
    arch = draw(searched.space, History((), {}, cost), window, np.random.default_rng([seed, 1]))
    if arch is None:
        raise NASError(
            f"no random network of {own:.3g} MACs, give or take 10 %",
            "one among some thousand draws",
            "baselines.random_search=false",
        )
    return Artifact(searched.space, arch, task)


def random_search_network(searched: Artifact, folder: Path, setting: Setting, local: Mapping[str, Any]) -> Artifact:
    """Repeats the search that found `searched` with strategy=random: same space, data, split, training, number of
    finished trials and cost window. It resumes in `folder`, and it too sees no test fold.

    local: the settings that belong to this machine (LOCAL in experiments.search.job.results), as the command has them.

    Raises NASError where the data at hand are not those of the search.
    """
    plain = {**with_present_names(searched.provenance["search"]), **{key: local[key] for key in LOCAL}}
    if searched.provenance["data"]["sha256"] != setting.store.sha256:
        raise NASError(
            f"data {setting.store.sha256[:12]} for a network searched on {searched.provenance['data']['sha256'][:12]}",
            "the data of the search, to repeat it at random",
            "baselines.random_search=false where the data are others on purpose",
        )
    limits = build(plain["strategy"], "strategy", Strategy, local["allow_packages"]).limits
    # worker 1: other draws than those of worker 0 of the search
    plain |= {"strategy": {"_target_": RANDOM, **limits.arguments}, "worker": 1}
    plain["study"] = {
        "name": f"{searched.provenance['study']}-random",
        "url": f"sqlite:///{folder.resolve()}/study.db",
        "trials": int(searched.provenance["trials"]),
        "lease_s": 60,  # one worker with a store of its own: nobody takes over
        "time_limit_s": None,
    }
    return load(run_search_experiment(OmegaConf.create(plain), folder, quiet=True), local["allow_packages"])
