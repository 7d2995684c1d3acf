"""Decathlon folders: orientation, spacing, intensities, padded volumes, drawn patches, statistics."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn

import run_search
import run_train
from nas.data.loading import VolumeSet
from nas.data.sources.msd import Msd
from nas.data.splits import Split
from nas.data.store import VolumeStore
from nas.data.transforms.intensity import Intensity
from nas.data.transforms.patches import LOCATED, Patches, bounds, draw
from nas.errors import NASError
from nas.tasks.segmentation import Segmentation
from nas.training.loop import fit, predict
from nas.training.settings import TrainingSettings
from search_spaces.unet_network import UNet
from tests.commands import Command
from tests.data.test_masks import masked_samples, store_of
from tests.data.written_decathlon import case, edit_description, prepared, world_value, write_decathlon, write_nifti

CPU = torch.device("cpu")
CODES = ("RAS", "LPS", "PIR", "SLA")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_decathlon(tmp_path / "boxes")


def real_part(store: VolumeStore, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Volume (C, D, H, W) and mask without the padding."""
    assert store.extents_N3 is not None
    low, high = (ends[0] for ends in bounds(store.shape[1:], store.extents_N3[[row]]))
    inside = tuple(map(slice, low, high))
    return store.read([row])[0][(slice(None), *inside)], store.targets([row])[0][inside]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_orientation_becomes_lps(tmp_path: Path) -> None:
    store = prepared(write_decathlon(tmp_path, codes=CODES), normalise="training")
    assert (store.kind, store.classes, store.dtype) == ("segmentation", ("background", "front", "back"), np.float32)
    assert store.shape == (1, 16, 32, 16)  # the largest, 13 x 18 x 14, up to multiples of 16
    for row in range(6):
        volume, mask = real_part(store, row)
        right, front, head = (side + row % 3 * 2 for side in (10, 14, 9))
        assert mask.shape == (head, front, right)
        up, back, left = np.indices(mask.shape)
        np.testing.assert_allclose(volume[0], world_value(left - right + 1, back - front + 1, up), rtol=1e-5)
        image, label = case((right, front, head))
        np.testing.assert_array_equal(mask, label.transpose(2, 1, 0)[:, ::-1, ::-1])
        np.testing.assert_allclose(volume[0], image.transpose(2, 1, 0)[:, ::-1, ::-1], rtol=1e-5)
        assert np.argwhere(mask == 1)[:, 1].max() < np.argwhere(mask == 2)[:, 1].min()  # the front comes first


