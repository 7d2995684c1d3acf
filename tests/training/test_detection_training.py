"""The real CT series with its boxes, learned by heart: preparation, training, decoding and metric fit together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nas.data.loading import VolumeSet
from nas.data.sources.lung_pet_ct_dx import LungPetCtDx
from nas.tasks.detection import Detection
from nas.training.loop import fit
from nas.training.settings import TrainingSettings
from search_spaces.detector import DetectorSpace


@pytest.mark.slow
def test_the_sample_series_by_heart(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "lung_pet_ct_dx"
    if not path.is_dir():
        pytest.skip(f"no {path}")
    store = LungPetCtDx(str(path), str(tmp_path), size=64).prepare()
    unet = {"depths": [2], "widths": [4], "block_counts": [1], "norms": ["group"], "ups": ["resize"], "spatial_dims": 2}
    space, task = DetectorSpace(settings=unet, stems=[2], pyramids=[8], heads=[1]), Detection(dims=2)
    torch.manual_seed(0)
    network = space.build(space.repair([0] * len(space.genes)), task.spec)
    part = VolumeSet(store, range(len(store)), "cpu")  # one patient: nothing to validate on but itself
    settings = TrainingSettings(epochs=18, batch_size=10, lr=0.01, precision="fp32")
    found = fit(network, task, part, part, settings, seed=0, device=torch.device("cpu"))
    assert found.metrics["map50"] >= 0.8
