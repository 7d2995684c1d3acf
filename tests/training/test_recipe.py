"""Recipes applied to settings, task and patches, by the evaluator and by retraining."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nas.artifact import Artifact
from nas.context import RunContext, TaskSetup
from nas.data.splits import Split
from nas.data.transforms.augment import Augment
from nas.errors import NASError, TrialFailed
from nas.evaluators.train import Train
from nas.evaluators.zero_cost import ZeroCost
from nas.history import Proposal
from nas.retraining.folds import FoldTrainings
from nas.search import SearchJob
from nas.strategies.differentiable import Differentiable
from nas.strategies.fidelity.priorband import PriorBand
from nas.strategies.random import RandomSearch
from nas.tasks.classification import Classification
from nas.tasks.segmentation import Segmentation
from nas.training.recipe import check_recipes, prepared, with_settings, with_task
from nas.training.settings import TrainingSettings
from search_spaces.joint import JointSpace
from search_spaces.naslung import NASLungSpace
from tests.problems import context_in, problem_of
from tests.training.blobs import blob_store, halves

NETWORKS = NASLungSpace(widths=(4, 8), max_depth=3)
RECIPE = {"training": {"lr": [0.01, 0.05], "optimizer": ["adamw", "sgd"], "schedule": ["onecycle", "constant"]}}
JOINT = JointSpace(NETWORKS, RECIPE)
PROBLEM = problem_of(JOINT, {"auc": "maximize"})
SETTINGS = TrainingSettings(epochs=1, batch_size=16, precision="fp32", augment=Augment(flip=(0,)))
NETWORK = NETWORKS.from_stages([[4], [4], [8]])


def arch_of(*choices: int):  # type: ignore[no-untyped-def]
    return JOINT.repair([*NETWORK.genes, *choices])


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    train, valid = halves(blob_store(tmp_path / "blobs.h5"))
    return context_in(tmp_path / "runs", train, valid)


def test_settings_at_any_depth_are_replaced() -> None:
    changed = with_settings(SETTINGS, {"training.lr": 0.5, "training.augment.rotate": 20, "task.x": 1})
    assert (changed.lr, changed.epochs) == (0.5, 1)
    assert isinstance(changed.augment, Augment)
    assert changed.augment.rotate == 20
    assert tuple(changed.augment.flip) == (0,)
    assert with_settings(SETTINGS, {}) is SETTINGS
    assert with_settings(SETTINGS, {"training.augment": None}).augment is None


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"training.learning_rate": 0.1}, "training.learning_rate=0.1"),
        ({"training.lr": -1.0}, "training.lr=-1"),
        ({"training.augment.turn": 1}, "training.augment.turn=1"),
        ({"training.lr.x": 1}, "training.lr.x with training.lr=0.002"),
        ({"data.size": 8}, "data.size in a recipe"),
        ({"data.patch": [8, 8, 8]}, "was not prepared for patches"),
        ({"task.score": "accuracy"}, "which changes the metrics"),
        ({"task.losses": 1}, "task.losses=1"),
    ],
)
def test_a_setting_that_cannot_be_applied(context: RunContext, recipe: dict[str, object], message: str) -> None:
    with pytest.raises(NASError, match=message):
        prepared(recipe, SETTINGS, Classification(), context.train, context.valid)


def test_the_task_keeps_its_metrics_and_takes_the_rest() -> None:
    task = Segmentation(outputs=3, class_weights=(0.2, 1))
    changed = with_task(task, {"task.batch_dice": True, "task.include_background": False}, ("a", "b", "c"))
    assert isinstance(changed, Segmentation)
    assert (changed.batch_dice, changed.include_background) == (True, False)
    assert changed.class_weights == (0.2, 1, 1)
    assert changed.metrics == task.metrics
    with pytest.raises(NASError, match="which changes the metrics"):
        with_task(task, {"task.tolerance": 2.0}, ("a", "b", "c"))


def test_a_training_is_that_of_its_recipe(context: RunContext, tmp_path: Path) -> None:
    """Bit for bit the training with these settings; two recipes of one network have checkpoints of their own."""
    plain = replace(SETTINGS, lr=0.05, optimizer="sgd", schedule="constant")
    arch = arch_of(1, 1, 1)
    own = Train(SETTINGS).evaluate(Proposal(arch), PROBLEM, context)
    same = Train(plain).evaluate(Proposal(NETWORK), problem_of(NETWORKS, {"auc": "maximize"}), context)
    other = Train(SETTINGS).evaluate(Proposal(arch_of(0, 0, 0)), PROBLEM, context)
    assert own["log_loss"] == same["log_loss"]
    assert own["log_loss"] != other["log_loss"]
    assert {path.name for path in context.folder.iterdir()} == {arch.id, NETWORK.id, arch_of(0, 0, 0).id}


def test_a_larger_budget_continues_if_the_recipe_has_such_a_schedule(context: RunContext) -> None:
    evaluator, seen = Train(SETTINGS), list[int]()
    watched = replace(context, on_epoch=lambda epoch, _: seen.append(epoch))
    for schedule in (0, 1):
        for budget in (1, 2):
            assert evaluator.evaluate(Proposal(arch_of(0, 0, schedule), budget), PROBLEM, watched)["epochs"] == budget
    assert seen == [1, 1, 2, 1, 2]  # one cycle begins anew, a constant rate continues


def test_choices_that_do_not_fit_together_fail_the_trial_alone(context: RunContext) -> None:
    joint = JointSpace(NETWORKS, {"training": {"patience": [0, 2], "validate_every": [1, 5]}})
    problem, both = problem_of(joint, {"auc": "maximize"}), joint.repair([*NETWORK.genes, 1, 1])
    Train(SETTINGS).check(problem, context)
    with pytest.raises(TrialFailed, match=r"does not fit together: training.patience=2 with"):
        Train(SETTINGS).evaluate(Proposal(both), problem, context)


def test_every_choice_is_checked_before_a_search(context: RunContext) -> None:
    joint = JointSpace(NETWORKS, {"training": {"optimizer": ["adamw", "lion"]}})
    with pytest.raises(NASError, match=r"training.optimizer=lion in the recipe"):
        check_recipes(joint, SETTINGS, Classification(), context.train.store)
    epochs = JointSpace(NETWORKS, {"training": {"epochs": [9, 27]}})
    with pytest.raises(NASError, match=r"recipe.training.epochs with Hyperband"):
        PriorBand(3, 1, 9).check(problem_of(epochs, {"auc": "maximize"}))


def test_no_supernet_and_no_untrained_score_of_a_joint_space(context: RunContext) -> None:
    for strategy, evaluator, message in (
        (Differentiable(SETTINGS), Train(SETTINGS), "whose supernet trains all networks alike"),
        (RandomSearch(), ZeroCost("width"), "which does not train networks by it"),
    ):
        with pytest.raises(NASError, match=message):
            SearchJob(PROBLEM, strategy, evaluator, context, 3).check()


def test_a_retraining_applies_the_recipe(tmp_path: Path) -> None:
    """Its identity is that of the settings; settings of the command replace the recipe."""
    split = Split(blob_store(tmp_path / "blobs.h5"), folds=3)
    setup = TaskSetup(split, Classification(), context_in(tmp_path, *halves(split.store)).device)
    rounds = split.holdout_rounds()[:1]
    network = Artifact(JOINT, arch_of(1, 1, 1), setup.task.spec)

    def fingerprint(settings: TrainingSettings, recipe: dict[str, object] | None = None) -> list[str]:
        return FoldTrainings(network, setup, rounds, settings, 0, tmp_path, recipe=recipe).fingerprints()

    plain = replace(SETTINGS, lr=0.05, optimizer="sgd", schedule="constant")
    assert fingerprint(SETTINGS) == fingerprint(plain, {}) != fingerprint(SETTINGS, {})
    assert fingerprint(replace(plain, lr=0.3), {"training.optimizer": "sgd"}) != fingerprint(plain, {})
    trainings = FoldTrainings(network, setup, rounds, SETTINGS, 0, tmp_path)
    assert dict(trainings.applied) == dict(network.recipe)
    assert set(network.recipe) == {"training.lr", "training.optimizer", "training.schedule"}
