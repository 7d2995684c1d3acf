"""Training a segmentation: in 2D and 3D, in bf16, resumed bit for bit, by the evaluator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nas.architecture import Architecture
from nas.data.loading import VolumeSet
from nas.data.sample import Sample
from nas.data.store_writer import write_store
from nas.data.transforms.augment import Augment
from nas.evaluators.train import Train
from nas.history import Proposal
from nas.task_spec import TaskSpec
from nas.tasks.segmentation import Segmentation
from nas.training.loop import FitResult, fit, predict
from nas.training.precision import autocast
from nas.training.settings import TrainingSettings
from search_spaces.unet import UNetSpace
from search_spaces.unet_network import UNet
from tests.problems import context_in, problem_of

SIDE, CPU = 16, torch.device("cpu")
SETTINGS = TrainingSettings(
    epochs=5, batch_size=4, lr=0.02, precision="fp32", augment=Augment(flip=(0, 1, 2), shift=1, rotate=10, cutout=3)
)
Parts = tuple[VolumeSet, VolumeSet]


def ball_parts(folder: Path, dims: int) -> Parts:
    """Bright balls in noise; a slice is a volume with D = 1."""
    rng = np.random.default_rng(0)
    samples = []
    for number in range(18):
        middle, radius = rng.uniform(5, 11, 3), rng.uniform(3, 5)
        middle[0] = 0 if dims == 2 else middle[0]
        at = np.indices((1 if dims == 2 else SIDE, SIDE, SIDE)) - middle[:, None, None, None]
        mask = (at**2).sum(axis=0) < radius**2
        volume = rng.normal(90, 30, mask.shape) + 60 * mask
        samples.append(Sample(f"s{number}", volume.clip(0, 255).astype(np.uint8)[None], 0, f"p{number}", mask_DHW=mask))
    store = write_store(
        folder / f"balls{dims}.h5", samples, name="balls", classes=("noise", "ball"), provenance={}, scale=1 / 255
    )
    return VolumeSet(store, range(12), "cpu"), VolumeSet(store, range(12, 18), "cpu")


@pytest.fixture(scope="module", params=[2, 3])
def parts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Parts:
    return ball_parts(tmp_path_factory.mktemp("balls"), request.param)


def network(parts: Parts, norm: str = "batch", up: str = "transposed") -> tuple[UNet, Segmentation]:
    torch.manual_seed(0)
    dims = parts[0].store.dims
    return UNet(dims, 1, 2, depth=2, width=4, blocks=1, kernel=3, norm=norm, up=up), Segmentation(dims=dims)


def train(
    parts: Parts, settings: TrainingSettings, folder: Path | None = None, kill_after: int = 0
) -> tuple[FitResult, nn.Module]:
    def on_epoch(epoch: int, *rest: object) -> None:
        if epoch == kill_after:
            raise KeyboardInterrupt

    model, task = network(parts)
    return fit(model, task, *parts, settings, seed=1, device=CPU, folder=folder, on_epoch=on_epoch), model


def test_it_learns_and_keeps_the_epoch_of_the_best_dice(parts: Parts) -> None:
    result, model = train(parts, replace(SETTINGS, epochs=12, augment=None))
    scores = [row["dice"] for row in result.history]
    assert result.metrics["dice"] == max(scores) > 0.8
    assert scores[result.best_epoch - 1] == max(scores)
    task = network(parts)[1]
    prediction = predict(model, task, parts[1], 4)
    assert prediction.shape == (6, 2, *parts[1].shape[1:])
    np.testing.assert_allclose(prediction.sum(axis=1), 1, atol=1e-5)
    assert task.score(prediction, parts[1].targets, quick=True).over() == {"dice": max(scores), "dice_1": max(scores)}
    assert task.score(prediction, parts[1].targets).over()["hd95"] < 6


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_killed_and_resumed_is_the_uninterrupted_training(parts: Parts, tmp_path: Path, precision: str) -> None:
    settings = replace(SETTINGS, precision=precision)
    straight, model = train(parts, settings)
    with pytest.raises(KeyboardInterrupt):
        train(parts, settings, tmp_path, kill_after=3)
    resumed, again = train(parts, settings, tmp_path)
    assert replace(straight, seconds=0) == replace(resumed, seconds=0)
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("up", ["transposed", "resize"])
@pytest.mark.parametrize("kernel", [3, 5])
def test_gradients_in_bf16_are_those_of_fp32(dims: int, up: str, kernel: int) -> None:
    """Down to a bottom of 2 voxels a side, where kernels of the CPU library have been wrong."""
    torch.manual_seed(0)
    model = UNet(dims, 1, 2, depth=3, width=4, blocks=1, kernel=kernel, norm="group", up=up)
    model = model.to(memory_format=torch.channels_last_3d if dims == 3 else torch.channels_last)  # type: ignore[call-overload]
    x, y = torch.rand(2, 1, *[16] * dims), torch.randint(0, 2, (2, *[16] * dims))
    gradients = []
    for bf16 in (False, True):
        model.zero_grad()
        with autocast(CPU, bf16):
            output = model(x)
        Segmentation(dims=dims).loss(output, y).backward()
        gradients.append([parameter.grad.flatten().clone() for parameter in model.parameters()])  # type: ignore[union-attr]
    together = [torch.cat(part) for part in gradients]
    assert torch.isfinite(together[1]).all()
    assert torch.cosine_similarity(*together, dim=0) > 0.95


def test_the_evaluator_trains_members_of_the_space(parts: Parts, tmp_path: Path) -> None:
    dims = parts[0].store.dims
    space = UNetSpace(depths=(1, 2), widths=(4,), block_counts=(1,), kernels=(3,), spatial_dims=dims)
    task = Segmentation(dims=dims)
    problem = problem_of(space, {"dice": "maximize"}, task=task, shape=parts[0].shape)
    context = context_in(tmp_path, *parts)
    arch: Architecture = space.architecture((1, 0, 0, 0, 1, 1))
    first = Train(replace(SETTINGS, epochs=1)).evaluate(Proposal(arch), problem, context)
    again = Train(replace(SETTINGS, epochs=1)).evaluate(
        Proposal(arch), problem, replace(context, folder=tmp_path / "again")
    )
    assert set(first) == {"dice", "dice_1", "epochs", "seconds", "collapsed"}
    assert first["dice"] == again["dice"]
    assert task.spec == TaskSpec("segmentation", dims, 1, 2)
