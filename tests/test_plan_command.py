"""`voxnas plan` and `plan=FILE` from the outside: folders in both forms, settings, refusals."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra._internal.hydra
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import run_search
import run_train
from experiments.composition import ExperimentLoader
from experiments.planning import TimedSteps, reference_network
from experiments.search.check import check_search
from experiments.sweep import register_resolvers
from experiments.train.check import check_train
from nas.cost.profile import profile
from nas.errors import NASError
from nas.planning import Plan
from nas.planning.classification import plan_classification
from nas.planning.lengths import with_lengths_of_network
from nas.planning.nnunet import as_nnunet, read_nnunet, write_nnunet
from nas.planning.reading import read_fingerprint
from nas.planning.rules import FEWEST_EPOCHS, Network, StepCost
from nas.planning.segmentation import plan_segmentation
from tests.commands import Command, refused, voxnas
from tests.conftest import REPO
from tests.plans import MACHINE, Computed, case, classification, segmentation

sitk = pytest.importorskip("SimpleITK")
Compose = Callable[..., Any]


@pytest.fixture
def composed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Compose]:
    register_resolvers()
    monkeypatch.setattr(hydra._internal.hydra, "ConfigLoaderImpl", ExperimentLoader)
    with initialize_config_dir(str(REPO / "conf"), version_base="1.3"):
        yield lambda *words, config="search": compose(config, list(words))


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    found = plan_segmentation(segmentation([case(str(n)) for n in range(20)]), MACHINE, Computed())
    found.write(tmp_path / "plan.yaml")
    return found


def folder_of(root: Path, version2: bool, cases: int = 6) -> Path:
    """Volumes of 24 x 32 x 24 voxels with two balls, one before the other."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*map(np.arange, (24, 32, 24)), indexing="ij"), axis=-1)
    for name in ("imagesTr", "labelsTr"):
        (root / name).mkdir(parents=True)
    listed = []
    for number in range(cases):
        mask = np.zeros((24, 32, 24), dtype=np.uint8)
        for label, middle in ((1, 8), (2, 22)):
            mask[np.linalg.norm(grid - (12, middle, 12), axis=-1) < 5 + number % 2] = label
        volume = (mask * 50 + rng.normal(100, 10, mask.shape)).astype(np.float32)
        image = f"imagesTr/c{number}{'_0000' * version2}.nii.gz"
        for path, array in ((image, volume), (f"labelsTr/c{number}.nii.gz", mask)):
            sitk.WriteImage(sitk.GetImageFromArray(array), str(root / path))
        listed.append({"image": f"./{image}", "label": f"./labelsTr/c{number}.nii.gz"})
    labels = ("background", "front", "back")
    content: dict[str, Any] = {"modality": {"0": "MRI"}, "labels": dict(enumerate(labels)), "training": listed}
    if version2:
        named = {name: number for number, name in enumerate(labels)}
        content = {"channel_names": {"0": "MRI"}, "labels": named, "numTraining": cases, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(content))
    return root


def test_both_forms_of_a_folder_give_the_same_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.planning.TimedSteps", lambda device, memory: Computed())
    plans = []
    for version2 in (False, True):
        root, out = folder_of(tmp_path / f"form{version2}", version2), tmp_path / f"form {version2}.yaml"
        code, said, err = voxnas(capsys, "plan", root, "--out", out, "--time", "20s", "--device", "cpu")
        assert code == 0, err
        assert f"wrote {out} (use: voxnas search 'plan=" in said
        assert "training.augment.flip=[0,2]  # axis 1 would exchange front and back" in said
        plans.append(Plan.read(out))
    one, two = plans
    assert one.value("data.patch") == two.value("data.patch") == [24, 32, 24]
    assert one.value("data.spacing_mm") == [1.0, 1.0, 1.0]
    assert one.fingerprint["cases_of_class"] == two.fingerprint["cases_of_class"] == {
        "background": 6, "front": 6, "back": 6,
    }  # fmt: skip
    network = reference_network(one)
    with torch.no_grad():
        assert network.build()(torch.zeros(1, 1, 24, 32, 24)).shape == (1, 3, 24, 32, 24)


def csv_of(folder: Path, ranges: dict[str, tuple[float, float]]) -> Path:
    """Cases of several channels between their ends; those after the first have voxels of another size."""
    rng, lines = np.random.default_rng(0), [",".join([*(f"path_{name}" for name in ranges), "label", "patient"])]
    folder.mkdir()
    for number in range(12):
        for channel, (name, (low, high)) in enumerate(ranges.items()):
            values = rng.uniform(low, high, (16, 16, 16)).astype(np.float32)
            values.ravel()[:2] = values.ravel()[-2:] = low, high
            image = sitk.GetImageFromArray(values)
            image.SetSpacing([1.0 + 0.1 * channel] * 3)
            sitk.WriteImage(image, str(folder / f"{number}_{name}.nii.gz"))
        files = [f"{number}_{name}.nii.gz" for name in ranges]
        lines.append(",".join([*files, "ab"[number % 2], f"p{number}"]))
    (folder / "cases.csv").write_text("\n".join(lines))
    return folder / "cases.csv"


