"""Segments subjects on the grid of their own files."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, ListConfig
from scipy import ndimage

from experiments.brain_tumor.network import PARTS, TumourNetwork
from experiments.devices import pick_device
from experiments.progress import ProgressLine
from nas.data.io.brats_folder import Subject, find_subjects
from nas.data.io.grid import onto
from nas.data.io.label_files import as_nifti
from nas.data.sources.brats import REGIONS, Seen
from nas.errors import NASError
from nas.utils.files import write_bytes, write_text

SUFFIX = ".nii.gz"


def predict(cfg: DictConfig) -> list[Path]:
    """Segment subjects; the same subject gives the same bytes.

    Writes `predictions`/<subject>.nii.gz, labels numbered as in the training's files, on the grid and affine of the
    subject's first modality, and predictions.json.

    Args:
        cfg: The settings of conf/brain_tumor.yaml.

    Returns:
        The files of the subjects.

    Raises:
        NASError: If a setting is out of range, a subject is missing, or there is no trained network.
    """
    if not isinstance(cfg.smallest_component, int | float) or not 0 <= cfg.smallest_component < 1:
        raise NASError(f"smallest_component={cfg.smallest_component}", "a fraction in [0, 1)", "0 to keep all")
    network = TumourNetwork.load(cfg.training, cfg.allow_packages)
    subjects = _chosen(cfg.subjects, network, cfg.data.root)
    device, target, numbers = pick_device(cfg.device), Path(cfg.predictions), network.convention.labels
    model = network.bundle.network(device)
    text = f"labels {', '.join(map(str, numbers))}"
    content_of: dict[str, Any] = {}
    seconds: dict[str, float] = {}  # printed only: a second run writes the same bytes
    with ProgressLine("subjects", len(subjects), silent=len(subjects) < 2) as line:
        for subject in subjects:
            started = time.perf_counter()
            label_DHW, seen = segment(network, model, subject, device, cfg.smallest_component)
            write_bytes(target / f"{subject.name}{SUFFIX}", as_nifti(label_DHW, subject.images[0], text))
            millilitres = float(np.prod(seen.image.GetSpacing())) / 1000
            content_of[subject.name] = {
                "part": network.part_of(subject.name),
                "images": {m: path.name for m, path in zip(network.modalities, subject.images, strict=True)},
                "volume_ml": {
                    region: round(millilitres * int(np.isin(label_DHW, np.take(numbers, classes)).sum()), 3)
                    for region, classes in REGIONS.items()
                },
            }
            seconds[subject.name] = time.perf_counter() - started
            line.update()
    content = {
        "arch_id": network.bundle.artifact.arch.id,
        "modalities": list(network.modalities),
        "inference": dict(network.bundle.spec.inference),
        "smallest_component": cfg.smallest_component,
        "subjects": content_of,
    }
    write_text(target / "predictions.json", json.dumps(content, indent=1) + "\n")
    for name, one in content_of.items():
        volumes = ", ".join(f"{region} {value:.1f} ml" for region, value in one["volume_ml"].items())
        print(f"{name} ({one['part']}): {volumes}; {seconds[name]:.1f} s")
    print(f"\nwrote {target}")
    return [target / f"{subject.name}{SUFFIX}" for subject in subjects]


def _chosen(asked: str | ListConfig | None, network: TumourNetwork, root: str | None) -> list[Subject]:
    """Select the subjects below `root` by `subjects=`: all, those of a part of the training, or some by name."""
    there = find_subjects(root, network.modalities, labelled=False)
    if asked is None or asked == "all":
        return there
    if isinstance(asked, str) and asked in PARTS:
        chosen = [subject for subject in there if asked in network.part_of(subject.name).split(" and ")]
        missing = None if len(chosen) == network.size_of(asked) else f"{len(chosen)} of {network.size_of(asked)}"
    else:
        names = [asked] if isinstance(asked, str) else [str(name) for name in asked]
        chosen = [subject for subject in there if subject.name in names]
        missing = next((f"no {name}" for name in names if name not in {subject.name for subject in chosen}), None)
    if missing or not chosen:
        raise NASError(
            f"subjects={asked}, but {f'{missing} in {root}' if missing else 'none'}",
            f"all, one of {', '.join(PARTS)} that is not empty, or names of folders",
            "check subjects and data.root",
        )
    return chosen


def segment(
    network: TumourNetwork,
    model: torch.nn.Module,
    subject: Subject,
    device: torch.device,
    smallest_component: float = 0.1,
) -> tuple[np.ndarray, Seen]:
    """Segment one subject.

    The probabilities of the classes are interpolated linearly on the subject's own grid; everything outside of the
    brain's box is background. The most probable class is taken, and small components are removed.

    Args:
        network: The trained network.
        model: Its module, on `device`.
        subject: The subject.
        device: Device of the prediction.
        smallest_component: Share of all tumour voxels below which a component is removed, in [0, 1).

    Returns:
        Labels numbered as in the training's files, (D, H, W) uint8 in the axes of the subject's files, and the input of
        the network.
    """
    seen = network.seen(subject)
    prob_KDHW = network.probabilities(model, seen, device)
    class_DHW = np.stack([onto(prob_DHW, seen.grid, seen.image) for prob_DHW in prob_KDHW]).argmax(axis=0)
    class_DHW = without_small(class_DHW, smallest_component)
    return np.take(network.convention.labels, class_DHW).astype(np.uint8), seen


def without_small(class_DHW: np.ndarray, share: float) -> np.ndarray:
    """Remove small components.

    Args:
        class_DHW: (D, H, W) classes, 0 the background.
        share: Components with less than this share of all voxels above 0 become background. Voxels of any class above
            0 that touch by their faces are one component.

    Returns:
        (D, H, W) classes.
    """
    numbers_DHW, _ = ndimage.label(class_DHW > 0)
    sizes = np.bincount(numbers_DHW.ravel())
    sizes[0] = 0
    return np.where((sizes < share * sizes.sum())[numbers_DHW], 0, class_DHW)
