"""Mirrored and turned views: the group that they form, the way back, and equal predictions of torch and numpy."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from experiments.commands.network_options import use_views
from nas.data.transforms.augment import Augment, turned
from nas.errors import NASError
from nas.export.torch_network import BundleNetwork
from nas.inference.model_spec import ModelSpec, Port, Sides
from nas.inference.runtime import InferenceNetwork
from nas.tasks.classification import Classification
from nas.tasks.segmentation import Segmentation
from nas.tasks.views import one_view
from nas.training.requirements import require_options, shown_views
from nas.training.settings import TrainingSettings
from nas.utils.views import PLANES, View, plane_axes, views
from tests.training.blobs import blob_store, halves

FLIPS = st.sets(st.sampled_from((0, 1, 2))).map(lambda axes: tuple(sorted(axes)))
ROTATIONS = st.sets(st.sampled_from(PLANES)).map(lambda planes: tuple(sorted(planes)))


@settings(deadline=None)
@given(FLIPS, ROTATIONS)
def test_views_are_different_begin_with_the_image_and_are_undone(
    flips: tuple[int, ...], rotations: tuple[str, ...]
) -> None:
    x = np.arange(2 * 3 * 4 * 4 * 4).reshape(2, 3, 4, 4, 4)
    every = views(3, flips, rotations)
    assert every[0] == View((0, 1, 2))
    seen = {view.of(x).tobytes() for view in every}
    assert len(seen) == len(every)
    for view in every:
        np.testing.assert_array_equal(view.undone(view.of(x)), x)
    expected = {x.tobytes()}
    for axes in product(*[(None, 2 + axis) for axis in flips]):
        mirrored = np.flip(x, tuple(axis for axis in axes if axis is not None))
        for quarters in product(range(4), repeat=len(rotations)):
            view = mirrored
            for plane, count in zip(rotations, quarters, strict=True):
                first, second = plane_axes(plane, 3)
                view = np.rot90(view, count, (2 + first, 2 + second))
            expected.add(view.tobytes())
    assert seen == expected  # by rot90 and flip of numpy


@pytest.mark.parametrize(
    ("flips", "rotations", "count"),
    [((), (), 1), ((0, 2), (), 4), ((), ("HW",), 4), ((1, 2), ("HW",), 8), ((), PLANES, 24), ((0, 1, 2), PLANES, 48)],
)
def test_the_number_of_views(flips: tuple[int, ...], rotations: tuple[str, ...], count: int) -> None:
    """All rotations of a cube are 24, with its mirror images 48."""
    assert len(views(3, flips, rotations)) == count


class Uneven(nn.Module):
    """A network whose output changes with every view: classes of the image, or of each voxel."""

    def __init__(self, dims: int, voxels: bool) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layer, self.voxels = (nn.Conv2d if dims == 2 else nn.Conv3d)(1, 3, 3, padding=1), voxels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = 3 * self.layer(x)
        return logits if self.voxels else logits.relu().flatten(2).amax(dim=2)


def numpy_network(
    model: nn.Module, task: Any, shape: tuple[int, ...], facts: dict[str, Any] | None = None
) -> InferenceNetwork:
    def run(x: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            return [model(torch.from_numpy(x)).numpy()]

    axes = ("batch", 1, *shape)
    spec = ModelSpec(
        task={"kind": task.spec.kind, "dims": task.spec.dims},
        inputs=(Port("image", "BCDHW"[: len(axes)], axes),),
        outputs=(Port("logits", "BK", ("batch", 3), ("a", "b", "c")),),
        sides=Sides(),
        inference=dict(task.inference),
        facts=facts or {},
    )
    return InferenceNetwork(spec, run, Path("model.onnx"))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("window", [None, 4, "classification"])
def test_numpy_and_torch_predict_alike(dims: int, window: Any) -> None:
    flips, rotations = ((1,), ("HW",)) if dims == 2 else ((0,), ("HW", "DW"))
    voxels = window != "classification"
    sides = (6,) * dims if not voxels or window is None else (5, 6, 7)[:dims]
    model, x = Uneven(dims, voxels), torch.rand(2, 1, *sides)
    views_of: dict[str, Any] = {"outputs": 3, "dims": dims, "flips": flips, "rotations": rotations}
    task: Any = Segmentation(window=window, precision="fp32", **views_of) if voxels else Classification(**views_of)
    found = task.predict(model, x)
    plain = one_view(task)
    assert (task.flips, plain.flips) == (flips, ())
    every, parts = views(dims, flips, rotations), []
    for view in every:
        seen = plain.predict(model, torch.from_numpy(np.ascontiguousarray(view.of(x.numpy())))).numpy()
        parts.append(view.undone(seen) if voxels else seen)
    np.testing.assert_allclose(found.numpy(), np.mean(parts, axis=0), atol=1e-6)
    assert not np.allclose(found.numpy(), parts[0], atol=1e-3)
    np.testing.assert_allclose(numpy_network(model, task, sides).probabilities(x.numpy()), found.numpy(), atol=1e-6)


def test_a_bundle_makes_the_views_once() -> None:
    """The runtime makes the views of a classifier, so that its task must not make them again."""
    task, calls = Classification(outputs=3, flips=(0, 1)), []

    class Counting(Uneven):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            calls.append(len(x))
            return super().forward(x)

    network: Any = object.__new__(BundleNetwork)
    network.model, network.task, network.device = Counting(3, False), task, torch.device("cpu")
    network.spec, network.path = numpy_network(network.model, task, (4, 4, 4)).spec, Path("x")
    x = torch.rand(1, 1, 4, 4, 4)
    found = network.probabilities(x.numpy())
    assert len(calls) == 4
    np.testing.assert_allclose(found, task.predict(network.model, x).numpy(), atol=1e-6)


@pytest.mark.parametrize("plane", PLANES)
def test_turns_of_a_batch_are_rot90(plane: str) -> None:
    x, quarters = torch.rand(5, 2, 4, 4, 4), torch.tensor([0, 1, 2, 3, 1])
    axes = [2 + axis for axis in plane_axes(plane, 3)]
    expected = torch.stack([one.rot90(int(q), [a - 1 for a in axes]) for one, q in zip(x, quarters, strict=True)])
    assert torch.equal(turned(x, quarters, plane), expected)


@pytest.mark.parametrize("dims", [2, 3])
def test_augmentation_turns_masks_with_their_volumes(dims: int) -> None:
    mask = torch.randint(3, (16, *(6,) * dims))
    augment = Augment(turns=("HW",) if dims == 2 else PLANES)
    x, moved = augment.with_mask(mask[:, None].float(), mask, torch.Generator().manual_seed(0))
    assert torch.equal(x[:, 0].long(), moved)
    assert 4 < sum(not torch.equal(a, b) for a, b in zip(mask, moved, strict=True)) <= 16
    with pytest.raises(NASError, match=r"turns=.* for boxes"):
        augment.with_boxes(x, torch.zeros(16, 1, 2 * dims + 1), torch.Generator())


@pytest.mark.parametrize(
    ("task", "augment", "message"),
    [
        (
            {"flips": (0, 2)},
            Augment(flip=(2,)),
            r"task.flips=\[0,2\] with training.augment.flip without \[0\].*to \[2\]",
        ),
        ({"flips": (1,)}, None, r"task.flips=\[1\] with training.augment.flip without \[1\]"),
        ({"rotations": ("HW",)}, Augment(turns=("DH",)), r"task.rotations=\[HW\] with training.augment.turns"),
        ({"flips": (2,), "rotations": ("DW",)}, Augment(flip=(2,), turns=("DW",)), None),
        ({"rotations": ("DW",)}, Augment(rotate=90), None),
    ],
)
def test_views_that_the_training_does_not_show_are_refused(
    task: dict[str, Any], augment: Augment | None, message: str | None, tmp_path: Path
) -> None:
    train, _ = halves(blob_store(tmp_path / "blobs.h5", n=6))
    chosen = TrainingSettings(augment=augment)
    if message is None:
        require_options(train, Classification(**task), chosen)
        return
    with pytest.raises(NASError, match=message):
        require_options(train, Classification(**task), chosen)


def test_axes_of_slices_are_those_of_their_own() -> None:
    """An axis of `augment.flip` is one of (D, H, W), that of `task.flips` of slices one of (H, W)."""
    chosen = TrainingSettings(augment=Augment(flip=(0, 2), turns=PLANES))
    assert shown_views(chosen, 2) == {"flips": [1], "rotations": ["HW"]}
    assert shown_views(chosen, 3) == {"flips": [0, 2], "rotations": list(PLANES)}
    assert shown_views(replace(chosen, augment=None), 3) == {"flips": [], "rotations": []}


def test_planes_that_are_not_isotropic_are_refused(tmp_path: Path) -> None:
    store = blob_store(tmp_path / "blobs.h5", n=6)
    Classification(rotations=PLANES).require_data(store)  # spacing unknown
    store.spacing_mm[:] = (3.0, 1.0, 1.0)
    Classification(rotations=("HW",)).require_data(store)
    with pytest.raises(NASError, match=r"task.rotations=\[DW\] for voxels of 3 x 1 mm"):
        Classification(rotations=("DW",)).require_data(store)
    with pytest.raises(NASError, match="for slices"):
        Classification(dims=2, rotations=("DW",))
    with pytest.raises(NASError, match=r"task.rotations=\[.*HX"):
        Segmentation(rotations=("HX",))


def test_options_of_a_prediction_choose_views_that_the_training_showed() -> None:
    facts = {"trained": {"views": {"flips": [2], "rotations": ["HW"]}}}
    network = numpy_network(Uneven(3, True), Segmentation(outputs=3, precision="fp32"), (4, 4, 4), facts)
    options: Any = SimpleNamespace(flips="2", rotations="HW")
    use_views([network], options)
    assert (network.spec.inference["flips"], network.spec.inference["rotations"]) == ((2,), ("HW",))
    use_views([network], SimpleNamespace(flips="none", rotations="none"))  # type: ignore[arg-type]
    assert (network.spec.inference["flips"], network.spec.inference["rotations"]) == ((), ())
    for flips, rotations, message in (
        ("0", None, "flips 0 with model.onnx, whose training showed no such views; expected some of 2"),
        (None, "DW", "rotations DW with"),
        (None, "XY", "--rotations XY"),
    ):
        with pytest.raises(NASError, match=message):
            use_views([network], SimpleNamespace(flips=flips, rotations=rotations))  # type: ignore[arg-type]