def test_channels_of_different_values_have_no_common_window(tmp_path: Path) -> None:
    """The window of one channel, for which the others would be black or white, or the values of another grid."""
    pet_ct = read_fingerprint(csv_of(tmp_path / "a", {"pet": (0, 20), "ct": (-1000, 1500)}))
    assert [one["most"] for one in pet_ct.intensity()] == [pytest.approx(20), pytest.approx(1500, rel=0.2)]
    eight_bit = read_fingerprint(csv_of(tmp_path / "b", {"t1": (0, 255), "t2": (0, 4095)}))
    for found in (pet_ct, eight_bit):
        assert plan_classification(found, MACHINE, Computed()).value("data.window", default="none") is None
    one = read_fingerprint(csv_of(tmp_path / "c", {"ct": (-1000, 1500)}))
    low, high = plan_classification(one, MACHINE, Computed()).value("data.window")
    assert low < -900
    assert high > 1400


@pytest.mark.parametrize("kind", ["segmentation", "classification", "thick"])
@pytest.mark.parametrize("config", ["search", "train"])
def test_every_decision_is_a_setting(composed: Compose, tmp_path: Path, kind: str, config: str) -> None:
    if kind == "classification":
        cases = [case(str(n), (28, 28, 28), label=int(n % 5 == 0)) for n in range(60)]
        planned = plan_classification(classification(cases), MACHINE, Computed())
    else:
        shape, spacing = ((20, 320, 320), (4.0, 0.6, 0.6)) if kind == "thick" else ((36, 50, 35), (1.0, 1.0, 1.0))
        planned = plan_segmentation(
            segmentation([case(str(n), shape, spacing) for n in range(20)]), MACHINE, Computed()
        )
    planned.write(tmp_path / "plan.yaml")
    arch = ["arch=unet/plain-3d"] if config == "train" else []
    cfg = composed(f"plan={tmp_path / 'plan.yaml'}", *arch, config=config)
    foreign = ("space", "constraints", "study") if config == "train" else ()
    for one in planned.of(config):
        if one.chooses or one.key.startswith(foreign):
            continue
        found = OmegaConf.select(cfg, one.key)
        assert (OmegaConf.to_container(found) if OmegaConf.is_config(found) else found) == one.value
    if kind == "thick":
        assert planned.value("space.strides")[0] == [1, 2, 2]
    if config == "search":
        reference_network(planned)  # is a network of the space
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    (check_search if config == "search" else check_train)(plain, [f"plan={tmp_path / 'plan.yaml'}", *arch])


def test_typed_settings_replace_those_of_the_plan(composed: Compose, plan: Plan, tmp_path: Path) -> None:
    given = f"plan={tmp_path / 'plan.yaml'}"
    cfg = composed(given, "training.epochs=7", "data.patch=null")
    assert cfg.training.epochs == 7
    assert cfg.data.patch is None
    assert cfg.training.lr == plan.value("training.lr")
    other = composed(given, "space=unet")
    assert other.space._target_ == "search_spaces.UNetSpace"
    assert list(other.space.widths) == [4, 8, 16]
    without = composed("plan=null")
    assert without.data._target_ == "nas.data.LidcShapes"


def test_a_plan_may_hold_a_prior_and_objectives(composed: Compose, plan: Plan, tmp_path: Path) -> None:
    changed = tmp_path / "changed.yaml"
    own = "  space.prior: {depth: 2}\n  objectives: {dice: maximize, params: minimize}\n  constraints: "
    changed.write_text((tmp_path / "plan.yaml").read_text().replace("  constraints: ", own))
    cfg = composed(f"plan={changed}", "+space.prior.norm=instance")
    assert cfg.space.prior == {"depth": 2, "norm": "instance"}
    assert cfg.objectives == {"dice": "maximize", "params": "minimize"}
    check_search(OmegaConf.to_container(cfg, resolve=True), [f"plan={changed}"])


