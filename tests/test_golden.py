"""Files of version 0.1 (commit 0951b6b): arch.json still trains, studies and checkpoints are refused in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import run_train
from nas.artifact import SCHEMA, load
from nas.errors import NASError
from nas.provenance import Provenance
from nas.training.checkpoint import load_checkpoint, save_checkpoint
from nas.utils.locate import RENAMED, locate
from tests.commands import NO_FEATURES, SMALL, Command, refused
from tests.conftest import REPO

GOLDEN = REPO / "tests/golden/0951b6b"
IDS = {
    "classification": "5966fe25c12a",
    "segmentation": "512be68426d3",
    "detection": "19d8df4efbdb",
    "dints": "56424c35268c",
    "inherited": "56424c35268c",
}


@pytest.mark.parametrize("name", IDS)
def test_an_architecture_keeps_its_id(name: str, tmp_path: Path) -> None:
    artifact = load(GOLDEN / f"{name}.json")
    assert artifact.arch.id == IDS[name]
    search = artifact.provenance.search
    assert search is not None
    assert search.patients is None
    assert search.trains == (name in ("classification", "segmentation", "detection"))
    artifact.save(tmp_path / "arch.json")
    again = load(tmp_path / "arch.json")
    assert (again.arch, again.task, again.metrics, again.provenance) == (
        artifact.arch,
        artifact.task,
        artifact.metrics,
        artifact.provenance,
    )
    assert f'"schema": {SCHEMA}' in (tmp_path / "arch.json").read_text()


@pytest.mark.slow
def test_training_with_its_random_baseline(command: Command) -> None:
    """One warning, and the table states that the patients of the search are unknown."""
    old = json.loads((GOLDEN / "classification.json").read_text())
    old["provenance"]["trials"] = 1  # of three: the random search repeats as many
    (command.folder / "old.json").write_text(json.dumps(old))
    words = ["experiment=demo", *SMALL, "split.folds=3", "resamples=20", "rounds=1", *NO_FEATURES]
    code, out, err = command(run_train.main, *words, "arch=old.json", "name=old")
    assert code == 0, err
    assert out.count("search patients unknown") == 1
    assert (out + err).count("does not record the patients of the search") == 1
    table = (command.folder / "outputs/train/old/table.md").read_text()
    assert "searched 5966fe25c12a" in table
    assert "random search" in table
    assert "naslung/model-1" in table


@pytest.mark.slow
def test_training_beside_a_random_network_of_equal_cost(command: Command) -> None:
    words = ["experiment=dints_demo", "training.epochs=1", "resamples=20", "rounds=1", "baselines.published=null"]
    words += ["baselines.plain_unet=null"]
    code, out, err = command(run_train.main, *words, f"arch={GOLDEN / 'inherited.json'}", "name=old")
    assert code == 0, err
    assert "random, equal cost" in out


def test_a_search_that_cannot_be_repeated_at_random_is_refused_before_the_training(command: Command) -> None:
    """A search from Python records no configuration."""
    artifact = load(GOLDEN / "classification.json")
    assert artifact.provenance.search is not None
    search = replace(artifact.provenance.search, config={})
    replace(artifact, provenance=Provenance(search=search)).save(command.folder / "arch.json")
    words = ["experiment=demo", *SMALL, "split.folds=3", "rounds=1", "arch=arch.json", "name=old"]
    refused(command(run_train.main, *words), "did not record its configuration", "baselines.random_search=false")
    assert not (command.folder / "outputs/train/old/checkpoints").exists()


def test_a_checkpoint_is_refused(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "last.pt"
    save_checkpoint(path, {"network": "a"}, {})
    state = torch.load(path, weights_only=True)
    torch.save({**state, "format": 1}, path)
    with pytest.raises(NASError, match=r"format=1 .*expected format=2"):
        load_checkpoint(path, {"network": "a"})


def test_class_paths_of_version_0_1_are_found() -> None:
    assert RENAMED["nas.strategies.pop.PartialOrderPruning"] == "nas.strategies.PartialOrderPruning"
    for path in RENAMED:
        assert isinstance(locate(path, object, allow=None), type)
