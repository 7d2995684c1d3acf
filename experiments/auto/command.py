"""The body of `voxnas auto`."""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path

from experiments.auto.clock import FILE, Clock
from experiments.auto.dry_run import preview
from experiments.auto.plan_checks import require_strategy
from experiments.auto.report import REPORT, Ending, write_report
from experiments.auto.request import Request
from experiments.auto.say import Says
from experiments.auto.steps import Auto
from experiments.cli import INTERRUPTED, write_line
from experiments.commands.plan import show_reading
from experiments.context import CONFIG
from nas.comparison.record import RECORD
from nas.errors import NASError
from nas.inference.model_spec import RESULT
from nas.utils.files import exclusive
from nas.utils.text_table import terminal_width

OF_OTHERS = (CONFIG, RECORD, RESULT, REPORT)  # files of searches, trainings and evaluations


def run(options: argparse.Namespace) -> int:
    """Plan, train, search, retrain, choose, test and report.

    Args:
        options: Parsed arguments, with `started`, the start of the process in seconds of `time.monotonic`.

    Returns:
        The exit code: 0, or 130 after Ctrl-C.
    """
    request = Request(
        data=options.data,
        seconds=options.seconds,
        out=options.out or default_folder(options.data),
        task=options.task,
        max_params=options.max_params,
        max_latency_ms=options.max_latency_ms,
        folds=options.folds,
        joint=options.joint,
        strategy=options.strategy,
        device=options.device,
        seed=options.seed,
    )
    require_strategy(request.strategy)
    if options.dry_run:
        preview(request)
        return 0
    try:
        ending = _ending(request, options.started)
    except KeyboardInterrupt:
        print("interrupted; the same command continues where this one stopped", file=sys.stderr, flush=True)
        return INTERRUPTED
    width = terminal_width()
    write_line(f"{textwrap.fill(ending.answer, width)}\n")
    for line in ending.lines:
        write_line(textwrap.fill(line, width))
    write_line(f"next: {ending.command}")
    return 0


def _require_own_folder(out: Path) -> None:
    """Refuse the folder of another command, whose files would be replaced."""
    if not (out / FILE).is_file() and any((out / name).is_file() for name in OF_OTHERS):
        raise NASError(f"--out {out}, the folder of another command", "a folder of its own", "change --out")


def _ending(request: Request, started: float) -> Ending:
    _require_own_folder(request.out)
    with exclusive(request.out), Clock(request.out, request.seconds, request.settings, started) as clock:
        auto = Auto(request, clock, Says(clock))
        auto.plan(show_reading)
        auto.reference()
        auto.search()
        auto.retraining()
        answer = auto.choice()
        auto.result(answer)
        auto.says.line("writes the report")
        return write_report(auto, answer)


def default_folder(data: Path) -> Path:
    """Return the output folder of a data set.

    Args:
        data: Its folder or csv.

    Returns:
        A folder below outputs/auto.
    """
    return Path("outputs/auto") / data.resolve().stem