def test_a_sweep_composes_each_job_with_its_plan(command: Command, plan: Plan, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text((tmp_path / "plan.yaml").read_text().replace("training.lr: ", "training.rate: "))
    refused(command(run_search.main, "-m", f"plan=plan.yaml,{other.name}"), "training.rate", other.name)
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("training.lr:", "training.rate:"), ("training.rate", "plan.yaml", "training.lr")),
        (("training.lr:", "hydra.run.dir:"), ("hydra.run.dir", "plan.yaml")),
        (("training.batch_size: 2", "training.batch_size: many"), ("training.batch_size=many in", "plan.yaml")),
        (("plan: 1", "plan: 7"), ("which is no plan",)),
    ],
)
def test_a_wrong_plan_is_refused_before_anything_is_made(
    command: Command, plan: Plan, tmp_path: Path, change: tuple[str, str], words: tuple[str, ...]
) -> None:
    path = tmp_path / "plan.yaml"
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    refused(command(run_search.main, f"plan={path}"), *words)
    refused(command(run_train.main, f"plan={path}", "arch=unet/plain-3d"), *words)
    assert [one.name for one in tmp_path.iterdir()] == ["plan.yaml"]


def test_a_missing_plan_and_one_beside_an_experiment_are_refused(
    command: Command, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(command(run_search.main, "plan=none.yaml"), "no file none.yaml")
    refused(command(run_search.main, "plan=plan.yaml", "experiment=demo"), "experiment=...")
    refused(voxnas(capsys, "plan", "nowhere"), "no folder nowhere")
    refused(voxnas(capsys, "plan", ".", "--time", "soon"), "--time soon")


def test_a_step_is_timed_and_its_memory_measured() -> None:
    machine = TimedSteps(torch.device("cpu"), 10**10)
    network = Network(
        **{"space": "unet", "settings": {}, "shape": (16, 16, 16), "batch": 2, "channels": 1, "outputs": 3},
        genes={"depth": 1, "width": 4, "blocks": 1, "kernel": 3, "norm": "instance", "up": "transposed"},
        kind="segmentation",
    )
    cost = machine(network)
    assert 0 < cost.seconds < 60
    assert cost.bytes > 2 * 16**3 * 4 * 4
    assert machine(network) is cost  # measured once
    assert TimedSteps(torch.device("cpu"), 1000)(network).seconds == float("inf")
    untimed = machine(network, timed=False)
    assert untimed.macs == cost.macs
    assert untimed.seconds != untimed.seconds


def test_a_plan_survives_the_way_over_nnunet(plan: Plan, tmp_path: Path) -> None:
    folder = tmp_path / "Dataset001_Two"
    folder.mkdir()
    write_nnunet(plan, folder / "voxnasPlans.json")
    found = read_nnunet(folder / "voxnasPlans.json", plan)
    for key in ("data.spacing_mm", "data.patch", "data.normalise", "training.batch_size", "task.batch_dice"):
        assert found.value(key) == plan.value(key)
    assert found.reference == plan.reference
    content = as_nnunet(found, folder.name, "voxnasPlans")
    assert content == json.loads((folder / "voxnasPlans.json").read_text())
    with torch.device("meta"):
        pair = [reference_network(one).build() for one in (plan, found)]
    assert len({profile(one, (1, 1, 40, 56, 40)).macs for one in pair}) == 1


def nnunet_file(plan: Plan, folder: Path, change: Callable[[dict[str, Any]], None] = lambda content: None) -> Path:
    """A plans file of nnU-Net with a change of its configuration."""
    content = as_nnunet(plan, "Dataset001_Two", "nnUNetPlans")
    change(content["configurations"]["3d_fullres"])
    path = folder / "nnUNetPlans.json"
    path.write_text(json.dumps(content))
    return path


def test_lengths_are_those_of_the_network_of_nnunet(tmp_path: Path) -> None:
    """The plan for a short time crops, and is for a network of 8 channels; nnU-Net's has 32 and sees whole volumes."""
    short = replace(MACHINE, seconds=60.0)
    cases = [
        replace(case(str(n)), reaches_A=tuple(np.eye(1, side, 4, dtype=int)[0] for side in (36, 50, 35)))
        for n in range(20)
    ]
    own = plan_segmentation(segmentation(cases), short, Computed())
    assert own.value("data.crop") is not None
    large = plan_segmentation(segmentation(cases), replace(MACHINE, seconds=1e6), Computed())
    assert large.reference["width0"] == 32
    taken = read_nnunet(nnunet_file(large, tmp_path), own)
    assert taken.value("data.crop") is None
    assert taken.value("data.patches_per_volume") == large.value("data.patches_per_volume")
    machine = Computed()
    timed = with_lengths_of_network(taken, short, machine)
    (network,) = machine.timed
    assert (network.shape, network.batch, network.genes) == (
        tuple(large.value("data.patch")), large.value("training.batch_size"), large.reference,
    )  # fmt: skip
    steps = math.ceil(0.8 * 20 * taken.value("data.patches_per_volume") / network.batch)
    took = timed.value("training.epochs", "train") * steps * machine(network).seconds
    assert took < 0.5 * short.seconds or timed.value("training.epochs", "train") == FEWEST_EPOCHS
    assert timed.value("training.epochs", "train") < own.value("training.epochs", "train")
    assert timed.value("constraints") == large.value("constraints")
    assert timed.value("training.lr") == large.value("training.lr")
    assert len({(one.key, one.command) for one in timed.decisions}) == len(timed.decisions)
    with pytest.raises(NASError, match="GB on cpu"):
        with_lengths_of_network(taken, short, lambda network, timed=True: StepCost(math.inf, 10**10, 1, 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda one: one.update(normalization_schemes=["RescaleTo01Normalization"]), "RescaleTo01Normalization"),
        (lambda one: one.update(normalization_schemes=["ZScoreNormalization"] * 2), "2 channels"),
        (lambda one: one["architecture"]["arch_kwargs"].update(norm_op="torch.nn.BatchNorm3d"), "norm_op BatchNorm3d"),
        (lambda one: one["architecture"]["arch_kwargs"].update(nonlin="torch.nn.ReLU"), "nonlin ReLU"),
    ],
)
def test_what_a_plan_cannot_take_from_nnunet_is_refused(plan: Plan, tmp_path: Path, change: Any, message: str) -> None:
    with pytest.raises(NASError, match=message):
        read_nnunet(nnunet_file(plan, tmp_path, change), plan)


