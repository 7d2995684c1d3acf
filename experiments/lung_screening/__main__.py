"""Screens CTs: lungs, nodule candidates, malignancy.

python -m experiments.lung_screening <CT> [<CT> …] stage1=<training> stage2=<training> [stage3=<arch.json>]
python -m experiments.lung_screening <CT> --no-network

A CT is a DICOM folder or a NIfTI, NRRD or MetaImage file; what is found is written into <out>/<its name>/.
stage1, stage2: folders of run_train.py, trained on luna16_lungs and luna16_patches; a stage that is not given is done
by the classical method. stage3: a folder of run_train.py, or an arch.json with stage3_training=<that folder>.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from experiments.cli import as_command
from experiments.context import pick_device
from experiments.lung_screening.malignancy import require_malignancy
from experiments.lung_screening.output import write
from experiments.lung_screening.scan import Scan
from experiments.lung_screening.screening import Screening, Settings, Stages, screen
from experiments.options import read_options
from experiments.trained import Trained
from nas.errors import NASError

USAGE = (
    "python -m experiments.lung_screening <CT> [<CT> …] stage1=<training> stage2=<training> [stage3=<arch.json> "
    "stage3_training=<training>] [out=outputs/screening], or <CT> --no-network"
)
NO_NETWORK = "--no-network"
DEFAULTS: dict[str, Any] = {
    "out": "outputs/screening",
    "stage1": "",
    "stage2": "",
    "stage3": "",
    "stage3_training": "",
    "least": Settings.least,
    "most": Settings.most,
    "radius_mm": Settings.radius_mm,
    "stride_mm": Settings.stride_mm,
    "batch": Settings.batch,
    "device": "auto",
}
SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mhd", ".mha", ".npy")


def run(words: Sequence[str]) -> None:
    paths = [word for word in words if "=" not in word and word != NO_NETWORK]
    options = read_options([word for word in words if "=" in word], DEFAULTS, USAGE)
    names = [_name(path) for path in paths]
    if not paths or len(set(names)) < len(names):
        raise NASError(f"{len(paths)} CTs named {', '.join(names) or 'nothing'}", "CTs of different names", USAGE)
    settings = Settings(**{field.name: options[field.name] for field in fields(Settings)})
    stages = _stages(options, NO_NETWORK in words)
    for path, name in zip(paths, names, strict=True):
        found = screen(Scan.read(path), stages, settings)
        folder = Path(options["out"]) / name
        _tell(name, write(found, folder, path), found, folder)


def _stages(options: dict[str, Any], without: bool) -> Stages:
    given = [name for name in ("stage1", "stage2", "stage3") if options[name]]
    if without and given:
        raise NASError(f"{NO_NETWORK} with {given[0]}=", "one of the two", f"leave out {NO_NETWORK}")
    if not without and not {"stage1", "stage2"} & set(given):
        raise NASError("no network", "stage1= and stage2=, folders of run_train.py", f"give them, or {NO_NETWORK}")
    device = str(pick_device(options["device"]))
    lungs, nodules = (
        Trained.load(options[name], device=device, most=1) if options[name] else None for name in ("stage1", "stage2")
    )
    malignancy = _malignancy(options["stage3"], options["stage3_training"], device) if options["stage3"] else None
    return Stages(lungs, nodules, malignancy)


def _malignancy(named: str, training: str, device: str) -> Trained:
    path = Path(named)
    if path.is_dir():
        network = Trained.load(path, device=device)
    elif training:
        network = Trained.load(training, path, device)
    elif any(path.parent.glob("*/best.pt")) and path.is_file():  # the arch.json that run_train.py keeps with weights
        network = Trained.load(path.parents[2], path, device)
    else:
        raise NASError(
            f"stage3={named} without its weights",
            "stage3_training=<the folder of run_train.py that trained this architecture>",
            f"python run_train.py arch={named} data=luna16, then stage3_training=outputs/train/<name>",
        )
    require_malignancy(network)
    return network


def _name(path: str) -> str:
    name = Path(path).resolve().name
    suffix = next((end for end in SUFFIXES if name.lower().endswith(end)), "")
    return name[: len(name) - len(suffix)]


def _tell(name: str, content: dict[str, Any], found: Screening, folder: Path) -> None:
    print(
        f"{name}: lungs {content['lungs_ml']:.0f} ml, {len(found.candidates)} candidates, "
        f"{content['seconds']['total']:.1f} s, peak memory {content['peak_memory_mb']:.0f} MB"
    )
    for row in content["candidates"]:
        place = f"({row['x_mm']:.1f}, {row['y_mm']:.1f}, {row['z_mm']:.1f}) mm, slice {row['slice']}"
        malignancy = "" if row["malignancy"] is None else f", malignancy {row['malignancy']:.3f}"
        print(f"  {row['number']:>2}  {row['score']:.3f}  {place}{malignancy}")
    print(f"wrote {folder}")


if __name__ == "__main__":
    as_command(run, sys.argv[1:])
