"""`voxnas plan FOLDER`: settings for a search and a training of one's own data, each with its reason."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from experiments.cli import Parser, write_line
from nas.errors import NASError

EXAMPLES = (
    "voxnas plan /data/Dataset004_Hippocampus",
    "voxnas plan /data/Task04_Hippocampus --time 8h --out hippocampus.yaml",
    "voxnas plan patients.csv --device cuda",
)
TASKS = ("segmentation", "classification")


def parser() -> Parser:
    """Return the parser of `voxnas plan`.

    Returns:
        The parser.
    """
    plan = Parser(
        "voxnas plan",
        "Read a data set and write a plan: settings for `voxnas search plan=FILE` and `voxnas train plan=FILE`, each "
        "with its reason.",
        EXAMPLES,
    )
    add = plan.add_argument
    add_data(plan)
    add("--out", metavar="FILE", type=Path, default=Path("plan.yaml"), help="the plan (default: plan.yaml)")
    add("--time", default="2h", help="running time for search and training, such as 30min, 8h (default: 2h)")
    add("--device", default="auto", help="cpu, cuda, cuda:1; auto: the GPU if there is one (default: auto)")
    add("--from-nnunet", metavar="FILE", type=Path, help="take spacing, patch, batch and network of nnUNetPlans.json")
    add("--to-nnunet", metavar="FILE", type=Path, help="write the plan also as a plans file of nnU-Net")
    plan.set_defaults(run=run)
    return plan


def add_data(parser: Parser) -> None:
    """Add the arguments that name a data set and its task.

    Args:
        parser: The parser of a command.
    """
    add = parser.add_argument
    add("data", metavar="FOLDER", type=Path, help="folder of the Decathlon, of nnU-Net or of KiTS, or a csv of volumes")
    add("--task", choices=TASKS, help="task of the data (default: masks: segmentation, csv: classification)")


def run(options: argparse.Namespace) -> None:
    """Read the data, time training steps, and write the plan.

    Args:
        options: Parsed arguments.

    Raises:
        NASError: If the data, the time or a file is wrong.
    """
    from nas.utils.annotations import seconds_of
    from nas.utils.files import for_shell
    from nas.utils.folders import require_output

    seconds = seconds_of(options.time)
    if not math.isfinite(seconds) or seconds <= 0:
        raise NASError(f"--time {options.time}", "a duration such as 90s, 30min, 2h or 1d", "correct --time")
    for path in (options.out, options.to_nnunet):
        if path is not None:
            require_output(path)
    _require_replaceable(options)
    from experiments.devices import pick_device
    from experiments.planning import make_plan, timed_again
    from nas.planning.nnunet import read_nnunet, write_nnunet

    device = pick_device(options.device)
    plan = make_plan(options.data, device, seconds, options.task, show_reading)
    if options.from_nnunet is not None:
        plan = timed_again(read_nnunet(options.from_nnunet, plan), device, seconds)
    if options.to_nnunet is not None:
        write_nnunet(plan, options.to_nnunet)
    plan.write(options.out)
    for one in plan.decisions:
        write_line(f"{one.override}  # {one.reason}" + (f" ({one.command})" if one.command else ""))
    found = plan.fingerprint["suspicious"]
    for name, text in found.items():
        write_line(f"look at {name}: {text}")
    write_line(f"wrote {options.out} (use: voxnas search {for_shell(options.out, 'plan=')})")


def _require_replaceable(options: argparse.Namespace) -> None:
    """Refuse to write over the data, nnU-Net's own plans, or a file that is no plan."""
    from nas.planning.nnunet import NAME, is_of_nnunet
    from nas.planning.plan import is_like_plan
    from nas.utils.folders import require_no_input

    out, to = options.out, options.to_nnunet
    read = [path for path in (options.data, options.from_nnunet) if path is not None]
    require_no_input([out], read)
    require_no_input([] if to is None else [to], [*read, out], "--to-nnunet")
    if out.is_file() and not is_like_plan(out):
        raise NASError(f"--out {out}, a file that is no plan", "a new file, or a plan to be replaced", "change --out")
    if to is not None and to.is_file() and is_of_nnunet(to):
        raise NASError(f"--to-nnunet {to}, plans of nnU-Net", "a name of its own", f"{to.with_name(f'{NAME}.json')}")


def show_reading(done: int, total: int) -> None:
    """Show on a terminal how many cases were read.

    Args:
        done: Cases that were read.
        total: All cases.
    """
    if sys.stderr.isatty():
        print(f"\rread {done} of {total} cases", end="\n" if done == total else "", file=sys.stderr, flush=True)
