"""`voxnas auto FOLDER --time 2h`: from a folder of scans to a model, in the time that one has."""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

from experiments.argument_types import number_type
from experiments.cli import Parser
from experiments.commands.plan import add_data
from nas.errors import NASError
from nas.utils.process import running_seconds

EXAMPLES = (
    "voxnas auto /data/Task04_Hippocampus --time 2h",
    "voxnas auto /data/Dataset004_Hippocampus --time 8h --max-params 3e6 --out hippocampus",
    "voxnas auto patients.csv --time 30min",
)
SHORTEST_S = 10.0


def parser() -> Parser:
    """Return the parser of `voxnas auto`.

    Returns:
        The parser.
    """
    auto = Parser(
        "voxnas auto",
        "Plan, train a reference network, search, retrain, choose an ensemble, test and report, in a given time. The "
        "same command continues a run that was stopped.",
        EXAMPLES,
    )
    add = auto.add_argument
    add_data(auto)
    add("--time", default="2h", help="running time of everything, such as 30min, 8h (default: 2h)")
    add("--out", metavar="FOLDER", type=Path, help="output folder (default: outputs/auto/ and the name of the data)")
    add("--max-params", type=number_type(float, 1), metavar="N", help="most parameters of one network, such as 3e6")
    add("--max-latency-ms", type=number_type(float, 1e-6), metavar="MS", help="longest latency of one network")
    add("--folds", type=number_type(int, 3, 100), metavar="N", help="folds, one for the test (default: planned)")
    add("--joint", action="store_true", help="search settings of the training (conf/recipe) with the networks")
    add("--strategy", metavar="NAME", help="strategy (default: priorband; local_search for short trials)")
    add("--seed", type=number_type(int, 0), default=0, help="seed of everything (default: 0)")
    add("--device", default="auto", help="cpu, cuda, cuda:1; auto: the GPU if there is one (default: auto)")
    add("--dry-run", action="store_true", help="print the steps and their times, and write nothing")
    auto.set_defaults(run=run)
    return auto


def run(options: argparse.Namespace) -> int:
    """Check the options and run.

    Args:
        options: Parsed arguments.

    Returns:
        The exit code.

    Raises:
        NASError: If an option is wrong, or as the steps do.
    """
    options.started = time.monotonic() - running_seconds()  # torch is loaded later, which takes a part of the time
    from nas.utils.annotations import seconds_of

    options.seconds = seconds_of(options.time)
    if not math.isfinite(options.seconds) or options.seconds < SHORTEST_S:
        raise NASError(
            f"--time {options.time}", f"at least {SHORTEST_S:g} s, such as 90s, 30min, 2h or 1d", "correct --time"
        )
    if not options.data.exists():
        raise NASError(f"no folder {options.data}", "a folder with dataset.json, or a csv", "correct the path")
    from importlib import import_module

    code: int = import_module("experiments.auto.command").run(options)
    return code
