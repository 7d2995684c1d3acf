"""Every space, strategy and data set is checked because its yaml is in conf/."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from experiments.hydra_main import arch_slug
from nas.data.source import Source
from nas.errors import NASError
from nas.testing import check_space, check_strategy
from tests.conftest import REPO

SHIPPED = ("lidc_shapes", "icbm_tissue", "nodule_phantoms")  # data that come with a package


def names(group: str) -> list[str]:
    found = sorted(path.stem for path in (REPO / "conf" / group).glob("*.yaml"))
    assert found
    return found


def composed(*overrides: str, config: str = "search"):  # type: ignore[no-untyped-def]
    OmegaConf.register_new_resolver("arch_slug", arch_slug, replace=True)
    with initialize_config_dir(str(REPO / "conf"), version_base="1.3"):
        return compose(config, overrides=list(overrides))


@pytest.mark.parametrize("name", names("space"))
def test_space(name: str) -> None:
    check_space(instantiate(composed(f"space={name}").space))


@pytest.mark.parametrize("strategy", names("strategy"))
@pytest.mark.parametrize("space", names("space"))
def test_strategy_on_space(strategy: str, space: str) -> None:
    cfg = composed(f"space={space}", f"strategy={strategy}")
    check_strategy(instantiate(cfg.strategy), instantiate(cfg.space))


@pytest.mark.parametrize("name", names("data"))
def test_data_set_without_its_files(name: str, tmp_path: Path) -> None:
    """It is built from its yaml; where it needs files that are not there, it says so in one line."""
    cfg = composed(f"data={name}", f"data_cache={tmp_path}", "data_root=null")
    source = instantiate(cfg.data)
    assert isinstance(source, Source)
    assert Path(source.cache_dir) == tmp_path
    if name in SHIPPED:
        return
    with pytest.raises(NASError):
        source.prepare()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("group", ["split", "task", "training", "tracking", "evaluator"])
def test_every_other_component_is_a_class_that_exists(group: str) -> None:
    for name in names(group):
        target = OmegaConf.to_container(composed(f"{group}={name}"), resolve=False)[group]["_target_"]
        module, _, attribute = target.rpartition(".")
        assert hasattr(__import__(module, fromlist=[attribute]), attribute)


@pytest.mark.parametrize("name", names("experiment"))
def test_experiment_composes_and_says_how_to_run_it(name: str) -> None:
    text = (REPO / "conf/experiment" / f"{name}.yaml").read_text()
    assert text.startswith("# @package _global_\n# ")
    assert re.search(rf"python run_search\.py .*experiment={name}", text)
    for config in ("search", "train"):
        assert composed(f"experiment={name}", config=config).data._target_