def test_plans_of_a_classification_take_nothing_from_nnunet(plan: Plan, tmp_path: Path) -> None:
    labels = classification([case(str(n), (28, 28, 28), label=n % 2) for n in range(20)])
    with pytest.raises(NASError, match="a plan for classification"):
        read_nnunet(nnunet_file(plan, tmp_path), plan_classification(labels, MACHINE, Computed()))


def test_no_file_of_the_user_is_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.planning.TimedSteps", lambda device, memory: Computed())
    data = csv_of(tmp_path / "a", {"t1": (0, 255)})
    root = folder_of(tmp_path / "b", version2=True)
    (tmp_path / "nnUNetPlans.json").write_text('{"configurations": {"2d": {}, "3d_fullres": {}}}')
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    theirs = tmp_path / "nnUNetPlans.json"
    for words, message in (
        ((data, "--out", data), "which is an input"),
        ((root, "--out", root / "dataset.json"), "a file that is no plan"),
        ((root, "--out", tmp_path / "p.yaml", "--from-nnunet", theirs, "--to-nnunet", theirs), "which is an input"),
        ((root, "--out", tmp_path / "p.yaml", "--to-nnunet", theirs), "plans of nnU-Net"),
    ):
        refused(voxnas(capsys, "plan", *words, "--device", "cpu"), message)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    for _ in range(2):  # a plan, and one with a mistake, are replaced
        words = (root, "--out", tmp_path / "p.yaml", "--to-nnunet", tmp_path / "voxnasPlans.json", "--time", "20s")
        assert voxnas(capsys, "plan", *words, "--device", "cpu")[0] == 0
        (tmp_path / "p.yaml").write_text("plan: 1\ntask: [")


@pytest.mark.slow
def test_search_and_training_follow_a_plan_and_typed_settings_continue_it(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = folder_of(tmp_path / "Two Balls", version2=True, cases=9)
    assert voxnas(capsys, "plan", root, "--time", "20s", "--device", "cpu")[0] == 0
    few = ["study.trials=2", "training.epochs=1", "study.time=null"]
    small = ["space.widths=[[4],[4],[4]]", "space.encoder_blocks=[1]", "space.depths=[1,2]"]
    code, _, err = command(run_search.main, "plan=plan.yaml", *few, *small)
    assert code == 0, err
    arch = tmp_path / "outputs/two_balls/arch.json"
    before = json.loads(arch.read_text())
    replaced = {one.partition("=")[0] for one in (*few, *small)}
    typed = [one for one in Plan.read("plan.yaml").overrides("search") if one.partition("=")[0] not in replaced]
    code, _, err = command(run_search.main, *typed, *few, *small)
    assert code == 0, err
    assert json.loads(arch.read_text()) == before  # the same study, which had ended

    code, out, err = command(run_search.main, "-m", "plan=plan.yaml", "seed=0,1", "dry_run=true", *few, *small)
    assert code == 0, err
    assert "two_balls/seed=0 " in out
    assert "two_balls/seed=1 " in out

    none = ["baselines.intensity=false", "baselines.plain_unet=null", "baselines.random_search=false"]
    words = [f"arch={arch}", "training.epochs=1", "rounds=1", "resamples=20", "name=t", *none]
    code, _, err = command(run_train.main, "plan=plan.yaml", *words)
    assert code == 0, err
    text = Path("plan.yaml").read_text()
    Path("other.yaml").write_text(text.replace("data.spacing_mm: [1.0, 1.0, 1.0]", "data.spacing_mm: [2.0, 2.0, 2.0]"))
    refused(command(run_train.main, "plan=other.yaml", *words), "data.spacing_mm", "plan=other.yaml")
