"""Every space, strategy and data set is checked because its yaml is in conf/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from experiments.build import build
from experiments.spaces import space_of
from experiments.sweep import register_resolvers
from experiments.trackers import build_trackers
from nas.data.sample import Sample
from nas.data.source import Source
from nas.data.splits import Split
from nas.data.store_writer import write_store
from nas.data.transforms.augment import Augment
from nas.errors import NASError
from nas.evaluators.base import Evaluator
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.strategies.fidelity.schedule import Fidelity
from nas.strategies.fidelity.strategy import MultiFidelity
from nas.strategies.random import RandomSearch
from nas.task_spec import TaskSpec
from nas.tasks.base import Task
from nas.testing import check_space, check_strategy
from nas.training.recipe import with_settings
from nas.training.settings import TrainingSettings
from nas.trials_table import write_h5
from tests.conftest import REPO
from tests.documents import check_command
from tests.tables import records_of, table_of

SHIPPED = ("lidc_shapes", "icbm_tissue", "nodule_phantoms")  # data that come with a package


def names(group: str) -> list[str]:
    found = sorted(path.stem for path in (REPO / "conf" / group).glob("*.yaml"))
    assert found
    return found


def composed(*overrides: str, config: str = "search"):  # type: ignore[no-untyped-def]
    register_resolvers()
    with initialize_config_dir(str(REPO / "conf"), version_base="1.3"):
        return compose(config, overrides=list(overrides))


@pytest.mark.parametrize("name", names("space"))
def test_space(name: str) -> None:
    check_space(build(composed(f"space={name}").space, "space", SearchSpace))


@pytest.mark.parametrize("recipe", names("recipe"))
@pytest.mark.parametrize("space", names("space"))
def test_recipe_on_space(space: str, recipe: str) -> None:
    """Its first choices are valid settings, costs are those of the network alone, and its centre is as configured."""
    cfg = composed(f"space={space}", f"recipe={recipe}", "strategy=priorband")
    joint, networks = space_of(cfg.space, cfg.recipe), space_of(cfg.space)
    settings = build(cfg.training, "training", TrainingSettings)
    centre = joint.centre
    assert centre is not None
    chosen = with_settings(settings, joint.recipe(centre))
    assert (chosen.lr, chosen.optimizer, chosen.batch_size) == (settings.lr, settings.optimizer, settings.batch_size)
    drawn = joint.sample(np.random.default_rng(0))
    with_settings(settings, joint.recipe(drawn))
    own = networks.architecture(drawn.genes[: len(networks.genes)])
    assert joint.describe(drawn).startswith(networks.describe(own))
    task = TaskSpec(joint.kind, joint.spatial_dims, getattr(networks, "in_channels", 1), 2)
    shapes = [[p.shape for p in one.parameters()] for one in (joint.build(drawn, task), networks.build(own, task))]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in names("space")])
def test_space_with_a_recipe(name: str) -> None:
    cfg = composed(f"space={name}", "recipe=classification")
    check_space(space_of(cfg.space, cfg.recipe))


def pairs() -> list[Any]:
    """Every strategy with every space: each strategy on one space and one strategy on each space, the others slow."""
    every = [(space, strategy) for space in names("space") for strategy in names("strategy")]
    slow = pytest.mark.slow
    return [
        pytest.param(*pair, marks=() if "nodule_patch" in pair or "pop" in pair else slow, id="-".join(pair))
        for pair in every
    ]


@pytest.mark.parametrize(("space", "strategy"), pairs())
def test_strategy_on_space(strategy: str, space: str) -> None:
    cfg = composed(f"space={space}", f"strategy={strategy}")
    check_strategy(build(cfg.strategy, "strategy", Strategy), build(cfg.space, "space", SearchSpace))


@pytest.mark.parametrize("name", names("fidelity"))
def test_multi_fidelity_rule(name: str) -> None:
    """With the budgets of conf/: up to training.epochs."""
    rule = build(composed(f"fidelity={name}").fidelity, "fidelity", Fidelity)
    assert (rule.budgets[0], rule.budgets[-1]) == (9, 50)
    history = check_strategy(MultiFidelity(RandomSearch(), rule), trials=40)
    assert {trial.budget for trial in history} >= set(rule.budgets[:2])


@pytest.mark.parametrize("name", names("data"))
def test_data_set_without_its_files(name: str, tmp_path: Path) -> None:
    """It is built from its yaml; where it needs files that are not there, it says so in one line."""
    cfg = composed(f"data={name}", f"data_cache={tmp_path}", "data_root=null")
    source = build(cfg.data, "data", Source)
    assert Path(source.cache_dir) == tmp_path
    if name in SHIPPED:
        return
    with pytest.raises(NASError):
        source.prepare()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", names("task"))
def test_task(name: str) -> None:
    task = build(composed(f"task={name}").task, "task", Task, in_channels=1, outputs=2, dims=3)
    assert (task.spec.kind, task.spec.in_channels, task.spec.outputs, task.spec.dims) == (name, 1, 2, 3)


@pytest.mark.parametrize("name", names("split"))
def test_split(name: str, tmp_path: Path) -> None:
    """A data set whose authors gave five folds."""
    voxels = np.zeros((1, 2, 2, 2), dtype=np.uint8)
    samples = [Sample(f"s{n}", voxels, n % 2, f"p{n // 2}", fold=str(n // 2 % 5)) for n in range(40)]
    store = write_store(tmp_path / "store.h5", samples, name="folds", classes=("a", "b"), provenance={})
    split = build(composed(f"split={name}").split, "split", Split, store=store)
    assert sorted(split.test) == [n for n in range(40) if n // 2 % 5 == 0]


@pytest.mark.parametrize("name", names("training"))
def test_training(name: str) -> None:
    settings = build(composed(f"training={name}").training, "training", TrainingSettings)
    assert isinstance(settings.augment, Augment)


@pytest.mark.parametrize("name", names("tracking"))
def test_tracking(name: str) -> None:
    """A board without a server takes everything all the same."""
    words = ["tracking.visdom.port=1", "tracking.visdom.env=x"] if name == "visdom" else []
    board = build_trackers(composed(f"tracking={name}", *words).tracking)
    board.scalar("search", "auc", 0, 0.5)
    board.text("summary", "text")
    board.close()


@pytest.mark.parametrize("name", names("evaluator"))
def test_evaluator(name: str, tmp_path: Path) -> None:
    needed = {"tabular": [f"evaluator.path={tmp_path}/t.h5"], "zero_cost": ["evaluator.score=snip"]}
    words = needed.get(name, [])
    write_h5(tmp_path / "t.h5", table_of(records_of()))
    build(composed(f"evaluator={name}", *words).evaluator, "evaluator", Evaluator)


@pytest.mark.parametrize("name", names("experiment"))
def test_experiment_composes_and_says_how_to_run_it(name: str) -> None:
    text = (REPO / "conf/experiment" / f"{name}.yaml").read_text()
    assert text.startswith("# @package _global_\n# ")
    assert re.search(rf"python run_search\.py .*experiment={name}", text)
    first = text.splitlines()[1].removeprefix("# ")
    assert first.startswith("python run_")
    check_command(first.split())
    for config in ("search", "train"):
        assert composed(f"experiment={name}", config=config).data._target_


@pytest.mark.parametrize("name", names("experiment"))
def test_experiment_names_a_space_for_its_task(name: str) -> None:
    chosen = composed(f"experiment={name}")
    build(chosen.strategy, "strategy", Strategy)
    sizes = {"in_channels": 1, "outputs": 2, "dims": 3}
    task = chosen.get("task")
    kind = build(task, "task", Task, **sizes).spec.kind if task else "classification"
    assert build(chosen.space, "space", SearchSpace).kind == kind
    text = (REPO / "conf/experiment" / f"{name}.yaml").read_text()
    for group in ("space", "strategy"):
        assert f"override /{group}: " in text or "  - dints_hippocampus_gradient\n" in text
