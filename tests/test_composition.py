"""Experiments whose options the command line exchanges: what applies, what is left out, what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hydra._internal.hydra
import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import OmegaConf

import run_search
from experiments.build import build
from experiments.composition import ExperimentLoader
from experiments.config import SearchConfig
from experiments.sweep import register_resolvers
from nas.evaluators.base import Evaluator
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from tests.commands import Command, refused
from tests.conftest import REPO

EXPERIMENTS = sorted(path.stem for path in (REPO / "conf/experiment").glob("*.yaml"))
Compose = Callable[..., Any]


@pytest.fixture
def composed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Compose]:
    """Composes from conf/ and from the user's own folder."""
    register_resolvers()
    monkeypatch.setattr(hydra._internal.hydra, "ConfigLoaderImpl", ExperimentLoader)
    with initialize_config_dir(str(REPO / "conf"), version_base="1.3"):
        own = f"hydra.searchpath=[file://{tmp_path}]"
        yield lambda *words, config="search": compose(config, [own, *words])


def write(folder: Path, name: str, content: str) -> None:
    (folder / "experiment").mkdir(exist_ok=True)
    (folder / "experiment" / f"{name}.yaml").write_text(f"# @package _global_\n{content}\n")


@pytest.mark.parametrize("config", ["search", "train"])
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_with_another_strategy_and_space(composed: Compose, experiment: str, config: str) -> None:
    cfg = composed(f"experiment={experiment}", "space=naslung", "strategy=nsga2", "evaluator=train", config=config)
    build(cfg.strategy, "strategy", Strategy)
    build(cfg.space, "space", SearchSpace)
    build(cfg.evaluator, "evaluator", Evaluator)


def test_settings_of_another_option_are_left_out(composed: Compose, capsys: pytest.CaptureFixture[str]) -> None:
    own = composed("experiment=dints_demo")
    assert own.strategy.target == 1e7
    assert own.evaluator._target_ == "nas.evaluators.InheritedWeights"
    assert capsys.readouterr().err == ""
    cfg = composed("experiment=dints_demo", "strategy=random")
    assert cfg.strategy == {"_target_": "nas.strategies.RandomSearch", "cost_min": None, "cost_max": None}
    assert cfg.evaluator._target_ == "nas.evaluators.Train"
    assert cfg.training == own.training
    assert capsys.readouterr().err.splitlines() == [
        "experiment=dints_demo: evaluator=train, as evaluator=supernet needs strategy=differentiable",
        "experiment=dints_demo: strategy=random leaves out its settings of strategy=differentiable",
    ]
    assert composed("experiment=demo", "data=icbm_tissue").data.size == 24


def test_an_evaluator_that_is_typed_stays(composed: Compose) -> None:
    for words in (["evaluator=supernet"], ["evaluator.checkpoint=last.pt"]):
        cfg = composed("experiment=dints_demo", "strategy=random", *words)
        assert cfg.evaluator._target_ == "nas.evaluators.InheritedWeights"


def test_typed_settings_of_another_option_are_errors(composed: Compose) -> None:
    with pytest.raises(ConfigCompositionException, match=r"strategy\.lr"):
        composed("experiment=dints_demo", "strategy=random", "strategy.lr=0.1")


def test_an_experiment_on_top_of_another(composed: Compose) -> None:
    """Its base has chosen the options; the settings of both are left out."""
    assert composed("experiment=dints_hippocampus_long").strategy.target == 1.094e9
    cfg = composed("experiment=dints_hippocampus_long", "strategy=tpe", "space=unet")
    assert set(cfg.strategy) == {"_target_", "start", "ei_candidates", "tries"}
    assert cfg.training.epochs == 60


def test_objectives_of_an_experiment(composed: Compose, tmp_path: Path) -> None:
    write(tmp_path, "whole", "objectives: {accuracy: maximize}\nconstraints: ['params<=1e5']")
    write(tmp_path, "changed", "objectives: {macs: null, params: minimize}")
    write(tmp_path, "above", "defaults: [whole]\nobjectives: {auc: maximize, macs: minimize}\nconstraints: []")

    def wanted(*words: str) -> dict[str, str]:
        return dict(SearchConfig.of(composed(*words, "study.name=s")).objectives)

    assert wanted() == {"score": "maximize", "macs": "minimize"}
    assert wanted("experiment=demo") == wanted()
    assert wanted("experiment=whole") == {"accuracy": "maximize"}
    assert wanted("experiment=changed") == {"score": "maximize", "params": "minimize"}
    assert wanted("experiment=above") == {"auc": "maximize", "macs": "minimize"}
    assert wanted("experiment=whole", "+objectives.bytes=minimize") == {"accuracy": "maximize", "bytes": "minimize"}
    assert composed("experiment=whole").constraints == ["params<=1e5"]
    assert composed("experiment=above").constraints == []


def test_settings_of_options_that_a_sweep_varies(composed: Compose) -> None:
    """A sweep is composed once without its options; its jobs are composed with them."""
    loader = GlobalHydra.instance().config_loader()
    words = ["experiment=dints_demo,dints_hippocampus_gradient", "strategy.target=2e7", "seed=0,1", "data.root=/x"]
    sweep = loader.load_configuration("search", words, RunMode.MULTIRUN)
    assert list(sweep.hydra.overrides.task) == words
    job = loader.load_sweep_config(sweep, ["experiment=dints_demo", "strategy.target=2e7", "seed=1"])
    assert (job.strategy.target, job.seed) == (2e7, 1)
    with pytest.raises(ConfigCompositionException, match="nonsense"):
        loader.load_configuration("search", ["seed=0,1", "strategy.nonsense=1"], RunMode.MULTIRUN)


def test_without_an_experiment_it_is_hydras_loader(composed: Compose) -> None:
    ours = GlobalHydra.instance().config_loader()
    theirs = ConfigLoaderImpl(ours.get_search_path())
    words = ["strategy=nsga2", "strategy.population=4", "data.size=16"]
    plain = [loader.load_configuration("search", words, RunMode.RUN) for loader in (ours, theirs)]
    assert OmegaConf.to_yaml(plain[0]) == OmegaConf.to_yaml(plain[1])


def test_a_supernet_that_is_not_trained(command: Command) -> None:
    words = ["experiment=dints_demo", "strategy=random", "evaluator=supernet"]
    refused(command(run_search.main, *words), "RandomSearch", "strategy=differentiable", "evaluator=train")
    assert not (command.folder / "outputs/dints_demo/study.db").exists()
