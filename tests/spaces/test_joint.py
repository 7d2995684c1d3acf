"""Joint spaces: networks with recipes, conditional genes, priors, arch.json."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.artifact import Artifact, SpaceFacts, load
from nas.cost.model import CostModel
from nas.errors import NASError
from nas.strategies.partial_order.dominance import below
from nas.supernets.elastic import require_elastic
from nas.task_spec import TaskSpec
from nas.testing import check_space
from nas.utils.sealed import write_sealed
from search_spaces.joint import JointSpace
from search_spaces.resnet3d import ResNet3DSpace
from search_spaces.unet import UNetSpace

RECIPE: dict[str, Any] = {
    "training": {
        "optimizer": {"choices": ["adamw", "sgd"], "prior": "sgd"},
        "lr": {"value": 0.01, "times": [0.1, 1, 10]},
        "momentum": {"choices": [0.5, 0.9], "when": {"training.optimizer": "sgd"}},
        "augment": {"rotate": [0, 15]},
    },
    "task": {"window": [None, [16, 16, 16]]},
    "strength": {
        "choices": {"weak": {}, "strong": {"training": {"weight_decay": 0.1, "augment": {"noise": 0.1}}}},
        "when": {"training.momentum": 0.9},
    },
}
UNETS = UNetSpace(depths=(1, 2), widths=(4, 8), block_counts=(1,), kernels=(3,), norms=("batch",), ups=("resize",))
JOINT = JointSpace(UNETS, RECIPE)
NAMES = [gene.name for gene in JOINT.genes]
TASK = TaskSpec("segmentation", 3, 1, 2)
GENES = st.lists(st.integers(-3, 9), min_size=len(NAMES), max_size=len(NAMES))


def of(**chosen: Any) -> list[int]:
    """Genes with some choices, all others the first one."""
    by_name = {name.replace("training.", ""): place for place, name in enumerate(NAMES)}
    genes = [0] * len(NAMES)
    for name, index in chosen.items():
        genes[by_name[name]] = index
    return genes


def test_it_conforms() -> None:
    check_space(JOINT)


def test_the_genes_of_the_recipe_follow_those_of_the_networks() -> None:
    own = {gene.name: gene for gene in JOINT.genes[len(UNETS.genes) :]}
    assert JOINT.genes[: len(UNETS.genes)] == UNETS.genes
    assert own["training.lr"].choices == (0.001, 0.01, 0.1)
    assert own["training.lr"].is_scale
    assert not own["training.lr"].ordered
    assert own["task.window"].choices == ("null", "[16, 16, 16]")
    assert not own["training.optimizer"].is_scale
    assert not JOINT.ordered[len(UNETS.genes) :].any()


@settings(max_examples=60, deadline=None)
@given(genes=GENES)
def test_repair_is_total_and_idempotent_and_resets_what_is_not_used(genes: list[int]) -> None:
    arch = JOINT.repair(genes)
    assert JOINT.repair(arch.genes) == arch
    assert arch.genes[: len(UNETS.genes)] == UNETS.repair(genes[: len(UNETS.genes)]).genes
    values = dict(zip(NAMES, JOINT.values(arch), strict=True))
    recipe = JOINT.recipe(arch)
    uses_sgd = values["training.optimizer"] == "sgd"
    assert ("training.momentum" in recipe) is uses_sgd
    if not uses_sgd:
        assert values["training.momentum"] == 0.5
    used = uses_sgd and values["training.momentum"] == 0.9
    assert ("training.weight_decay" in recipe) is (used and values["strength"] == "strong")
    assert used or values["strength"] == "weak"


def test_a_gene_that_hangs_on_an_unused_one_is_unused() -> None:
    """`strength` is used with momentum 0.9, but also its first choice 0.5 must not count when momentum is unused."""
    recipe = {
        "training.optimizer": ["adamw", "sgd"],
        "training.momentum": {"choices": [0.9, 0.5], "when": {"training.optimizer": ["sgd"]}},
        "training.lr": {"choices": [0.1, 0.01], "when": {"training.momentum": 0.9}},
    }
    joint = JointSpace(UNETS, recipe)
    count = len(UNETS.genes)
    assert joint.repair([0] * count + [0, 1, 1]).genes[count:] == (0, 0, 0)
    assert set(joint.recipe(joint.repair([0] * count + [0, 0, 1]))) == {"training.optimizer"}
    assert joint.recipe(joint.repair([0] * count + [1, 0, 1]))["training.lr"] == 0.01


def test_the_enumeration_holds_every_repaired_point_once() -> None:
    listed = {tuple(genes) for genes in JOINT.enumerate().tolist()}  # type: ignore[union-attr]
    rng = np.random.default_rng(0)
    # networks 4; lr 3, rotate 2, window 2; adamw 1, sgd with 0.5 1, sgd with 0.9 2 of strength
    assert len(listed) == 4 * 3 * 2 * 2 * (1 + 1 + 2)
    assert {JOINT.sample(rng).genes for _ in range(200)} <= listed
    many = list(range(1, 101))
    large = {"training.epochs": many, "training.batch_size": many, "training.patience": many}
    assert JointSpace(UNETS, large).enumerate() is None


@settings(max_examples=25, deadline=None)
@given(genes=GENES)
def test_the_recipe_survives_arch_json(tmp_path_factory: pytest.TempPathFactory, genes: list[int]) -> None:
    path = tmp_path_factory.mktemp("arch") / "arch.json"
    arch = JOINT.repair(genes)
    Artifact(JOINT, arch, TASK).save(path)
    found = load(path)
    assert found.arch == arch
    assert found.space.fingerprint == JOINT.fingerprint
    assert found.recipe == json.loads(json.dumps(dict(JOINT.recipe(arch))))
    assert json.loads(path.read_text())["recipe"] == found.recipe
    assert isinstance(found.space, JointSpace)
    assert type(found.space.space) is UNetSpace


def test_an_edited_recipe_in_arch_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "arch.json"
    Artifact(JOINT, JOINT.repair(of(lr=2)), TASK).save(path)
    content = json.loads(path.read_text())
    content["recipe"]["training.lr"] = 0.5
    write_sealed(path, content)
    with pytest.raises(NASError, match=r"another recipe in .* than that of its genes"):
        load(path)


def test_a_class_that_is_not_trusted_is_not_imported_below_a_joint_space(tmp_path: Path) -> None:
    path = tmp_path / "arch.json"
    Artifact(JOINT, JOINT.repair(of()), TASK).save(path)
    content = json.loads(path.read_text())
    content["space"]["arguments"]["space"]["class"] = "subprocess.Popen"
    write_sealed(path, content)
    with pytest.raises(NASError, match=r"the class 'subprocess.Popen'"):
        load(path)


def test_a_study_records_it_and_builds_it_again() -> None:
    facts = SpaceFacts.from_json(json.loads(json.dumps(SpaceFacts.of(JOINT).to_json())))
    assert facts.build().fingerprint == JOINT.fingerprint


def test_priors_change_no_id_and_decide_samples_of_networks_and_recipe() -> None:
    sure = JOINT.with_prior({"width": [0, 1], "training.lr": [0, 0, 1], "training.optimizer": "adamw"})
    assert sure.fingerprint == JOINT.fingerprint
    rng = np.random.default_rng(0)
    drawn = [dict(zip(NAMES, sure.values(sure.sample(rng)), strict=True)) for _ in range(60)]
    assert {(one["width"], one["training.lr"]) for one in drawn} == {(8, 0.1)}
    assert sum(one["training.optimizer"] == "adamw" for one in drawn) > 35  # 0.8 of 60
    centre = JOINT.centre
    assert centre is not None
    assert JOINT.recipe(centre)["training.optimizer"] == "sgd"
    assert JOINT.recipe(centre)["training.lr"] == 0.01  # of `value`


def test_costs_are_those_of_the_networks() -> None:
    shape = (1, 16, 16, 16)
    joint, plain = CostModel(JOINT, TASK, shape), CostModel(UNETS, TASK, shape)
    archs = [JOINT.sample(np.random.default_rng(seed)) for seed in range(12)]
    networks = np.array([arch.genes[: len(UNETS.genes)] for arch in archs])
    assert joint(JOINT.encode(archs)).tolist() == plain(networks).tolist()
    assert len({arch.genes for arch in archs}) > len({tuple(row) for row in networks.tolist()})
    assert len(joint._measured) <= 4  # one profile for each network, whatever its recipe


def test_arguments_of_the_space_may_be_searched() -> None:
    """Deep supervision changes the network in training, and not its genes."""
    joint = JointSpace(UNETS, {"space": {"deep_supervision": [False, True]}, "training": {"lr": [0.1, 0.01]}})
    count = len(UNETS.genes)
    plain, deep = (joint.repair([1] * count + [choice, 1]) for choice in (0, 1))
    assert [isinstance(joint.build(arch).train()(images()), tuple) for arch in (plain, deep)] == [False, True]
    assert joint.recipe(deep) == {"training.lr": 0.01}
    assert getattr(joint.space_of(deep), "deep_supervision", None) is True
    genes = joint.network_genes(joint.encode([plain, deep]))
    assert genes[:, -1].tolist() == [0, 0]
    assert genes[:, -2].tolist() == [0, 1]


def images() -> Any:
    import torch

    return torch.rand(2, 1, 16, 16, 16)


def test_pruning_compares_networks_of_one_recipe_only() -> None:
    smaller, larger, other = (of(lr=1), of(lr=1, width=1), of(lr=2))
    genes_NG = np.array([smaller, larger, other], dtype=np.int16)
    found = below(genes_NG, np.array(larger, dtype=np.int16), JOINT.ordered, np.ones(3, dtype=bool))
    assert found.tolist() == [0, 1]


def test_space_changes_reach_the_networks_and_keep_the_recipe() -> None:
    changed = JOINT.with_arguments({"deep_supervision": True})
    assert changed.space.arguments["deep_supervision"] is True
    assert changed.arguments["recipe"] == JOINT.arguments["recipe"]
    assert JOINT.with_arguments(changed.arguments).fingerprint == changed.fingerprint


def test_descriptors_and_descriptions_hold_the_recipe() -> None:
    arch = JOINT.repair(of(optimizer=1, momentum=1, strength=1, lr=2))
    assert re.search(r"^  training\.lr +0\.1$", JOINT.describe(arch), re.MULTILINE)
    assert JOINT.describe(arch).startswith(UNETS.describe(UNETS.repair([0] * len(UNETS.genes))))
    assert len(JOINT.descriptors([arch, arch])) == 2
    assert JOINT.picture(arch) is None


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({}, "a recipe without settings"),
        ({"training": {"lr": 0.1}}, r"recipe.training.lr=0.1; expected a list of choices"),
        ({"training": {"lr": []}}, r"the choices \[\] of recipe.training.lr"),
        ({"training": {"lr": [0.1, 0.1]}}, "each once"),
        ({"lr": [0.1, 0.2]}, "recipe.lr, which sets lr; expected a setting of training, task, data, space"),
        ({"training": {"lr": {"choices": [0.1], "best": 0.1}}}, "recipe.training.lr.best"),
        ({"training": {"lr": {"choices": [0.1, 0.2], "prior": 0.3}}}, "a prior 0.3 of the gene training.lr"),
        ({"training": {"lr": {"value": 0, "times": [1, 2]}}}, "factors above 0 with 1 among them"),
        ({"training": {"lr": {"choices": [1], "when": {"training.x": 1}}}}, "a gene that stands before it: depth"),
        ({"training": {"lr": {"choices": [1], "when": {"width": 5}}}}, r"when.width=\[5\]; expected some of \[4, 8\]"),
        ({"a": {"choices": {"x": {"training.lr": 1}}}, "training.lr": [1, 2]}, "which both set training.lr"),
        ({"space": {"widths": [[4, 8], [8, 16]]}}, "which changes the genes of UNetSpace"),
        ({"space": {"wide": [1]}}, "recipe.space.wide; expected one of depths"),
    ],
)
def test_a_wrong_recipe_is_refused(recipe: dict[str, Any], message: str) -> None:
    with pytest.raises(NASError, match=message):
        JointSpace(UNETS, recipe)


def test_no_joint_space_within_another_and_no_supernet_of_one() -> None:
    with pytest.raises(NASError, match="which has a recipe"):
        JointSpace(JOINT, {"training.lr": [0.1, 0.2]})
    with pytest.raises(NASError, match="elastic weights of JointSpace"):
        require_elastic(JOINT)


def test_old_fingerprints_are_untouched() -> None:
    """Those of the spaces of earlier studies, which a joint space holds."""
    assert UNetSpace().fingerprint == "UNetSpace-3a5dd7182c7a"
    assert JointSpace(ResNet3DSpace(), {"training.lr": [1, 2]}).space.fingerprint == "ResNet3DSpace-bad81f5d30fb"
