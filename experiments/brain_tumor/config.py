"""Settings of the segmentation of brain tumours, checked before anything starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len

from nas.utils.annotations import Fraction, Name, Package, PathText, Seed, Text
from nas.utils.checked import check_arguments, signature_of

Convention = Literal["brats2018", "brats2023", "brats2024"]  # the keys of `nas.data.io.brats_folder.CONVENTIONS`


@dataclass(frozen=True)
class DataConfig:
    """Where the subjects are.

    Args:
        root: Folder of the subjects; None if it is missing, which the command reports.
        labels: Convention of the numbers of the classes; None for that of the files.
    """

    root: PathText | None = None
    labels: Convention | None = None


@dataclass(frozen=True, kw_only=True)
class BrainTumorConfig:
    """Settings of conf/brain_tumor.yaml.

    Args:
        command: "predict" or "evaluate".
        name: Part of the names of the folders.
        training: Folder of a training, or of one of its bundles.
        folder: Folder of the results.
        data: Where the subjects are.
        device: Device name, or "auto".
        seed: Seed of the bootstrap.
        allow_packages: Packages beside VoxNAS whose classes files may name.
        subjects: "all", a part of the training, or names of subjects.
        smallest_component: Share of the tumour below which a component is removed.
        predictions: Folder of the predictions.
        empty: Score of an empty region.
        resamples: Number of bootstrap samples.
    """

    command: Literal["predict", "evaluate"] | None = None
    name: Name = "brain_tumor"
    training: PathText
    folder: PathText
    data: DataConfig
    device: Text = "auto"
    seed: Seed = 0
    allow_packages: tuple[Package, ...] = ()
    subjects: Text | Annotated[tuple[Text, ...], Len(1)] | None = "all"
    smallest_component: Fraction = 0.1
    predictions: PathText
    empty: Literal["one", "zero", "skip"] = "one"
    resamples: Annotated[int, Ge(2), Le(100_000)] = 2000


def check_brain_tumor(plain: Mapping[str, Any], typed: Sequence[str] = ()) -> None:
    """Check the settings of conf/brain_tumor.yaml.

    Args:
        plain: The settings, with interpolations filled in.
        typed: The settings of the command line.

    Raises:
        NASError: For the first setting that is wrong.
    """
    declared: type = BrainTumorConfig
    known, _ = signature_of(declared)
    config = BrainTumorConfig(**check_arguments(declared, {name: plain[name] for name in plain if name in known}))
    from experiments.devices import pick_device  # here, as torch takes long to import

    pick_device(config.device)
