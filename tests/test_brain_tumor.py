"""Brain tumours from the command line: trained, segmented on the grid of the files, scored by regions; bad input."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

import run_search
import run_train
from experiments.brain_tumor.__main__ import main
from experiments.brain_tumor.predict import without_small
from nas.artifact import Artifact, load
from nas.bundle import bundles_of
from nas.data.io.brats_folder import CONVENTIONS
from nas.retraining.folds import group_digest
from nas.space import SearchSpace
from nas.task_spec import TaskSpec
from search_spaces.cascade import CascadeSpace
from search_spaces.unet import UNetSpace
from tests.commands import Command, refused
from tests.data.written_brats import real_part, write_brats, write_subject

TASK = TaskSpec("segmentation", 3, 4, 4)
QUICK = ["data.size=16", "training.precision=fp32", "training.lr=0.02", "resamples=50", "experiment=brain_tumor"]
PLAIN = [
    "baselines.random_search=false",
    "baselines.intensity=false",
    "baselines.plain_unet=null",
    "baselines.published=null",
]


def written(path: Path, space: SearchSpace) -> str:
    Artifact(space, space.repair([0] * len(space.genes)), TASK).save(path)
    return f"arch={path}"


def small_cascade(folder: Path) -> str:
    return written(folder / "cascade.json", CascadeSpace(widths=(3,), depths=(2,), levels=(2,), dropout=0.0))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_brats(tmp_path / "BraTS")


def train(command: Command, *words: str) -> tuple[int, str, str]:
    return command(run_train.main, *QUICK, *PLAIN, *words)


def apply(command: Command, *words: str) -> tuple[int, str, str]:
    return command(main, *words, cache=False)


@pytest.mark.slow
def test_train_predict_evaluate(command: Command, root: Path) -> None:
    """Phantoms that a cascade of two small networks learns in a few seconds; the subjects it is tested on are new."""
    words = ["name=a", f"data.root={root}"]
    learn = ["data.patches_per_volume=6", "training.epochs=8", "training.batch_size=2", small_cascade(command.folder)]
    code, out, err = train(command, *words, *learn, "split.folds=3")
    assert code == 0, err
    (bundle,) = bundles_of(command.folder / "outputs/train/a")
    assert bundle.spec.preparation["modalities"] == ["t1", "t2", "flair", "t1ce"]
    assert bundle.spec.inputs[0].channels == ("t1", "t2", "flair", "t1ce")
    parts = bundle.spec.facts["trained"]["groups"]
    assert [len(parts[part]) for part in ("train", "valid", "test")] == [2, 2, 2]
    specs = [path.read_text() for path in (command.folder / "outputs/train/a/bundles").glob("*/*/*.json")]
    assert len(specs) == 2
    assert not any("Brats18" in spec for spec in specs)

    folder = command.folder / "outputs/brain_tumor/a"
    code, out, err = apply(command, "predict", *words, "subjects=test")
    assert code == 0, err
    files = sorted((folder / "predictions").glob("*.nii.gz"))
    assert sorted(group_digest(path.name.removesuffix(".nii.gz")) for path in files) == parts["test"]
    first = [path.read_bytes() for path in files]
    assert apply(command, "predict", *words, "subjects=test")[0] == 0
    assert [path.read_bytes() for path in files] == first
    written = json.loads((folder / "predictions/predictions.json").read_text())
    assert written["modalities"] == ["t1", "t2", "flair", "t1ce"]
    assert {one["part"] for one in written["subjects"].values()} == {"test"}

    code, out, err = apply(command, "evaluate", *words, "resamples=50")
    assert code == 0, err
    result = json.loads((folder / "evaluation.json").read_text())
    assert result["regions"] == {"WT": [1, 2, 4], "TC": [1, 4], "ET": [4]}
    assert result["mean"]["WT dice"] > 0.75
    assert result["ci95"]["WT dice"][0] <= result["mean"]["WT dice"] <= result["ci95"]["WT dice"][1]
    for name, scores in result["subjects"].items():
        guess, truth = (
            np.isin(np.asarray(nib.load(path).dataobj), (1, 2, 4))
            for path in (folder / f"predictions/{name}.nii.gz", next(root.rglob(f"{name}_seg.nii.gz")))
        )
        by_hand = 2 * (guess & truth).sum() / (guess.sum() + truth.sum())
        assert scores["WT"]["dice"] == pytest.approx(by_hand)
    assert "| subject | WT Dice | TC Dice | ET Dice | WT HD95 (mm)" in out
    page = (folder / "report.html").read_text()
    assert "enhancing tumour" in page
    assert "trained on" not in page


@pytest.mark.slow
def test_a_searched_network_of_any_space_takes_the_place(command: Command, root: Path) -> None:
    """A search on BraTS data with the cascade space, and its arch.json; then a U-Net on one subject alone."""
    space = ["space.widths=[2]", "space.block_counts=[1]", "evaluator=train", "strategy=regularized_evolution"]
    data = [f"data.root={root}", "split.folds=3", "training.epochs=1"]
    few = ["study.trials=2", "study.name=s", *QUICK[:3], QUICK[-1]]
    code, _, err = command(run_search.main, *space, *data, *few, "training.batch_size=4", "task.flips=[]")
    assert code == 0, err
    assert load(command.folder / "outputs/s/arch.json").task == TASK
    found = [*data, "arch=outputs/s/arch.json", "name=s", "training.batch_size=2"]
    refused(train(command, *found, "split.test_fold=1"), "that its search has seen")
    code, _, err = train(command, *found)
    assert code == 0, err
    one = write_subject(command.folder / "alone" / "one")
    unet = written(command.folder / "unet.json", UNetSpace(depths=(1,), widths=(4,), block_counts=(1,), kernels=(3,)))
    alone = [f"data.root={one}", "name=u"]
    code, _, err = train(command, unet, *alone, "split.overfit=true", "training.epochs=1", "training.batch_size=2")
    assert code == 0, err
    (bundle,) = bundles_of(command.folder / "outputs/train/u")
    assert bundle.spec.facts["trained"]["samples"] == {"train": 2, "valid": 2, "test": 0}
    assert apply(command, "predict", *alone)[0] == 0
    assert apply(command, "evaluate", *alone, "empty=skip")[0] == 0
    page = (command.folder / "outputs/brain_tumor/u/report.html").read_text()
    assert "their scores do not hold for others" in page


@pytest.mark.slow
def test_the_real_subject_on_its_own_grid(command: Command, shared_data: Path) -> None:
    if not (shared_data / "brats_tcga_sample").is_dir():
        pytest.skip(f"no brats_tcga_sample in {shared_data}")
    root = real_part(shared_data / "brats_tcga_sample", command.folder / "real")
    words = ["name=r", f"data.root={root}"]
    few = ["training.epochs=1", "training.batch_size=2", "split.overfit=true"]
    code, _, err = train(command, *words, small_cascade(command.folder), *few)
    assert code == 0, err
    contents = []
    for place in ("p", "q"):
        assert apply(command, "predict", *words, f"predictions={place}", "smallest_component=0")[0] == 0
        contents.append((command.folder / place / "real.nii.gz").read_bytes())
    assert contents[0] == contents[1]
    written_image, source = nib.load(command.folder / "p/real.nii.gz"), nib.load(root / "t1.nii.gz")
    assert written_image.shape == source.shape == (70, 80, 75)
    np.testing.assert_array_equal(written_image.affine, source.affine)
    assert written_image.header.get_data_dtype() == np.uint8
    assert set(np.unique(np.asarray(written_image.dataobj))) <= set(CONVENTIONS["brats2018"].labels)


def test_modalities_that_do_not_fit(command: Command, root: Path) -> None:
    command.cache = command.folder / "cache"
    moved = next(root.rglob("*_flair.nii.gz"))
    image = nib.load(moved)
    affine = image.affine.copy()
    affine[0, 3] += 5
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), moved)
    answer = train(command, f"data.root={root}", small_cascade(command.folder), "name=b", "split.folds=3")
    refused(answer, "different origins of t1 and flair", moved.name)
    assert not (command.folder / "outputs/train/b/bundles").exists()
    assert not list(command.cache.glob(".brats-*"))


def test_mistakes_in_one_line(command: Command, root: Path) -> None:
    arch, here = small_cascade(command.folder), [f"data.root={root}"]
    refused(apply(command, "segment", *here), "'segment'", "predict, evaluate")
    refused(apply(command, *here), "None", "predict, evaluate")
    refused(apply(command, "train", *here), "'train'", "python run_train.py experiment=brain_tumor")
    refused(apply(command, "predict", *here, "name=none"), "holds no finished training", "outputs/train/none")
    refused(train(command, *here, arch, "data.patches_per_volume=0"), "data.patches_per_volume=0")
    one_subject = f"data.root={next(root.rglob('Brats18_000_1'))}"
    refused(train(command, one_subject, arch, "split.folds=3"), "1 patients", "overfit")
    answer = train(command, *here, "arch=cascade/brats2018-f1", "name=c", "split.folds=3")
    refused(answer, "16x16x16", "multiples of 32")
    assert not (command.folder / "outputs/train/c/bundles").exists()
    assert not (command.folder / "outputs/brain_tumor").exists()
    few = ["training.epochs=1", "training.batch_size=2", "split.overfit=true", "name=d"]
    code, _, err = train(command, *here, arch, *few)
    assert code == 0, err
    refused(apply(command, "predict", *here, "name=d", "subjects=test"), "subjects=test, but none", "not empty")
    refused(apply(command, "predict", *here, "name=d", "subjects=[nobody]"), "no nobody in")
    refused(apply(command, "predict", *here, "name=d", "smallest_component=2"), "smallest_component=2")
    refused(apply(command, "evaluate", *here, "name=d"), "no prediction in")
    refused(apply(command, "evaluate", *here, "name=d", "empty=none"), "empty=none")
    spec = next((command.folder / "outputs/train/d/bundles").glob("*/*/model.json"))
    whole = spec.read_text()
    spec.write_text(whole.replace('"modalities"', '"modality"'))
    refused(apply(command, "predict", *here, "name=d"), "not trained on BraTS subjects", "data=brats")
    spec.write_text(whole.replace('"id": "', '"id": "x'))
    refused(apply(command, "predict", *here, "name=d"), "different networks")
    spec.write_text("{")
    refused(apply(command, "predict", *here, "name=d"), "which cannot be read")


@settings(max_examples=30, deadline=None)
@given(arrays(np.uint8, (5, 6, 4), elements=st.sampled_from([0, 0, 0, 1, 2, 3])), st.sampled_from([0.0, 0.1, 0.5]))
def test_small_components_go_and_nothing_else(classes: np.ndarray, share: float) -> None:
    found = without_small(classes, share)
    numbers, count = ndimage.label(classes)  # labels what is not 0, whatever its class
    total = int((classes > 0).sum())
    for number in range(1, count + 1):
        here = numbers == number
        expected = classes[here] if here.sum() >= share * total else 0
        np.testing.assert_array_equal(found[here], expected)
    assert not found[classes == 0].any()
