"""nnU-Net and VoxNAS beside each other for the same computing time, on the same fold, measured by the same code.

nnU-Net plans and trains by itself (`nnunetv2`, in this environment or in that of --nnunet-python), with its schedule
shortened to the time: a step is measured first, then the numbers of epochs and steps are set. Both get the training and
validation cases of one split and are tested on its test fold; label maps of both are measured by
`voxnas evaluate --predictions`. The time is that of the training: CPU seconds, on a GPU seconds of the wall clock. The
same command continues an interrupted run.

python -m benchmarks.nnunet --hours 1 --data /path/to/Task04_Hippocampus
python -m benchmarks.nnunet --hours 1 --nnunet-python /path/to/venv/bin/python
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.common import write_results
from benchmarks.nnunet_data import Cases, split_cases, write_nnunet_folder
from benchmarks.nnunet_ours import train_ours
from benchmarks.nnunet_worker import clock, schedule
from experiments.argument_types import count_type, number_type
from experiments.cli import run_command
from nas.errors import NASError
from nas.retraining.pooled import pooled_rows, read_pooled
from nas.utils.files import read_json, write_text

DATASET = "Dataset004_Known"
WORKER = Path(__file__).with_name("nnunet_worker.py")
NNUNET = "nnU-Net"
INSTALL = (
    "pip install --no-deps nnunetv2==2.8.1 acvl-utils dynamic-network-architectures batchgenerators "
    "batchgeneratorsv2, then blosc2, numexpr, ndindex, msgpack, connected-components-3d, scikit-image, "
    "fft-conv-pytorch, imagecodecs, yacs, einops, seaborn, tifffile, graphviz, future (timm is not needed)"
)


@dataclass(frozen=True)
class Job:
    """Settings of a run.

    Attributes:
        data: Folder of labelled volumes.
        out: Folder of all files.
        seconds: Computing time of each training.
        python: Interpreter that has nnU-Net.
        device: cpu or cuda.
        threads: CPU threads of either program.
    """

    data: Path
    out: Path
    seconds: float
    python: str
    device: str
    threads: int

    def environment(self) -> dict[str, str]:
        """Return the environment of nnU-Net's process."""
        folders = {f"nnUNet_{name}": str(self.out / "nnunet" / name) for name in ("raw", "preprocessed", "results")}
        return {**os.environ, **folders, "OMP_NUM_THREADS": str(self.threads)}

    @property
    def augmenting(self) -> dict[str, str]:
        """Environment of a training: on a CPU batches are made in its own process, so that its time holds them."""
        return {"nnUNet_n_proc_DA": "0" if self.device == "cpu" else "4"}


def has_nnunet(python: str) -> bool:
    """Check whether an interpreter can import nnU-Net."""
    found = subprocess.run([python, "-c", "import nnunetv2.paths"], capture_output=True, check=False)
    return found.returncode == 0


