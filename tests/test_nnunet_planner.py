"""Our plans beside those of nnU-Net's own planner, where nnunetv2 is installed (docs/explanation/planning.md)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from experiments.planning import reference_network
from nas.data.io.images import read_channels
from nas.planning import Limits, Plan
from nas.planning.nnunet import FULL, read_nnunet, write_nnunet
from nas.planning.reading import read_fingerprint
from nas.planning.segmentation import plan_segmentation
from nas.planning.topology import MOST_HALVINGS, halved, target_spacing
from tests.plans import Computed

pytest.importorskip("nnunetv2", reason="nnU-Net is not installed (nnunetv2 2.8.1, see docs/explanation/planning.md)")
PLANNER = """
from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments
extract_fingerprints([1], num_processes=1)
plan_experiments([1])
"""
UNLIMITED = Limits(10**7, 10**15)


@given(st.tuples(*[st.integers(4, 400)] * 3), st.tuples(*[st.floats(0.3, 8.0)] * 3))
@settings(max_examples=300, deadline=None)
def test_pooling_kernels_and_patch_are_those_of_nnunet(sides: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props

    _, strides, kernels, patch, divisors = get_pool_and_conv_props(spacing, sides, 4, 999999)
    assume(len(strides) > 1)  # smaller patches are halved once here, as a U-Net needs it
    assume(len(strides) <= MOST_HALVINGS + 1)  # more only for voxels that no scanner makes
    found = halved(sides, spacing)
    assert found.strides == strides[1:]
    assert [tuple(1 if axis in flat else 3 for axis in range(3)) for flat in found.flat_axes] == list(kernels)
    assert found.patch == tuple(patch)
    assert found.divisors == tuple(divisors)


@given(st.lists(st.tuples(st.floats(0.5, 8), st.floats(0.5, 1), st.floats(0.5, 1)), min_size=2, max_size=9), st.data())
@settings(max_examples=100, deadline=None)
def test_target_spacing_is_that_of_nnunet(spacings: list[tuple[float, ...]], data: st.DataObject) -> None:
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

    shapes = [
        data.draw(st.tuples(st.integers(10, 300), st.integers(100, 400), st.integers(100, 400))) for _ in spacings
    ]
    planner = object.__new__(ExperimentPlanner)
    planner.overwrite_target_spacing, planner.anisotropy_threshold = None, 3
    planner.dataset_fingerprint = {"spacings": spacings, "shapes_after_crop": shapes}
    theirs = planner.determine_fullres_target_spacing()
    ours, _ = target_spacing(np.array(spacings), np.array(shapes, dtype=float))
    assert ours == pytest.approx(theirs.tolist(), abs=2e-5, rel=1e-5)


def hippocampus(shared_data: Path, folder: Path) -> None:
    source = shared_data / "Task04_Hippocampus"
    entries = json.loads((source / "dataset.json").read_text())["training"][:30]
    for number, entry in enumerate(entries):
        (folder / f"imagesTr/c{number:02d}_0000.nii.gz").symlink_to((source / entry["image"]).resolve())
        (folder / f"labelsTr/c{number:02d}.nii.gz").symlink_to((source / entry["label"]).resolve())
    describe(folder, ["MRI"], ["background", "Anterior", "Posterior"], len(entries))


def lung(shared_data: Path, folder: Path) -> None:
    import SimpleITK as sitk

    for name, path in (("lung1_image.nrrd", "imagesTr/a_0000.nii.gz"), ("lung1_label.nrrd", "labelsTr/a.nii.gz")):
        sitk.WriteImage(sitk.ReadImage(str(shared_data / "lung1_ct" / name)), str(folder / path))
    describe(folder, ["CT"], ["background", "tumour"], 1)


def brain(shared_data: Path, folder: Path) -> None:
    import SimpleITK as sitk

    source = shared_data / "brats_tcga_sample/TCGA-FG-6692"
    for number, name in enumerate(("t1", "t1c", "t2", "fla")):
        (folder / f"imagesTr/a_{number:04d}.nii.gz").symlink_to((source / f"{name}.nii.gz").resolve())
    (label,) = read_channels(source / "seg_fused_auto.nii.gz")
    values = sitk.GetArrayFromImage(label)
    numbered = sitk.GetImageFromArray(np.searchsorted(np.unique(values), values).astype(np.uint8))
    numbered.CopyInformation(label)
    sitk.WriteImage(numbered, str(folder / "labelsTr/a.nii.gz"))
    names = ["background", *(f"class {number}" for number in range(1, len(np.unique(values))))]
    describe(folder, ["T1", "T1ce", "T2", "FLAIR"], names, 1)


def describe(folder: Path, channels: list[str], classes: list[str], cases: int) -> None:
    content = {
        "channel_names": {str(number): name for number, name in enumerate(channels)},
        "labels": {name: number for number, name in enumerate(classes)},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(content))


@pytest.mark.slow
@pytest.mark.parametrize("data", [hippocampus, lung, brain])
def test_a_data_set_is_planned_as_by_nnunet(
    shared_data: Path, tmp_path: Path, data: Callable[[Path, Path], None]
) -> None:
    folder = tmp_path / "raw/Dataset001_Test"
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    data(shared_data, folder)
    places = {f"nnUNet_{name}": str(tmp_path / name) for name in ("raw", "preprocessed", "results")}
    subprocess.run([sys.executable, "-c", PLANNER], env={**os.environ, **places}, check=True, capture_output=True)
    path = tmp_path / "preprocessed/Dataset001_Test/nnUNetPlans.json"
    theirs: dict[str, Any] = json.loads(path.read_text())["configurations"][FULL]

    fingerprint = read_fingerprint(folder)
    ours = plan_segmentation(fingerprint, UNLIMITED, Computed())
    assert ours.value("data.spacing_mm") == pytest.approx(theirs["spacing"], rel=1e-5)
    scheme = "CTNormalization" if ours.value("data.normalise") == "training" else "ZScoreNormalization"
    assert theirs["normalization_schemes"] == [scheme] * len(fingerprint.channels)
    if data is hippocampus:
        assert ours.value("data.patch") == theirs["patch_size"]
    else:  # nnU-Net's patch is the largest for 8 GB, ours without a limit is larger
        assert np.prod(ours.value("data.patch")) > np.prod(theirs["patch_size"])
    topology = halved(theirs["patch_size"], theirs["spacing"])
    network = theirs["architecture"]["arch_kwargs"]
    assert [list(stride) for stride in topology.strides] == network["strides"][1:]
    assert [[1 if axis in flat else 3 for axis in range(3)] for flat in topology.flat_axes] == network["kernel_sizes"]

    taken = read_nnunet(path, ours)
    require_their_network(taken, path)
    write_nnunet(taken, tmp_path / "back/Dataset001_Test/voxnasPlans.json")
    require_their_network(taken, tmp_path / "back/Dataset001_Test/voxnasPlans.json")


def require_their_network(plan: Plan, path: Path) -> None:
    """nnU-Net reads the file, and its network has as many parameters as ours."""
    from dynamic_network_architectures.architectures.unet import PlainConvUNet
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    configuration = PlansManager(str(path)).get_configuration(FULL)
    assert list(configuration.patch_size) == plan.value("data.patch")
    kwargs = {**configuration.network_arch_init_kwargs}
    for name in configuration.network_arch_init_kwargs_req_import:
        kwargs[name] = None if kwargs[name] is None else getattr(torch.nn, kwargs[name].rpartition(".")[2])
    artifact = reference_network(plan)
    with torch.device("meta"):
        sizes = {"input_channels": artifact.task.in_channels, "num_classes": artifact.task.outputs}
        theirs = PlainConvUNet(**sizes, **kwargs, deep_supervision=False)
        ours = artifact.build()
    coarse = theirs.decoder.seg_layers[:-1].parameters()  # heads of deep supervision, which it always has
    expected = sum(one.numel() for one in theirs.parameters()) - sum(one.numel() for one in coarse)
    assert sum(one.numel() for one in ours.parameters()) == expected
