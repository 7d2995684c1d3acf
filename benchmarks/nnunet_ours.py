"""The side of VoxNAS in `benchmarks.nnunet`: `voxnas auto`, or a training of the planned reference network."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.nnunet_data import Cases, write_nnunet_folder
from experiments.commands.voxnas import COMMANDS
from nas.bundle import BUNDLES, bundles_of
from nas.errors import NASError
from nas.inference.model_spec import RESULT
from nas.tasks.segmentation import Segmentation
from nas.utils.files import read_json, write_text
from search_spaces.unet import UNetSpace

NAME, REFERENCE = "VoxNAS", "plain-3d"
BATCH, VALIDATIONS, STEPS = 2, 20, 3
FORWARD = 1 / 3  # share of a training step
LOSS: dict[str, Any] = {"include_background": False, "batch_dice": True, "class_weights": [0.2, 1]}
SETTINGS = (
    "task=segmentation", "data=msd", "rounds=1", "training.lr=0.002", f"training.batch_size={BATCH}",
    "training.augment.flip=[2]", "training.augment.shift=0", "training.augment.cutout=0",
    "task.include_background=false", "task.batch_dice=true", "task.class_weights=[0.2,1]",
    "baselines.intensity=false", "baselines.plain_unet=null", "baselines.random_search=false",
    "baselines.published=null", "resamples=100",
)  # fmt: skip
Run = Callable[..., float]


def train_ours(
    data: Path, out: Path, cases: Cases, fold: int, seconds: float, how: str | None, device: str, run: Run
) -> dict[str, Any]:
    """Train for a stated time, and predict the test cases.

    Args:
        data: Folder of labelled volumes.
        out: Folder of the run; `out/test` holds the test cases.
        cases: The cases of the fold.
        fold: The test fold.
        seconds: Computing time of the training.
        how: "auto" for `voxnas auto`, "train" for the planned reference network; None for auto if there is one.
        device: cpu or cuda.
        run: Runs a command of `voxnas` and returns its CPU seconds.

    Returns:
        Its row of the table.
    """
    folder = out / "ours"
    chosen = how or ("auto" if "auto" in COMMANDS else "train")
    if chosen == "auto":
        write_nnunet_folder(out / "known", cases, [*cases.train, *cases.valid])
        words = ["auto", str(out / "known"), "--time", f"{seconds:.0f}s", "--out", str(folder), "--device", device]
        facts: dict[str, Any] = {"schedule": f"voxnas auto, {seconds / 60:.0f} minutes"}
    else:
        patch = _patch_of_plan(out)
        epochs = _epochs(cases, patch, seconds, device)
        settings = [f"data.root={data}", f"data.patch={patch}", f"task.window={patch}", f"split.test_fold={fold}"]
        settings += [f"training.epochs={epochs}", f"training.validate_every={max(1, epochs // VALIDATIONS)}"]
        words = ["train", f"arch=unet/{REFERENCE}", *SETTINGS, *settings, f"device={device}"]
        words += [f"hydra.run.dir={folder}"]
        facts = {"schedule": f"{epochs} epochs of {len(cases.train)} patches"}
    spent = _timed(out / "ours.json", lambda: run(*words), device)
    predictions = out / "ours-predictions"
    answer = answer_folder(folder)
    predicted = run("predict", str(answer), str(out / "test/imagesTr"), "--out", str(predictions))
    params = sum(value.numel() for bundle in bundles_of(answer) for value in bundle.network().parameters())
    return {"system": NAME, "prepare_s": 0.0, **spent, "predict_s": predicted, **facts, "params": params} | {
        "predictions": predictions
    }


def answer_folder(folder: Path) -> Path:
    """Return the folder that `voxnas predict` reads: of `voxnas auto`, that of the training that finished last."""
    if (folder / BUNDLES).is_dir():
        return folder
    found = [path.parent for path in folder.glob(f"*/{RESULT}") if (path.parent / BUNDLES).is_dir()]
    if not found:
        raise NASError(f"{folder} without a finished training", "the folder of voxnas auto", "see its output")
    return max(found, key=lambda one: (one / RESULT).stat().st_mtime)


def _timed(record: Path, body: Callable[[], float], device: str) -> dict[str, Any]:
    """Run a training unless it is done; an interrupted one has no sum of seconds."""
    if record.is_file() and "train_s" in (known := read_json(record)):
        return dict(known)
    interrupted = record.is_file()
    write_text(record, "{}")
    started = time.perf_counter()
    cpu_s = body()
    seconds = cpu_s if device == "cpu" else time.perf_counter() - started
    found: dict[str, Any] = {"train_s": None if interrupted else seconds}
    write_text(record, json.dumps(found))
    return found


def _patch_of_plan(out: Path) -> str:
    """Patch (D, H, W) of nnU-Net's plan, in multiples of 8, which the reference network takes."""
    plans = next((out / "nnunet/preprocessed").glob("*/nnUNetPlans.json"))
    sides = read_json(plans)["configurations"]["3d_fullres"]["patch_size"]
    return "[" + ",".join(str(math.ceil(side / 8) * 8) for side in sides) + "]"


def _epochs(cases: Cases, patch: str, seconds: float, device: str) -> int:
    sides = [int(side) for side in patch.strip("[]").split(",")]
    step_s = step_seconds(len(cases.folder.modalities), len(cases.folder.classes), sides, device)
    epoch_s = step_s * math.ceil(len(cases.train) / BATCH)
    validations_s = VALIDATIONS * len(cases.valid) * step_s / BATCH * FORWARD
    epochs = max(1, int((seconds - validations_s) / epoch_s))
    print(f"{NAME}: {step_s:.2f} s a step, {epochs} epochs of {math.ceil(len(cases.train) / BATCH)} steps", flush=True)
    return epochs


def step_seconds(channels: int, classes: int, sides: Sequence[int], device: str) -> float:
    """Time a training step of the reference network.

    Args:
        channels: Channels of an image.
        classes: Classes with the background.
        sides: Sides of a patch (D, H, W).
        device: cpu or cuda.

    Returns:
        CPU seconds, on a GPU seconds of the wall clock; the median of three.
    """
    space, arch = UNetSpace.from_name(REFERENCE)
    task = Segmentation(channels, classes, **LOSS)
    network = space.build(arch, task.spec).to(device)
    optimiser = torch.optim.AdamW(network.parameters())
    x_BCDHW = torch.randn(BATCH, channels, *sides, device=device)
    y_BDHW = torch.randint(classes, (BATCH, *sides), device=device)
    clock = time.process_time if device == "cpu" else time.perf_counter
    times = []
    for _ in range(STEPS + 1):
        started = clock()
        optimiser.zero_grad()
        task.loss(network(x_BCDHW), y_BDHW).backward()
        optimiser.step()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(clock() - started)
    return median(times[1:])