def worker(job: Job, part: str, *words: object, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run a part of nnU-Net unless it is done."""
    record = job.out / "nnunet" / f"{part}.json"
    if not record.is_file():
        command = [job.python, str(WORKER), part, "--out", str(record), "--dataset", DATASET]
        command += ["--device", job.device, "--threads", str(job.threads), *map(str, words)]
        with open(job.out / "nnunet" / f"{part}.log", "a", encoding="utf-8") as log:
            done = subprocess.run(
                command, env={**job.environment(), **(environment or {})}, stdout=log, stderr=log, check=False
            )
        if done.returncode:
            raise NASError(f"nnU-Net's {part}, which ended with {done.returncode}", "exit code 0", f"see {log.name}")
    return dict(read_json(record))


def prepare_nnunet(job: Job, cases: Cases) -> dict[str, Any]:
    """Let nnU-Net plan and preprocess the cases that are not for the test."""
    write_nnunet_folder(job.out / "nnunet/raw" / DATASET, cases, [*cases.train, *cases.valid])
    return worker(job, "prepare")


def train_nnunet(job: Job, cases: Cases) -> dict[str, Any]:
    """Plan, train and predict with nnU-Net.

    Args:
        job: The settings.
        cases: The cases of the fold.

    Returns:
        Its row of the table.
    """
    prepared = prepare_nnunet(job, cases)
    split = [{"train": sorted(cases.train), "val": sorted(cases.valid)}]
    write_text(job.out / "nnunet/preprocessed" / DATASET / "splits_final.json", json.dumps(split))
    measuring = {**job.augmenting, "nnUNet_results": str(job.out / "nnunet/measured")}
    measured = worker(job, "measure", environment=measuring)
    shutil.rmtree(job.out / "nnunet/measured", ignore_errors=True)
    steps_s = (float(measured[name]) for name in ("step_s", "validation_step_s", "epoch_end_s"))
    epochs, steps, checks = schedule(job.seconds, *steps_s)
    print(f"{NNUNET}: {measured['step_s']:.2f} s a step, {epochs} epochs of {steps} steps", flush=True)
    counts = ("--epochs", epochs, "--steps", steps, "--validation-steps", checks)
    trained = worker(job, "train", *counts, environment=job.augmenting)
    predictions = job.out / "nnunet/predictions"
    predictions.mkdir(exist_ok=True)
    words = ("--images", job.out / "test/imagesTr", "--predictions", predictions)
    predicted = worker(job, "predict", *words)
    return {
        "system": NNUNET,
        "prepare_s": prepared["seconds"],
        "train_s": trained["seconds"],
        "predict_s": predicted["seconds"],
        "schedule": f"{epochs} x {steps} steps",
        "params": measured["params"],
        "predictions": predictions,
    }


def evaluated(job: Job, row: Mapping[str, Any]) -> Path:
    """Measure the label maps of a system on the test cases."""
    folder = job.out / "evaluation" / str(row["system"])
    words = ["--predictions", str(row["predictions"]), str(job.out / "test"), "--name", str(row["system"])]
    run_voxnas("evaluate", *words, "--out", str(folder))
    return folder


def run_voxnas(*words: str, threads: int = 1) -> float:
    """Run a command of `voxnas`; return its CPU seconds."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "experiments.commands.voxnas", *words], env=environment, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def rows_of(job: Job, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Measure every system on the same test cases, with intervals and the paired difference from the first."""
    systems = [read_pooled(str(row["system"]), [evaluated(job, row)]) for row in rows]
    scored, margins = pooled_rows(systems)
    above = {margin.above: margin for margin in margins}
    found = []
    for row, score in zip(rows, scored, strict=True):
        low, high = score.ci95["dice"]
        its: dict[str, Any] = {name: value for name, value in row.items() if name != "predictions"}
        its |= {"dice": score.metrics["dice"], "dice_ci95": f"[{low:.3f}, {high:.3f}]", "hd95": score.metrics["hd95"]}
        if score.system in above:
            margin = above[score.system]
            its |= {"ours_minus": f"{margin.value:+.3f} [{margin.ci95[0]:+.3f}, {margin.ci95[1]:+.3f}]"}
        found.append(its | {"cases": len(systems[0].cases)})
    return found


def parser() -> argparse.ArgumentParser:
    """Return the parser."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.nnunet", description="nnU-Net and VoxNAS, equal time.")
    root = Path(os.environ.get("VOXNAS_DATA", ".")) / "Task04_Hippocampus"
    add = made.add_argument
    add("--hours", type=number_type(float, 0), default=1.0, help="computing time of each training (default: 1)")
    add("--data", type=Path, default=root, help="folder of labelled volumes (default: the hippocampus)")
    add("--fold", type=number_type(int, 0, 4), default=0, help="test fold of five (default: 0)")
    add("--test-cases", type=count_type, help="only this many cases of the test fold (default: all)")
    add("--nnunet-python", default=sys.executable, help="interpreter that has nnunetv2 (default: this one)")
    add("--ours", choices=("auto", "train"), help="voxnas auto or run_train.py (default: auto if there is one)")
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--threads", type=count_type, default=1, help="CPU threads of either program (default: 1)")
    add("--out", type=Path, default=Path("outputs/benchmarks/nnunet"))
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Run both systems, or one line on what is missing."""
    options = parser().parse_args(arguments)
    if not has_nnunet(options.nnunet_python):
        print(f"no nnunetv2 in {options.nnunet_python}: {INSTALL}; or --nnunet-python of an environment that has it")
        raise SystemExit(2)
    name = f"fold{options.fold}-{options.hours:g}h"
    paths = options.data.resolve(), (options.out / name).resolve()
    job = Job(*paths, 3600 * options.hours, options.nnunet_python, options.device, options.threads)
    (job.out / "nnunet").mkdir(parents=True, exist_ok=True)
    cases = split_cases(job.data, options.fold)
    if options.test_cases is not None:
        cases = replace(cases, test=cases.test[: options.test_cases])
    write_nnunet_folder(job.out / "test", cases, cases.test)
    started = clock("cpu")
    prepare_nnunet(job, cases)
    run = partial(run_voxnas, threads=job.threads)
    ours = train_ours(job.data, job.out, cases, options.fold, job.seconds, options.ours, job.device, run)
    rows = [ours, train_nnunet(job, cases)]
    table = rows_of(job, rows)
    print(f"{clock('cpu') - started:.0f} CPU seconds in all")
    facts = {"fold": options.fold, "hours": options.hours, "device": options.device, "threads": options.threads}
    facts |= {"train": len(cases.train), "valid": len(cases.valid)}
    write_results(
        f"nnunet_{name}", [row | facts for row in table], job.out, shown=list(dict.fromkeys(table[0] | table[1]))
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
