"""One search and one training with options of a training, from the command line to a prediction without PyTorch."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import run_search
import run_train
from nas.inference.model_spec import ModelSpec
from tests.commands import Command, refused, voxnas
from tests.data.written_decathlon import write_decathlon

OPTIONS = [
    "training.ema=0.9",
    "training.schedule=poly",
    "training.warmup_epochs=1",
    "training.augment.turns=[HW]",
    "task.flips=[2]",
    "task.rotations=[HW]",
    "data.patch=[8,8,8]",
    "data.foreground=0.33",
]


@pytest.mark.slow
def test_options_from_the_search_to_the_prediction(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_decathlon(command.folder / "images", gains=(1.0, 1.1, 1.2, 1.3, 1.4, 1.5))
    words = ["experiment=unet_hippocampus", f"data.root={folder}", "data.spacing_mm=1", "split.folds=3"]
    words += ["data.crop=[8,8,8]", "task.window=[8,8,8]", "training.epochs=2", "training.batch_size=2", *OPTIONS]
    small = ["space.depths=[2]", "space.widths=[[4],[4],[8]]", "space.encoder_blocks=[1]", "space.decoder_blocks=[1]"]
    small += ["space.encoder_kernels=[3]", "space.decoder_kernels=[3]", "space.norms=[batch]", "strategy=random"]
    small += ["space.deep_supervision=true", "study.trials=1"]
    refused(command(run_search.main, *words, *small, "task.flips=[0]"), "task.flips", "training.augment.flip")
    assert not (command.folder / "outputs/unet_hippocampus/study.db").exists()
    code, _, err = command(run_search.main, *words, *small)
    assert code == 0, err
    words += ["arch=outputs/unet_hippocampus/arch.json", "resamples=20", "baselines.random_search=false", "rounds=1"]
    words += ["baselines.plain_unet=null", "baselines.intensity=false", "export=[onnx]"]
    code, _, err = command(run_train.main, *words)
    assert code == 0, err
    trained = command.folder / "outputs/train/unet_hippocampus"
    spec = ModelSpec.load(next(trained.glob("bundles/*/*/model.json")))
    assert (spec.inference["flips"], spec.inference["rotations"]) == ([2], ["HW"])
    assert spec.facts["trained"]["views"] == {"flips": [2], "rotations": ["HW"]}
    exported = next(trained.glob("export/**/model.onnx"))
    assert len(ModelSpec.load(exported.with_name("model.json")).outputs) == 1
    image = sorted(Path(folder).glob("imagesTr/*.nii*"))[0]
    refused(
        voxnas(capsys, "predict", trained, image, "--out", "refused.nii.gz", "--flips", "0"), "showed no such views"
    )
    masks = []
    for name, model in (("bundle", trained), ("onnx", exported)):
        out = command.folder / f"{name}.nii.gz"
        code, _, err = voxnas(capsys, "predict", model, image, "--out", out)
        assert code == 0, err
        masks.append(np.asarray(nib.load(out).dataobj))
    assert (masks[0] != masks[1]).mean() < 1e-3