def test_spacing_is_the_one_asked_for(tmp_path: Path) -> None:
    root = write_decathlon(tmp_path, codes=CODES, mm=(1.0, 2.0, 3.0))
    np.testing.assert_allclose(prepared(root).spacing_mm, [[3, 2, 1]] * 6)
    store = prepared(root, spacing_mm=[1.5, 1.5, 2.0], normalise="training")
    np.testing.assert_allclose(store.spacing_mm, [[1.5, 1.5, 2.0]] * 6)
    assert store.extents_N3 is not None
    for row, extent in enumerate(store.extents_N3.tolist()):
        right, front, head = (side + row % 3 * 2 for side in (10, 14, 9))
        assert extent == [2 * head, round(front * 2 / 1.5), right // 2]
        volume, mask = real_part(store, row)
        assert set(np.unique(mask)) == {0, 1, 2}
        # the grid lies in the middle of the volume, where a linear image has its mean; inside it stays linear
        middle = world_value(-(right - 1) / 2, -(front - 1) * 2 / 2, (head - 1) * 3 / 2)
        assert volume.mean() == pytest.approx(middle, rel=0.01)
        inner = volume[0, 2:-2, 2:-2, 1:-1]
        np.testing.assert_allclose(np.diff(inner, axis=0), 7 * 1.5, rtol=1e-3)
        np.testing.assert_allclose(np.diff(inner, axis=1), 3 * 1.5, rtol=1e-3)


def test_modalities_are_channels(tmp_path: Path) -> None:
    root = write_decathlon(tmp_path, count=3)
    edit_description(root, modality={"0": "T1", "1": "T2"})
    for path in sorted((root / "imagesTr").iterdir()):
        voxels = np.asarray(nib.load(path).dataobj)
        write_nifti(path, np.stack([voxels, 50 - voxels], axis=-1))
    store = prepared(root)
    assert store.shape[0] == 2
    first, second = real_part(store, 0)[0]
    np.testing.assert_allclose(first, -second, atol=1e-4)


def test_each_volume_is_standardised_by_itself(tmp_path: Path) -> None:
    store = prepared(write_decathlon(tmp_path, gains=(1.0, 1000.0, 0.01)))
    assert not store.by_training
    for row in range(len(store)):
        volume, _ = real_part(store, row)
        assert abs(volume.mean()) < 1e-3
        assert volume.std() == pytest.approx(1, abs=1e-3)
        assert store.read([row]).sum() == pytest.approx(volume.sum(), abs=1e-2)  # padded with 0


def test_remembered_voxels_are_of_their_class_and_real(folder: Path) -> None:
    store = prepared(folder)
    assert store.located_NKM is not None
    assert store.extents_N3 is not None
    low_N3, high_N3 = bounds(store.shape[1:], store.extents_N3)
    for row, located_KM in enumerate(store.located_NKM):
        assert located_KM.shape == (3, LOCATED)
        mask_V = store.targets([row])[0].ravel()
        for number, found in enumerate(located_KM):
            assert (mask_V[found] == number).all()
            at = np.stack(np.unravel_index(found, store.shape[1:]), axis=1)
            assert ((at >= low_N3[row]) & (at < high_N3[row])).all()
        assert set(located_KM[1]) == set(np.flatnonzero(mask_V == 1))  # fewer than LOCATED: all of them


def test_classes_are_drawn_equally_often(folder: Path) -> None:
    store = prepared(folder, patch=[4, 6, 4], patches_per_volume=7)
    assert store.input_shape == (1, 4, 6, 4)
    assert store.patches is not None
    assert store.extents_N3 is not None
    assert store.located_NKM is not None
    drawn = draw(store.patches, store.shape[1:], store.extents_N3, store.located_NKM, generator())
    assert np.bincount(drawn.rows_P).tolist() == [7] * 6
    assert np.bincount(drawn.classes_P).tolist() == [14] * 3
    for start in range(len(drawn.classes_P) - 3):
        assert set(drawn.classes_P[start : start + 3]) == {0, 1, 2}  # of any batch
    low_N3, high_N3 = bounds(store.shape[1:], store.extents_N3)
    assert (drawn.corners_P3 >= low_N3[drawn.rows_P]).all()
    assert (drawn.corners_P3 + np.array([4, 6, 4]) <= high_N3[drawn.rows_P]).all()
    _, masks = store.read_patches(drawn.rows_P, drawn.corners_P3)
    for mask, number in zip(masks, drawn.classes_P, strict=True):
        assert (mask == number).any()
        if number:  # these lie far enough from the border to be in the middle
            assert mask[2, 3, 2] == number


def test_a_volume_without_a_class_gives_another() -> None:
    located = np.zeros((2, 3, LOCATED), dtype=np.int32)
    located[1, 2] = -1
    drawn = draw(Patches((2, 2, 2), 300), (4, 4, 4), np.full((2, 3), 4), located, generator())
    first, second = (np.bincount(drawn.classes_P[drawn.rows_P == row], minlength=3) for row in (0, 1))
    assert second[2] == 0
    assert abs(second[0] - second[1]) < 60
    assert first.sum() == second.sum() == 300


def test_a_patch_larger_than_a_volume_holds_all_of_it(folder: Path) -> None:
    store = prepared(folder, patch=16)
    for x, y in VolumeSet(store, range(6), "cpu").batches(2, generator=generator()):
        assert x.shape[1:] == (1, 16, 16, 16)
        assert (y > 0).flatten(1).sum(1).min() >= 100


def test_patches_follow_the_generator_only(folder: Path) -> None:
    store = prepared(folder, patch=[4, 6, 4], patches_per_volume=2)
    resident, streamed = (VolumeSet(store, [5, 0, 3, 2], "cpu", limit) for limit in (2048, 0))

    def batches(part: VolumeSet, seed: int, **share: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return list(part.batches(3, generator=generator(seed), **share))

    assert [len(y) for _, y in batches(resident, 1)] == [3, 3, 2]
    for one, other in ((resident, streamed), (resident, VolumeSet(store, [5, 0, 3, 2], "cpu"))):
        for (x, y), (again_x, again_y) in zip(batches(one, 1), batches(other, 1), strict=True):
            assert torch.equal(x, again_x)
            assert torch.equal(y, again_y)
    assert not all(torch.equal(a[0], b[0]) for a, b in zip(batches(resident, 1), batches(resident, 2), strict=True))
    shares = [batches(streamed, 1, rank=rank, world=2) for rank in (0, 1)]
    for number, (x, _) in enumerate(batches(resident, 1)):
        assert torch.equal(x[0::2], shares[0][number][0])
        assert torch.equal(x[1::2], shares[1][number][0])
    assert [x.shape[2:] for x, _ in resident.batches(4)] == [store.shape[1:]]  # in order: whole volumes


class Drawn(VolumeSet):
    """Notes what a training was given."""

    def batches(self, batch_size: int, *, generator: torch.Generator | None = None, rank: int = 0, world: int = 1):  # type: ignore[no-untyped-def]
        for x, y in super().batches(batch_size, generator=generator, rank=rank, world=world):
            self.seen.append(x.clone())
            yield x, y


def train(store: VolumeStore, folder: Path, kill_after: int = 0) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    parts = (Drawn(store, range(4), "cpu"), VolumeSet(store, [4, 5], "cpu"))
    parts[0].seen = []
    torch.manual_seed(0)
    model = UNet(3, 1, 3, depth=1, width=4, blocks=1, kernel=3, norm="batch", up="transposed")
    settings = TrainingSettings(epochs=4, batch_size=4, precision="fp32")

    def on_epoch(epoch: int, *rest: object) -> None:
        if epoch == kill_after:
            raise KeyboardInterrupt

    try:
        task = Segmentation(outputs=3, window=(8, 8, 8))
        fit(model, task, *parts, settings, seed=1, device=CPU, folder=folder, on_epoch=on_epoch)
    except KeyboardInterrupt:
        pass
    return parts[0].seen, model.state_dict()


def test_a_resumed_training_draws_the_same_patches(folder: Path, tmp_path: Path) -> None:
    store = prepared(folder, patch=8, patches_per_volume=2)
    whole, weights = train(store, tmp_path / "whole")
    assert len(whole) == 8  # 4 epochs of 8 patches
    first, _ = train(store, tmp_path / "cut", kill_after=2)
    rest, resumed = train(store, tmp_path / "cut")
    assert (len(first), len(rest)) == (4, 4)
    assert all(torch.equal(a, b) for a, b in zip(whole, first + rest, strict=True))
    assert all(torch.equal(weights[key], resumed[key]) for key in weights)
    with pytest.raises(NASError, match="per_volume"):
        train(prepared(folder, patch=8, patches_per_volume=1), tmp_path / "cut")


def test_another_patch_needs_no_other_store(folder: Path) -> None:
    stores = [prepared(folder, patch=patch) for patch in (None, 8, [4, 8, 4])]
    assert len({(store.path, store.sha256) for store in stores}) == 1
    assert prepared(folder, spacing_mm=2).path != stores[0].path
    stores[0].verify()
    edit_description(folder, labels={"0": "air", "1": "front", "2": "back"})
    assert prepared(folder).path != stores[0].path


def test_older_stores_keep_their_hash(tmp_path: Path) -> None:
    """Masks without padding have the hash that they had before padded volumes existed."""
    store = store_of(tmp_path / "organs.h5", masked_samples())
    assert store.sha256 == "3f5ac3b432ddaad05416070ac59882763030e35f042c5861ddec0e68a53b9619"
    assert (store.extents_N3, store.located_NKM, store.patches, store.by_training) == (None, None, None, False)


def test_padding_is_background(folder: Path) -> None:
    store = prepared(folder)

    class Front(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([x[:, 0] * 0, x[:, 0] * 0 + 9, x[:, 0] * 0], dim=1)

    prob = predict(Front(), Segmentation(outputs=3), VolumeSet(store, [4, 0, 2], "cpu"), 2)
    assert store.extents_N3 is not None
    assert (prob.argmax(axis=1) == 1).sum(axis=(1, 2, 3)).tolist() == store.extents_N3[[4, 0, 2]].prod(axis=1).tolist()
    np.testing.assert_allclose(prob.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("window", [None, 8])
def test_windows_see_the_real_part_alone(window: int | None, folder: Path) -> None:
    """A network that says how bright the image is on average: with windows it never sees padding."""
    store = prepared(folder)

    class Mean(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mean = (x != 0).float().mean(dim=(1, 2, 3, 4), keepdim=True) + torch.zeros_like(x)
            return torch.cat([torch.zeros_like(x), mean, torch.zeros_like(x)], dim=1)

    data = VolumeSet(store, [4, 0], "cpu")
    prob = predict(Mean(), Segmentation(outputs=3, window=window), data, 2)
    filled = np.e / (np.e + 2)  # softmax of (0, 1, 0): no voxel of what the network saw was padding
    seen = [real_part(store, row)[0] for row in (4, 0)]
    for volume, part in zip(prob, seen, strict=True):
        middle = volume[(1, *(side // 2 for side in volume.shape[1:]))]
        assert np.isclose(middle, filled, atol=0.01) == (window is not None), part.shape


def test_statistics_are_of_the_training_part_alone(tmp_path: Path) -> None:
    """The same training patients beside others a thousand times as bright: the same numbers reach the network."""
    stores = [
        prepared(write_decathlon(tmp_path / name, modality="CT", gains=gains), patch=8)
        for name, gains in (("same", (1.0,) * 6), ("others", (1.0,) * 4 + (50.0, 100.0)))
    ]
    assert all(store.by_training and store.dtype == np.int16 for store in stores)
    parts = [VolumeSet(store, range(4), "cpu") for store in stores]
    seen = [torch.cat([x for x, _ in p.normalised_like(p).batches(4, generator=generator())]) for p in parts]
    assert torch.equal(*seen)
    rest = VolumeSet(stores[1], [4, 5], "cpu")
    with pytest.raises(NASError, match="normalised_like"):
        next(rest.batches(2))
    ((x, _),) = rest.normalised_like(parts[1]).batches(2)
    assert rest.normalised_like(parts[1]).intensity == parts[0].normalised_like(parts[0]).intensity

    values = np.concatenate([stores[0].read([r])[0, 0][stores[0].targets([r])[0] > 0] for r in range(4)]).astype(float)
    intensity = rest.normalised_like(parts[1]).intensity
    assert intensity is not None
    assert intensity.mean_C[0] == pytest.approx(values.mean(), rel=0.02)  # from equally many voxels of each class
    assert intensity.low_C[0] == pytest.approx(np.percentile(values, 0.5), rel=0.02)
    assert intensity.high_C[0] == pytest.approx(np.percentile(values, 99.5), rel=0.02)
    assert x.max() == pytest.approx((intensity.high_C[0] - intensity.mean_C[0]) / intensity.std_C[0], rel=1e-4)


def test_statistics_need_values_that_differ() -> None:
    with pytest.raises(NASError, match="one value"):
        Intensity.of_foreground(np.ones((3, 1, 2, 5), dtype=np.float32))


def test_a_patient_of_several_volumes_is_on_one_side(folder: Path) -> None:
    training = json.loads((folder / "dataset.json").read_text())["training"]
    edit_description(folder, training=[{**entry, "patient": f"p{i // 2}"} for i, entry in enumerate(training)])
    store = prepared(folder)
    split = Split(store, folds=3)
    for patient in ("p0", "p1", "p2"):
        assert len(set(split.fold[store.groups == patient])) == 1


@pytest.mark.parametrize("modality", ["MRI", pytest.param("CT", marks=pytest.mark.slow)])
def test_the_experiment_searches_and_trains(command: Command, modality: str) -> None:
    gains = (1.0, 1.1, 1.2, 1.3, 1.4, 1.5)  # no image is that of another patient
    folder = write_decathlon(command.folder / "images", modality=modality, gains=gains)
    words = ["experiment=unet_hippocampus", f"data.root={folder}", "data.spacing_mm=1", "split.folds=3"]
    words += ["data.crop=[8,8,8]", "training.epochs=1", "training.batch_size=2"]
    small = ["space=unet", "space.depths=[1]", "space.widths=[4]", "strategy=random", "study.trials=2"]
    code, _, err = command(run_search.main, *words, *small)
    assert code == 0, err
    words += ["arch=outputs/unet_hippocampus/arch.json", "resamples=20", "baselines.random_search=false"]
    words += ["baselines.plain_unet=null"]
    code, _, err = command(run_train.main, *words, "task.flips=[2]")
    assert code == 0, err
    result = json.loads((command.folder / "outputs/train/unet_hippocampus/result.json").read_text())
    assert set(result["baselines"]) == {"intensity"}
    assert 0 <= result["mean"]["dice"] <= 1


@pytest.fixture(scope="module")
def hippocampus(shared_data: Path, data_cache: Path) -> VolumeStore:
    root = shared_data / "Task04_Hippocampus"
    if not root.is_dir():
        pytest.skip(f"no Decathlon folder {root}")
    return Msd(str(root), str(data_cache), patch=[32, 48, 32]).prepare()


def test_the_hippocampus(hippocampus: VolumeStore) -> None:
    store = hippocampus
    assert (len(store), store.classes) == (208, ("background", "Anterior", "Posterior"))
    assert (store.shape, store.input_shape) == ((1, 48, 64, 48), (1, 32, 48, 32))
    assert (store.spacing_mm == 1).all()
    assert len(set(store.groups)) == 208
    assert store.extents_N3 is not None
    assert store.extents_N3.min(axis=0).tolist() == [24, 40, 31]
    assert store.extents_N3.max(axis=0).tolist() == [47, 59, 43]
    assert store.voxels_NK is not None
    assert (store.voxels_NK > 0).all()
    front, back = (np.array([np.argwhere(m == k)[:, 1].mean() for m in store.targets(range(208))]) for k in (1, 2))
    assert (front < back).all()  # H runs to the back


def test_patches_and_patients_of_the_hippocampus(hippocampus: VolumeStore) -> None:
    store, split = hippocampus, Split(hippocampus)
    for part in split.holdout_rounds():
        sides = [set(store.groups[rows]) for rows in (part.train, part.valid, part.test)]
        assert sum(map(len, sides)) == len(set.union(*sides)) == 208
    train_rows, _ = split.search
    assert store.patches is not None
    assert store.extents_N3 is not None
    assert store.located_NKM is not None
    drawn = draw(
        store.patches, store.shape[1:], store.extents_N3[train_rows], store.located_NKM[train_rows], generator()
    )
    counts = np.bincount(drawn.classes_P)
    assert counts.max() - counts.min() <= 1
    _, masks = store.read_patches(train_rows[drawn.rows_P], drawn.corners_P3)
    assert all((mask == number).any() for mask, number in zip(masks, drawn.classes_P, strict=True))
