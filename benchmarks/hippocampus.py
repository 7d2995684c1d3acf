"""Table of docs/explanation/dints.md: searched DiNTS networks and others of similar cost, on patients not searched on.

For each of five test folds, split by patient: our search; MONAI's search with about the same run time and a memory
factor that gives networks of about the same cost; a random DiNTS topology within 10 % of the MACs of ours; the
narrowest plain U-Net with at least as many MACs. All are trained in the same way by run_train.py with the experiment of
`--training`, on three of the other folds, and the best epoch is chosen on the fourth. The same command resumes an
interrupted run.

python -m benchmarks.hippocampus /path/to/Task04_Hippocampus --folds 0 1 2 3 4
python -m benchmarks.hippocampus /path/to/Task04_Hippocampus --training dints_hippocampus_long --systems ours unet
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.common import write_results
from experiments.argument_types import number_type
from experiments.cli import run_command
from experiments.search.random_counterpart import random_network_of_equal_cost
from nas.artifact import Artifact, load
from nas.cost.model import CostModel
from nas.retraining.pooled import pooled_rows, pooled_table, read_pooled
from nas.utils.files import write_text
from search_spaces.unet import UNetSpace

OURS, MONAI, RANDOM, UNET = "searched (ours)", "MONAI's search", "random topology, equal cost", "U-Net, no less cost"
FOLDERS = {OURS: "ours", MONAI: "monai", RANDOM: "random", UNET: "unet"}
EXPERIMENT = "experiment=dints_hippocampus_gradient"
PATCH = (32, 48, 32)  # patch size of the experiment, at which costs are compared
WIDTHS = tuple(range(4, 65, 4))
MONAI_EPOCHS = 12  # as in our search: at these sizes steps take about the same time; CPU times are in the table


def run_fold(root: Path, fold: int, out: Path, systems: Sequence[str], training: str) -> None:
    """Search and train the systems (keys of FOLDERS) of one test fold with an experiment, and write to `out`."""
    of_fold = [f"data.root={root}", f"split.test_fold={fold}"]
    data = [EXPERIMENT, *of_fold]
    trained = [f"experiment={training}", *of_fold, "rounds=1"]
    trained += ["baselines.intensity=false", "baselines.random_search=false", "baselines.published=null"]
    searched, monai = out / "search" / "arch.json", out / "search_monai" / "arch.json"
    _timed(out / "search.json", ["run_search.py", *data, f"study.name=fold{fold}", f"hydra.run.dir={out / 'search'}"])
    if MONAI in systems:
        rival = ["-m", "benchmarks.monai_search", str(monai.parent), *data, f"strategy.settings.epochs={MONAI_EPOCHS}"]
        _timed(out / "search_monai.json", rival)
    ours = load(searched)
    archs = {OURS: searched, MONAI: monai}
    shape = (ours.task.in_channels, *PATCH)
    random = random_network_of_equal_cost(ours, ours.task, shape, fold)
    for name, artifact in ((RANDOM, random), (UNET, unet_above(ours, shape))):
        archs[name] = out / f"{FOLDERS[name]}.json"
        artifact.save(archs[name])
    for name in systems:
        _run(["run_train.py", *trained, f"arch={archs[name]}", f"hydra.run.dir={out / training / FOLDERS[name]}"])


def unet_above(ours: Artifact, shape: Sequence[int]) -> Artifact:
    """Return the narrowest U-Net with at least the MACs of our network on inputs of `shape` (C, D, H, W).

    It has four levels, two convolutions per level and instance normalisation.
    """
    least = CostModel(ours.space, ours.task, shape, "macs").of(ours.arch)
    channels = {"in_channels": ours.task.in_channels, "out_channels": ours.task.outputs}
    space = UNetSpace((3,), WIDTHS, (2,), (3,), ("instance",), ("transposed",), **channels)  # type: ignore[arg-type]
    cost = CostModel(space, ours.task, shape, "macs")
    archs = [space.architecture((0, width, 0, 0, 0, 0)) for width in range(len(WIDTHS))]
    return Artifact(space, next(arch for arch in archs if cost.of(arch) >= least), ours.task)


def _timed(record: Path, command: Sequence[str]) -> None:
    """Run a command unless it is done, and record its CPU seconds."""
    if record.exists():
        return
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _run(command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    write_text(record, json.dumps({"cpu_s": round(seconds, 1)}) + "\n")


def _run(command: Sequence[str]) -> None:
    if code := subprocess.run([sys.executable, *command]).returncode:
        raise SystemExit(code)  # the command has said why


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="DiNTS on the hippocampus, test fold by test fold.")
    parser.add_argument("root", type=Path)
    parser.add_argument("--folds", nargs="+", type=number_type(int, 0, 4), default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--systems",
        nargs="+",
        choices=FOLDERS.values(),
        default=list(FOLDERS.values()),
        help="ours is always among them",
    )
    parser.add_argument(
        "--training", default="dints_hippocampus_gradient", help="experiment with the training settings"
    )
    parser.add_argument("--out", type=Path, default=Path("outputs/hippocampus"))
    options = parser.parse_args(arguments)
    chosen = [name for name, folder in FOLDERS.items() if folder in {FOLDERS[OURS], *options.systems}]
    folders = [(options.out / f"fold{fold}").resolve() for fold in options.folds]
    for fold, folder in zip(options.folds, folders, strict=True):
        run_fold(options.root.resolve(), fold, folder, chosen, options.training)
    systems = [read_pooled(name, [folder / options.training / FOLDERS[name] for folder in folders]) for name in chosen]
    print(pooled_table(systems))
    rows, margins = pooled_rows(systems)
    searches = {OURS: "search.json", MONAI: "search_monai.json"}
    seconds = {
        name: float(np.mean([json.loads((folder / record).read_text())["cpu_s"] for folder in folders]))
        for name, record in searches.items()
        if name in chosen
    }
    above = {margin.above: {"ours above it": margin.value, "its ci95": margin.ci95} for margin in margins}
    table = []
    for row in rows:
        dice = {key: value for key, value in row.metrics.items() if key.startswith("dice")}
        its = {"system": row.system, **dice, "ci95": row.ci95["dice"], "hd95": row.metrics["hd95"], **row.costs}
        its |= above.get(row.system, {"ours above it": None, "its ci95": None})
        its |= {"search_cpu_s": seconds.get(row.system), "folds": options.folds}
        table.append(its)
    write_results(options.training.removeprefix("dints_"), table)


if __name__ == "__main__":
    sys.exit(run_command(main))
