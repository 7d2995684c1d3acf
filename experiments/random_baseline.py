"""Random search at the budget of a search that was made: the baseline every searched network is shown beside."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from experiments.search import run_search_experiment
from experiments.search_results import LOCAL
from experiments.setup import Setting
from nas.artifact import Artifact, load
from nas.errors import NASError

RANDOM = "nas.strategies.random.RandomSearch"


def random_search_network(searched: Artifact, folder: Path, setting: Setting, local: Mapping[str, Any]) -> Artifact:
    """Repeats the search that found `searched` with strategy=random: same space, data, split, training, number of
    finished trials and cost window. It resumes in `folder`, and it too sees no test fold.

    local: the settings that belong to this machine (LOCAL in experiments.search_results), as the command has them.

    Raises NASError where the data at hand are not those of the search.
    """
    plain = {**searched.provenance["search"], **{key: local[key] for key in LOCAL}}
    if searched.provenance["data"]["sha256"] != setting.store.sha256:
        raise NASError(
            f"data {setting.store.sha256[:12]} for a network searched on {searched.provenance['data']['sha256'][:12]}",
            "the data of the search, to repeat it at random",
            "baselines.random_search=false where the data are others on purpose",
        )
    window = {key: plain["strategy"].get(key) for key in ("cost_min", "cost_max")}
    plain |= {"strategy": {"_target_": RANDOM, **window}, "worker": 1}  # draws of its own, not those of worker 0
    plain["study"] = {
        "name": f"{searched.provenance['study']}-random",
        "url": f"sqlite:///{folder.resolve()}/study.db",
        "trials": int(searched.provenance["trials"]),
        "lease_s": 60,  # one worker with a store of its own: nobody takes over
        "time_limit_s": None,
    }
    return load(run_search_experiment(OmegaConf.create(plain), folder, quiet=True), local["allow_packages"])
