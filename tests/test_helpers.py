"""Processes that help a training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_module

from experiments.networks import resolve
from experiments.train.helpers import processes_of
from nas.task_spec import TaskSpec


def resolve_published(settings: Mapping[str, Any], folder: Path, number: int) -> None:
    network = resolve(settings["name"], TaskSpec("classification", 3, 1, 2), ())
    (folder / str(number)).write_text(network.arch.id)


@pytest.mark.slow
def test_a_helper_knows_the_published_networks(tmp_path: Path) -> None:
    """Their names are those of files of conf/, which only Hydra finds."""
    with initialize_config_module("conf", version_base="1.3"):
        expected = resolve("naslung/model-1", TaskSpec("classification", 3, 1, 2), ()).arch.id
        with processes_of({"name": "naslung/model-1"}, 2, tmp_path, resolve_published) as (process,):
            process.join(120)
    assert (tmp_path / "1").read_text() == expected
