"""Wall time of each part of `make demo`.

    python -m benchmarks.bench_demo

Runs the two commands of the Makefile (two processes of one thread) in an empty folder, and reads the times of their
parts from logs and files.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common import write_results
from experiments.cli import run_command

REPO = Path(__file__).resolve().parents[1]


def timed(script: str, folder: Path, *words: str) -> float:
    """Run a command in `folder` and return its wall time in seconds."""
    start = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, str(REPO / script), *words], cwd=folder, check=True, env=environment)
    return time.perf_counter() - start


def trial_seconds(path: Path) -> float:
    """Return the seconds from the start of the first trial to the end of the last one, as recorded in the study."""
    rows = csv.DictReader(path.read_text().splitlines())
    return sum(float(row["seconds"] or 0) for row in rows if row["state"] == "complete")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=None, help="folder of the JSON (default: benchmarks/results)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        once = ["study.name=prepare", "study.trials=1", "training.epochs=1"]
        prepare = timed("run_search.py", folder, "experiment=demo", *once)
        together = ["-m", "worker=0,1", "hydra/launcher=joblib"]
        search = timed("run_search.py", folder, "experiment=demo", *together)
        arch = f"arch={folder / 'outputs/demo/arch.json'}"
        train = timed("run_train.py", folder, "experiment=demo", arch, "processes=2")
        trials = trial_seconds(folder / "outputs/demo/trials.csv")
        rivals = trial_seconds(folder / "outputs/train/demo/random_search/trials.csv")
    rows = [
        {"part": "start, data set from annotations, one trial of one epoch", "seconds": prepare},
        {"part": "search (data set cached): all", "seconds": search},
        {"part": "search: its trials", "seconds": trials},
        {"part": "retraining and table: all", "seconds": train},
        {"part": "retraining: the random search at the same budget", "seconds": rivals},
        {"part": "the two commands together", "seconds": search + train},
    ]
    write_results("bench_demo", rows, options.out)


if __name__ == "__main__":
    sys.exit(run_command(main))
