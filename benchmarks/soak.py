"""Long fault test: eight workers per store, killed at random times, at least 50 times.

    python -m benchmarks.soak                      # every store, about two minutes each
    python -m benchmarks.soak --stores journal --kills 200

The checks after each store are those of tests/faults: every architecture finished exactly once, no running trial, no
finished epoch trained again, a Pareto front equal to the one computed from the raw records, no temporary files.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import write_results
from experiments.argument_types import count_type, number_type
from experiments.cli import run_command
from tests.faults.farm import Farm, check, store_of
from tests.faults.worker import Orders, attach

WORKERS = 8
STORES = ("sqlite", "journal", "postgresql", "grpc")


def soak(kind: str, kills: int, seed: int) -> dict[str, Any]:
    """Kill workers on one store `kills` times, then let the study end and check it by assertions."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name, store_of(kind, Path(name)) as (url, _):
        orders = Orders(url, name, trials=8 * kills, epoch_s=0.15)
        start = time.perf_counter()
        with Farm(orders) as farm:
            for worker in range(WORKERS):
                farm.start(worker)
            farm.wait_for_lines(WORKERS)
            while farm.kills < kills and any(process.is_alive() for process in farm.processes.values()):
                time.sleep(rng.uniform(0.05, 1.5))
                farm.kill(rng.randrange(WORKERS))
            farm.wait(1800)
        seconds = time.perf_counter() - start
        check(orders, failed=None)
        records = attach(orders).records()
        taken_over = sum(any("taking" in key for key in trial.user_attrs) for trial in attach(orders).store.trials())
    return {
        "store": kind,
        "kills": farm.kills,
        "trials": len(records),
        "failed": sum(record.state.value == "failed" for record in records),
        "taken_over": taken_over,
        "seconds": round(seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stores", nargs="+", choices=STORES, default=list(STORES))
    parser.add_argument("--kills", type=count_type, default=50)
    parser.add_argument("--seed", type=number_type(int, 0), default=0)
    parser.add_argument("--out", default=None)
    options = parser.parse_args()
    rows = [soak(kind, options.kills, options.seed) for kind in options.stores]
    write_results("soak", rows, options.out, options.seed)


if __name__ == "__main__":
    sys.exit(run_command(main))
