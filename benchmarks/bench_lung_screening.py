"""FROC of the screening on phantom nodules in two real CTs, and the Dice of its first stage.

python -m benchmarks.bench_lung_screening --root FOLDER --out FOLDER     # the root holds lung1_ct and lung_pet_ct_dx

Each CT is the background of the training once and of the test once, so that no network is tested on its training
patient. Training data are written in LUNA16's format and read by run_train.py. The networks are `arch` (stage 2, the
published one) and a small U-Net, compared with the classical method. Real tumours in the CTs are ignored.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from experiments.argument_types import count_type, number_type
from experiments.cli import Parser, run_parser
from experiments.lung_screening.blobs import blob_candidates
from experiments.lung_screening.candidates import Candidate, of_map
from experiments.lung_screening.lung_network import network_lung_mask
from experiments.lung_screening.lungs import lung_mask
from experiments.lung_screening.networks import StageNetworks
from experiments.lung_screening.patches import nodule_map
from experiments.lung_screening.phantoms import Nodule, with_nodules, write_luna16
from experiments.lung_screening.scan import Scan
from nas.artifact import Artifact
from nas.data.io.dicom import open_series
from nas.data.io.grid import on_grid
from nas.data.io.images import read_image
from nas.metrics.froc import RATES, Findings, Froc, froc
from nas.metrics.surface import dice
from nas.task_spec import TaskSpec
from search_spaces.unet import UNetSpace

PROGRAM = "python -m benchmarks.bench_lung_screening"
MOST = 200  # candidates per scan, before any threshold
SIDE = 128  # pixels, size of the slices of the U-Net
Ball = tuple[tuple[float, float, float], float]
Phantom = tuple[Scan, list[Nodule]]


def lung1(root: Path) -> tuple[Scan, list[Ball]]:
    scan = Scan.read(root / "lung1_ct" / "lung1_image.nrrd")
    label_DHW, _ = on_grid(read_image(root / "lung1_ct" / "lung1_label.nrrd"), None, labels=True)
    return scan, [_ball(scan, np.argwhere(label_DHW > 0).mean(axis=0), 15.0)]


def pet_ct(root: Path) -> tuple[Scan, list[Ball]]:
    folder = root / "lung_pet_ct_dx"
    scan = Scan.read(folder / "A0002_CT_B40f")
    files = open_series(folder / "A0002_CT_B40f").files
    level_of = {pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID: n for n, file in enumerate(files)}
    balls = []
    for path in sorted(folder.glob("Annotation/*/*.xml")):
        for box in ET.parse(path).getroot().iter("bndbox"):
            x0, y0, x1, y1 = (float(box.findtext(name, "nan")) for name in ("xmin", "ymin", "xmax", "ymax"))
            reach_mm = float(np.hypot(x1 - x0, y1 - y0)) / 2 * scan.spacing_mm[1]
            balls.append(_ball(scan, np.array([level_of[path.stem], (y0 + y1) / 2, (x0 + x1) / 2]), reach_mm))
    return scan, balls


def _ball(scan: Scan, index: np.ndarray, radius_mm: float) -> Ball:
    x, y, z = scan.world(index[None])[0]
    return (float(x), float(y), float(z)), radius_mm


def phantoms(scan: Scan, tumours: list[Ball], options: dict[str, Any], seed: int) -> list[Phantom]:
    lungs_DHW = lung_mask(scan.hu_DHW, scan.spacing_mm, scan.name)
    rngs = [np.random.default_rng([seed, number]) for number in range(options["scans"])]
    return [with_nodules(scan, lungs_DHW, rng, options["nodules"], keep_off_mm=tumours) for rng in rngs]


def train(out: Path, root: Path, name: str, *words: str) -> StageNetworks:
    folder = out / name
    if not (folder / "result.json").exists():
        settings = [
            f"data.root={root}",
            f"data_cache={out / 'stores'}",
            f"hydra.run.dir={folder}",
            "split.given=false",
            "split.folds=3",
        ]
        plain = ["resamples=100", "device=cpu", "baselines.published=null", "baselines.features=false"]
        shape = ["training.augment.cutout=0", "training.augment.shift=1"]
        subprocess.run([sys.executable, "run_train.py", f"name={name}", *words, *settings, *plain, *shape], check=True)
    return StageNetworks.load(folder, most=1)


def findings(candidates: Sequence[Candidate], nodules: Sequence[Nodule], tumours: Sequence[Ball]) -> Findings:
    centres = [nodule.centre_mm for nodule in nodules] + [centre for centre, _ in tumours]
    radii = [nodule.diameter_mm / 2 for nodule in nodules] + [radius for _, radius in tumours]
    return Findings(
        np.array([one.point_mm for one in candidates]).reshape(-1, 3),
        np.array([one.score for one in candidates]),
        np.array(centres),
        np.array(radii),
        np.arange(len(radii)) >= len(nodules),
    )


def write_row(name: str, curve: Froc, seconds: float, scans: int) -> None:
    at = "  ".join(f"{curve.at(rate):.2f}" for rate in RATES)
    print(
        f"{name:<32} {curve.cpm:.3f}  {at}  never hit {curve.never_hit}/{curve.nodules}, {seconds / scans:.1f} s a CT"
    )


def direction(there: str, here: str, cts: dict[str, tuple[Scan, list[Ball]]], options: dict[str, Any]) -> None:
    """Train on phantoms in the CT `there`, and test on other phantoms in the CT `here`."""
    out = Path(options["out"])
    folder = out / f"luna16-{there}"
    if not (folder / "annotations.csv").exists():
        made = phantoms(*cts[there], options, seed=1)
        write_luna16(folder, [(f"{there}.{number}", *phantom) for number, phantom in enumerate(made)])
    nodules = train(
        out,
        folder,
        f"patches-{there}",
        "data=luna16_patches",
        f"arch={options['arch']}",
        "data.per_nodule=10",
        "data.per_scan=120",
        f"training.epochs={options['epochs']}",
        "training.augment.flip=[1,2]",
    )
    space = UNetSpace((4,), (4,), (2,), (3,), ("batch",), ("resize",), spatial_dims=2)
    Artifact(space, space.architecture((0,) * 6), TaskSpec("segmentation", 2)).save(out / "unet.json")
    lungs = train(
        out,
        folder,
        f"lungs-{there}",
        "data=luna16_lungs",
        "task=segmentation",
        f"arch={out / 'unet.json'}",
        f"data.size={SIDE}",
        f"training.epochs={options['lung_epochs']}",
        "data.per_scan=16",
        "training.batch_size=4",
        "training.lr=0.02",
        "training.augment.flip=[2]",
        "baselines.intensity=false",
    )
    scan, tumours = cts[here]
    truth_DHW = lung_mask(scan.hu_DHW, scan.spacing_mm)
    guess_DHW = network_lung_mask(scan, lungs)
    print(f"\ntrained on {there}, tested on {here} ({options['scans']} x {options['nodules']} phantom nodules)")
    print(f"lungs: Dice of the U-Net with the classical mask {dice(guess_DHW[None], truth_DHW[None], 2)[0, 0]:.4f}")
    tests = phantoms(scan, tumours, options, seed=2)
    found: dict[str, list[Findings]] = {options["arch"]: [], "classical": []}
    seconds = dict.fromkeys(found, 0.0)
    for phantom, truth in tests:
        lungs_DHW = lung_mask(phantom.hu_DHW, phantom.spacing_mm)
        for name in found:
            started = time.perf_counter()
            if name == "classical":
                candidates = blob_candidates(phantom, lungs_DHW, MOST)
            else:
                seen = nodule_map(phantom, lungs_DHW, nodules, options["stride_mm"])
                candidates = of_map(phantom, seen, 0.01, MOST)
            seconds[name] += time.perf_counter() - started
            found[name].append(findings(candidates, truth, tumours))
    print(f"{'false positives a scan:':<32} {'CPM':<5}  " + "  ".join(f"{rate:<4g}" for rate in RATES))
    for name, scans in found.items():
        write_row(name, froc(scans), seconds[name], len(scans))


def parser() -> Parser:
    examples = [f"{PROGRAM} --root data --out out", f"{PROGRAM} --root data --out out --scans 2 --epochs 3"]
    bench = Parser(PROGRAM, "FROC of the screening on phantom nodules in two real CTs.", examples)
    add = bench.add_argument
    add("--root", required=True, metavar="FOLDER", help="folder of lung1_ct and lung_pet_ct_dx")
    add("--out", required=True, metavar="FOLDER", help="folder of the trainings")
    add("--arch", default="nodule_patch/lung-screening", help="network of stage 2 (default: %(default)s)")
    add("--scans", type=count_type, default=6, help="phantom scans per CT (default: 6)")
    add("--nodules", type=count_type, default=10, help="nodules per scan (default: 10)")
    add("--epochs", type=count_type, default=30, help="of stage 2 (default: 30)")
    add("--lung-epochs", type=count_type, default=12, help="of stage 1 (default: 12)")
    add("--stride-mm", type=number_type(float, 0.1), default=4.2, help="distance between patches (default: 4.2)")
    bench.set_defaults(run=run)
    return bench


def run(given: argparse.Namespace) -> None:
    options = vars(given)
    root = Path(options["root"])
    cts = {"lung1": lung1(root), "pet_ct": pet_ct(root)}
    direction("lung1", "pet_ct", cts, options)
    direction("pet_ct", "lung1", cts, options)


if __name__ == "__main__":
    sys.exit(run_parser(parser(), sys.argv[1:]))
