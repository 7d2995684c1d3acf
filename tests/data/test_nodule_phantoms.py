"""Phantom nodules: boxes that fit what is drawn, in synthetic chests, blocks and real CT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from nas.data.sources.nodule_phantoms import NodulePhantoms, lung_of
from nas.data.store import VolumeStore
from nas.data.transforms.ct_slices import WINDOWS_HU, fitted, windowed
from nas.errors import NASError


def phantoms(cache: Path | str = ".", **arguments: Any) -> NodulePhantoms:
    return NodulePhantoms(str(cache), **{"patients": 4, "slices": 3, "size": 96, "radius_mm": (12.0, 20.0)} | arguments)


def test_a_store_of_boxes_the_same_twice(tmp_path: Path) -> None:
    store = phantoms(tmp_path).prepare()
    assert (store.kind, store.dims, store.classes) == ("detection", 2, ("nodule",))
    assert (len(store), len(set(store.groups)), store.unit) == (12, 4, "phantom")
    again = phantoms(tmp_path / "again").prepare()
    assert again.sha256 == store.sha256
    assert phantoms(tmp_path / "other", seed=1).prepare().sha256 != store.sha256


@pytest.mark.parametrize("arguments", [{}, {"dims": 3, "size": 32, "radius_mm": (6.0, 12.0), "slices": 2}])
def test_a_box_holds_its_nodule_and_nothing_of_it_is_outside(arguments: dict[str, Any]) -> None:
    """Inside the lung nodules are the only large bright things: mean grey value in a box's core and around it."""
    checked = 0
    for sample in phantoms(negatives=0.0, **arguments).samples():
        grey = sample.volume_CDHW[0].astype(float)
        assert sample.boxes_M7 is not None
        for box in sample.boxes_M7:
            low, high = box[:3], box[3:6]
            middle, half = (low + high) / 2, (high - low) / 2
            axes = np.meshgrid(*(np.arange(side) + 0.5 for side in grey.shape), indexing="ij")
            reach = np.sqrt(sum(((a - m) / h) ** 2 for a, m, h in zip(axes, middle, half, strict=True)))
            if grey.shape[0] == 1:
                reach = np.sqrt(sum(((a - m) / h) ** 2 for a, m, h in list(zip(axes, middle, half, strict=True))[1:]))
            core, around = grey[reach < 0.7], grey[(reach > 1.25) & (reach < 1.5)]
            assert core.mean() > 170
            assert np.median(around) < core.mean() - 50
            checked += 1
    assert checked >= 8


def test_images_without_a_nodule_and_their_number() -> None:
    counts = [len(sample.boxes_M7) for sample in phantoms(patients=20, negatives=0.5, size=64).samples()]  # type: ignore[arg-type]
    assert 0.3 < np.mean(np.array(counts) == 0) < 0.7
    assert set(counts) <= {0, 1, 2, 3}
    assert max(counts) > 1


def test_nodules_in_real_ct(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "lung1_ct" / "lung1_image.nrrd"
    if not path.is_file():
        pytest.skip(f"no {path}")
    store = phantoms(tmp_path, backgrounds=[path], size=128, radius_mm=(8.0, 15.0)).prepare()
    assert store.unit == "block of slices"
    assert all(name.startswith("lung1_image.nrrd-") for name in store.groups)
    assert (store.boxes_NM7[..., -1] >= 0).sum() >= 6  # type: ignore[index]


def test_a_ct_without_lungs(tmp_path: Path) -> None:
    solid = sitk.GetImageFromArray(np.full((4, 32, 32), 40, dtype=np.int16))
    sitk.WriteImage(solid, tmp_path / "solid.nrrd")
    with pytest.raises(NASError, match="shows lungs"):
        phantoms(tmp_path, backgrounds=[tmp_path / "solid.nrrd"]).prepare()


def test_lung_is_air_inside_a_body() -> None:
    hu = np.full((64, 64), -1000.0)
    hu[8:56, 8:56] = 40.0
    hu[20:40, 15:30] = -850.0
    hu[50, 50] = -850.0  # too small
    expected = np.zeros((64, 64), dtype=bool)
    expected[20:40, 15:30] = True
    np.testing.assert_array_equal(lung_of(hu), expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("patients", 0),
        ("size", 8),
        ("dims", 4),
        ("radius_mm", (5.0, 2.0)),
        ("most", 0),
        ("negatives", 1.0),
        ("windows", ()),
        ("windows", ("bone",)),
    ],
)
def test_arguments_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(NASError, match=name):
        phantoms(**{name: value})


def test_windows_and_size_by_hand() -> None:
    hu = np.array([[-2000.0, -1350, -600], [150, 900, -160]])
    lung, mediastinum = windowed(hu, ("lung", "mediastinum"))
    np.testing.assert_allclose(lung, [[0, 0, 0.5], [1, 1, (-160 + 1350) / 1500]], atol=1e-6)
    np.testing.assert_allclose(mediastinum, [[0, 0, 0], [(150 + 160) / 400, 1, 0]], atol=1e-6)
    assert set(WINDOWS_HU) == {"lung", "mediastinum"}
    image, factor = fitted(np.full((1, 20, 40), 0.5), 10)
    assert factor == 0.25
    assert (image[0, :5] == 128).all()
    assert (image[0, 5:] == 0).all()
    same, one = fitted(np.full((1, 16, 16), 1.0), 16)
    assert (one, same.dtype, int(same.min())) == (1.0, np.uint8, 255)


def test_the_store_says_how_its_slices_were_made(tmp_path: Path) -> None:
    store = phantoms(tmp_path, windows=("lung", "mediastinum")).prepare()
    assert store.shape == (2, 1, 96, 96)
    assert VolumeStore(store.path).provenance["arguments"]["windows"] == ["lung", "mediastinum"]
