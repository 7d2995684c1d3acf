"""A joint search and the training of its network, as commands."""

from __future__ import annotations

import json

import numpy as np
import pytest

import run_train
from experiments.spaces import space_of, with_prior_of
from experiments.train.recipes import announcement, kept_recipe, over_recipes
from nas.artifact import Artifact
from nas.inference.model_spec import ModelSpec
from nas.task_spec import TaskSpec
from search_spaces.joint import JointSpace
from tests.commands import NO_FEATURES, SMALL, Command, refused

RECIPE = ["recipe=classification", "recipe.augmentation=null", "recipe.training.batch_size=null"]
ALONE = [*NO_FEATURES, "baselines.random_search=false", "baselines.published=null", "rounds=1"]


@pytest.mark.slow
def test_search_and_train(command: Command) -> None:
    """The first trial is the configured default; the network is trained by its recipe, unless a setting is typed."""
    code, out, err = command.search("split.folds=3", "strategy=random", *RECIPE, "training.lr=0.005")
    assert code == 0, err
    assert "recipe\n  training.optimizer" in out
    folder = command.folder / "outputs/s"
    content = json.loads((folder / "arch.json").read_text())
    assert content["space"]["class"] == "search_spaces.joint.JointSpace"
    recipe = content["recipe"]
    assert recipe["training.lr"] in (0.0005, 0.0015, 0.005, 0.015, 0.05)
    first = (folder / "trials.csv").read_text().splitlines()[1].split(",")[3]
    assert first.endswith(" 0 2 0 0 2 0")  # adamw, lr and weight decay as configured, onecycle, shuffled
    again = command.search(
        "split.folds=3", "strategy=random", *RECIPE, "training.lr=0.005", "recipe.training.schedule.prior=cosine"
    )
    refused(again, "prior")
    small = [word for word in SMALL if word != "training=demo"]  # a group that is typed replaces the whole recipe
    words = [*small, *ALONE, "name=t", "split.folds=3", "resamples=100", "training.lr=0.02"]
    code, out, err = command(run_train.main, "arch=outputs/s/arch.json", *words)
    assert code == 0, err
    said = " ".join(out.split())
    assert "recipe from arch.json" in said
    assert f"set by the command line: training.lr (the recipe has {recipe['training.lr']:g})" in said
    (path,) = (command.folder / "outputs/train/t/bundles").glob("*/*/model.json")
    applied = ModelSpec.load(path).facts["trained"]["recipe"]
    assert "training.lr" not in applied
    assert applied["training.optimizer"] == recipe["training.optimizer"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["recipe.training.lr.times=[2,3]"], "factors above 0 with 1 among them"),
        (["+recipe.training.learning=[1,2]"], "training.learning=1 in the recipe"),
        (["strategy=differentiable"], "whose supernet trains all networks alike"),
        pytest.param(["+recipe.data.size=[16,32]"], "data.size in a recipe", marks=pytest.mark.slow),
        pytest.param(["+space.prior.depth=3"], "a prior of the gene 'depth' in space.prior", marks=pytest.mark.slow),
        pytest.param(
            ["strategy=priorband"], "strategy.min_budget=9 with strategy.max_budget=1", marks=pytest.mark.slow
        ),
        pytest.param(
            ["evaluator=zero_cost", "evaluator.score=width", "objectives={zero_cost: maximize}"],
            "a recipe with ZeroCost",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_recipe_that_cannot_be_searched_is_refused(command: Command, words: list[str], message: str) -> None:
    refused(command.search("recipe=classification", *words), message)
    assert not (command.folder / "outputs/s").exists()


def test_a_prior_of_any_space() -> None:
    space = {"_target_": "search_spaces.ResNet3DSpace", "prior": {"width": 16, "kernel": [0, 1]}}
    centre = space_of(space).centre
    assert centre is not None
    assert space_of(space).values(centre)[0] == 16
    joint = space_of(space, {"training": {"lr": {"choices": [0.1, 0.2], "prior": 0.2}}})
    assert joint.centre is not None
    assert joint.centre.genes == (*centre.genes, 1)
    assert joint.stated_priors.keys() == {"width", "kernel", "training.lr"}
    searched = JointSpace(**joint.arguments)
    assert searched.centre is None
    assert with_prior_of(searched, space, {"training.lr": {"choices": [0.1, 0.2], "prior": 0.2}}).centre == joint.centre


def test_settings_above_and_below_those_of_a_recipe_replace_it() -> None:
    plain = space_of({"_target_": "search_spaces.ResNet3DSpace"})
    joint = space_of(
        {"_target_": "search_spaces.ResNet3DSpace"},
        {"training": {"lr": [0.1, 0.2], "augment": {"rotate": [5, 9]}}, "task": {"class_weights": [None, "auto"]}},
    )
    network = Artifact(joint, joint.repair([0] * len(joint.genes)), TaskSpec("classification", 3, 1, 2))
    for typed, kept in (
        (["training.lr=1"], {"training.augment.rotate", "task.class_weights"}),
        (["training=demo"], {"task.class_weights"}),
        (["~training.augment"], {"training.lr", "task.class_weights"}),
        (["+task.class_weights=[1,2]", "training.epochs=3"], {"training.lr", "training.augment.rotate"}),
        (["name=x"], set(network.recipe)),
    ):
        assert set(kept_recipe(network, over_recipes(typed, [network]))) == kept
    (line,) = announcement([network], ["training.lr"])
    assert line.endswith(
        "training.augment.rotate=5, task.class_weights=null; set by the command line: training.lr (the recipe has 0.1)"
    )
    assert announcement([Artifact(plain, plain.sample(np.random.default_rng(0)), network.task)], []) == []
