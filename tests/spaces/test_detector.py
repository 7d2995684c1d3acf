"""The detector family: what its networks give, on U-Nets and classification networks, in 2D and 3D."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from nas.artifact import Artifact, load
from nas.cost.model import CostModel
from nas.errors import NASError
from nas.task_spec import TaskSpec
from nas.tasks.detection import Detection, Points
from nas.testing import check_space
from search_spaces.detector import DetectorSpace
from search_spaces.unet import UNetSpace

UNET: dict[str, Any] = {"depths": [1, 2], "widths": [4], "block_counts": [1], "kernels": [3], "norms": ["group"]}
NASLUNG: dict[str, Any] = {"widths": [4, 8], "max_depth": 4, "head": "softmax"}


def flat(**others: Any) -> DetectorSpace:
    return DetectorSpace(settings={**UNET, "spatial_dims": 2}, **others)


@pytest.mark.parametrize(
    "space",
    [
        flat(),
        DetectorSpace(settings=UNET, stems=[1]),
        DetectorSpace("search_spaces.naslung.NASLungSpace", NASLUNG, stems=[1, 2]),
    ],
    ids=["unet 2D", "unet 3D", "naslung"],
)
def test_conformance(space: DetectorSpace) -> None:
    check_space(space, input_shape=(1, *(16,) * space.spatial_dims))
    every = space.enumerate()
    assert every is not None
    assert len(every) == len(space._backbone.enumerate()) * len(space.stems) * 4  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("space", "sides", "strides"),
    [
        (flat(stems=[1]), (16, 24), (1, 2)),
        (flat(stems=[4]), (32, 16), (4, 8)),
        (DetectorSpace(settings=UNET, stems=[2]), (16, 8, 8), (2, 4)),
        (DetectorSpace("search_spaces.naslung.NASLungSpace", NASLUNG, stems=[1]), (8, 8, 16), (1, 2, 4, 8)),
    ],
)
def test_points_cover_the_image_at_every_stride(
    space: DetectorSpace, sides: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    arch = space.repair([0] * len(space.genes))
    task = TaskSpec("detection", len(sides), 2, 3)
    network = space.build(arch, task).eval()
    with torch.no_grad():
        points = Points.of(network(torch.rand(2, 2, *sides)), task)
    n, start = len(sides), 0
    for stride in strides:
        count = int(np.prod([side // stride for side in sides]))
        level = slice(start, start + count)
        assert (points.stride[level] == stride).all()
        assert len(points.place[level].unique(dim=0)) == count
        torch.testing.assert_close(points.place[level].mean(dim=0), torch.tensor(sides) / 2.0)
        assert points.place[start].tolist() == [stride / 2] * n
        assert points.place[start + 1].tolist() == [stride / 2] * (n - 1) + [stride * 1.5]  # the last axis runs first
        start += count
    assert start == len(points.stride)
    assert points.centre.shape == (2, 3, start)
    assert points.boxes.shape == (2, start, 2 * n)
    assert (points.boxes[..., n:] > points.boxes[..., :n]).all()
    assert points.centre.sigmoid().mean().item() == pytest.approx(0.01, abs=0.01)  # few points hold an object


def test_a_detector_learns_two_images_by_heart() -> None:
    torch.manual_seed(0)
    space, task = flat(stems=[2]), Detection(dims=2, outputs=2)
    model = space.build(space.repair([0] * len(space.genes)), task.spec)
    x = 0.1 * torch.rand(2, 1, 32, 32)
    x[0, 0, 4:12, 6:14], x[1, 0, 16:28, 10:22] = 1.0, 0.6
    y = torch.tensor([[[4.0, 6, 12, 14, 0]], [[16.0, 10, 28, 22, 1]]])
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(100):
        optimiser.zero_grad()
        task.loss(model(x), y).backward()
        optimiser.step()
    found = task.score(task.predict(model, x).numpy(), y.numpy()).over()
    assert found["map50"] == pytest.approx(1.0)


def test_the_backbone_of_a_segmentation_network_is_that_network() -> None:
    """The same weights give, through the head, what the network gives."""
    space = UNetSpace(**UNET, spatial_dims=2)
    arch = space.repair([1] * len(space.genes))
    network, features = space.build(arch).eval(), space.features(arch, 1).eval()
    features.network.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("head")})
    x = torch.rand(1, 1, 16, 16)
    maps = features(x)
    assert [one.shape[1] for one in maps] == list(features.channels) == [4, 8, 16]
    assert [one.shape[2] for one in maps] == [16, 8, 4]
    torch.testing.assert_close(network.head(maps[0]), network(x))


def test_arch_json_builds_the_same_network(tmp_path) -> None:  # type: ignore[no-untyped-def]
    space = flat()
    arch = space.sample(np.random.default_rng(3))
    task = TaskSpec("detection", 2, 1, 2)
    Artifact(space, arch, task).save(tmp_path / "arch.json")
    again = load(tmp_path / "arch.json")
    torch.manual_seed(0)
    first = space.build(arch, task)
    torch.manual_seed(0)
    second = again.build()
    x = torch.rand(1, 1, 16, 16)
    torch.testing.assert_close(first(x), second(x))
    content = json.loads((tmp_path / "arch.json").read_text())
    content["space"]["arguments"]["backbone"] = "os.system"
    (tmp_path / "arch.json").write_text(json.dumps(content))
    with pytest.raises(NASError, match=r"os\.system"):
        load(tmp_path / "arch.json")


def test_larger_genes_never_make_it_cheaper() -> None:
    space = flat()
    task = TaskSpec("detection", 2, 1, 1)
    cost, rng = CostModel(space, task, (1, 32, 32), "macs"), np.random.default_rng(0)
    for _ in range(4):
        arch = space.sample(rng)
        gene = int(rng.choice(np.flatnonzero(space.ordered)))
        larger = space.repair([g + (i == gene) for i, g in enumerate(arch.genes)])
        assert cost.of(larger) >= cost.of(arch)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"backbone": "search_spaces.detector.DetectorSpace"}, "backbone"),
        ({"backbone": "search_spaces.unet.Missing"}, "backbone"),
        ({"backbone": "search_spaces.detector.SearchSpace"}, "backbone"),
        ({"backbone": "pathlib.Path"}, "backbone"),
        ({"settings": {"nothing": 1}}, "space.settings"),
        ({"stems": [3]}, "stems"),
        ({"pyramids": [6]}, "pyramids"),
        ({"heads": []}, "heads"),
        ({"outputs": 0}, "outputs"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(NASError, match=said):
        DetectorSpace(**arguments)


def test_what_does_not_fit() -> None:
    space = flat(stems=[4])
    arch = space.repair([0] * len(space.genes))
    with pytest.raises(NASError, match="multiples of 4"):
        space.build(arch)(torch.rand(1, 1, 18, 16))
    with pytest.raises(NASError, match="spatial_dims=3"):
        space.build(arch, TaskSpec("detection", 3, 1, 1))
    with pytest.raises(NASError, match="task=detection"):
        space.require_kind(TaskSpec("segmentation", 2, 1, 2))
    dints = DetectorSpace("search_spaces.dints.DiNTSSpace", {})
    with pytest.raises(NASError, match="as a backbone"):
        dints.build(dints.repair([0] * len(dints.genes)))
