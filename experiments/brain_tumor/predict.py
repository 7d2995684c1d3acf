"""Segments subjects on the grid of their own files."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, ListConfig
from scipy import ndimage
from tqdm import tqdm

from experiments.brain_tumor.system import System
from experiments.context import pick_device
from nas.data.io.brats_folder import LABELS, Subject, find_subjects
from nas.data.io.grid import onto
from nas.data.io.images import medical
from nas.data.sources.brats import REGIONS, Seen
from nas.errors import NASError
from nas.utils.files import write_bytes, write_text

SUFFIX = ".nii.gz"


def predict(cfg: DictConfig, folder: Path) -> list[Path]:
    """Writes `predictions`/<subject>.nii.gz, labels 0, 1, 2, 4 on the grid and affine of the subject's first modality,
    and predictions.json. The same subject gives the same bytes. Raises NASError for a user's mistake."""
    if not isinstance(cfg.smallest_component, int | float) or not 0 <= cfg.smallest_component < 1:
        raise NASError(f"smallest_component={cfg.smallest_component}", "a fraction in [0, 1)", "0 to keep all")
    system = System.load(folder, cfg.allow_packages)
    subjects = _chosen(cfg.subjects, system, cfg.data.root)
    device, target = pick_device(cfg.device), Path(cfg.predictions)
    system.model.to(device)
    told: dict[str, Any] = {}
    seconds: dict[str, float] = {}  # printed only: a second run writes the same bytes
    for subject in tqdm(subjects, desc="subjects", disable=len(subjects) < 2):
        started = time.perf_counter()
        label_DHW, seen = segment(system, subject, device, cfg.smallest_component)
        write_bytes(target / f"{subject.name}{SUFFIX}", as_nifti(label_DHW, subject.images[0]))
        millilitres = float(np.prod(seen.image.GetSpacing())) / 1000
        told[subject.name] = {
            "part": system.part_of(subject.name),
            "images": {m: path.name for m, path in zip(system.preparation.modalities, subject.images, strict=True)},
            "volume_ml": {
                region: round(millilitres * int(np.isin(label_DHW, np.take(LABELS, classes)).sum()), 3)
                for region, classes in REGIONS.items()
            },
        }
        seconds[subject.name] = time.perf_counter() - started
    content = {
        "arch_id": system.network.arch.id,
        "modalities": list(system.preparation.modalities),
        "inference": dict(system.inference),
        "smallest_component": cfg.smallest_component,
        "subjects": told,
    }
    write_text(target / "predictions.json", json.dumps(content, indent=1) + "\n")
    for name, one in told.items():
        volumes = ", ".join(f"{region} {value:.1f} ml" for region, value in one["volume_ml"].items())
        print(f"{name} ({one['part']}): {volumes}; {seconds[name]:.1f} s")
    print(f"\nwrote {target}")
    return [target / f"{subject.name}{SUFFIX}" for subject in subjects]


def _chosen(asked: str | ListConfig | None, system: System, root: str | None) -> list[Subject]:
    found = find_subjects(root, system.preparation.modalities, labelled=False)
    if asked is None or asked == "all":
        return found
    names = list(system.parts.get(asked, [asked])) if isinstance(asked, str) else [str(name) for name in asked]
    missing = sorted(set(names) - {subject.name for subject in found})
    if missing or not names:
        got = f"no {missing[0]} in {root}" if missing else "none"
        raise NASError(
            f"subjects={asked}, but {got}",
            f"all, one of {', '.join(system.parts)} that is not empty, or names of folders",
            "mend subjects or data.root",
        )
    return [subject for subject in found if subject.name in names]


def segment(
    system: System, subject: Subject, device: torch.device, smallest_component: float = 0.1
) -> tuple[np.ndarray, Seen]:
    """Labels 0, 1, 2, 4 (D, H, W), uint8, in the order of the axes of its files, and what the network saw.

    The probabilities of the classes go to the subject's own grid by linear interpolation; outside of the brain's box
    everything is background. Then the most probable class is taken, and small components are removed.
    """
    seen = system.preparation.source(None).seen(subject)
    x_BCDHW = torch.from_numpy(seen.volume_CDHW)[None].to(device)
    prob_KDHW = system.task.predict(system.model, x_BCDHW)[0].cpu().numpy()
    class_DHW = np.stack([onto(prob_DHW, seen.grid, seen.image) for prob_DHW in prob_KDHW]).argmax(axis=0)
    return np.take(LABELS, without_small(class_DHW, smallest_component)).astype(np.uint8), seen


def without_small(class_DHW: np.ndarray, share: float) -> np.ndarray:
    """Components of the classes above 0 together (voxels that touch by their faces) that have less than this share of
    all voxels above 0 become background."""
    numbers_DHW, _ = ndimage.label(class_DHW > 0)
    sizes = np.bincount(numbers_DHW.ravel())
    sizes[0] = 0
    return np.where((sizes < share * sizes.sum())[numbers_DHW], 0, class_DHW)


def as_nifti(label_DHW: np.ndarray, like: Path) -> bytes:
    """A compressed NIfTI file on the grid and affine of the file `like`; the same labels give the same bytes."""
    nibabel = medical("nibabel")
    stored = nibabel.load(like)
    header = stored.header.copy()
    header.set_data_dtype(np.uint8)
    header["cal_min"], header["cal_max"], header["descrip"] = 0, 0, b"labels 0, 1, 2, 4"
    image = nibabel.Nifti1Image(label_DHW.transpose(2, 1, 0).reshape(stored.shape), stored.affine, header)
    return gzip.compress(image.to_bytes(), mtime=0)
