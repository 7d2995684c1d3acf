"""`voxnas doctor`: checks of this installation and this machine, each ok or one line with the fix."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from experiments.cli import USER_ERROR, Parser, has_width, write_line
from experiments.doctor.check import PROBLEM, Check
from nas.utils.text_table import terminal_width

EXAMPLES = ("voxnas doctor", "voxnas doctor --store outputs/demo", "voxnas doctor --json")


def parser() -> Parser:
    """Return the parser of `voxnas doctor`.

    Returns:
        The parser.
    """
    doctor = Parser("voxnas doctor", "Check this installation and this machine; exit code 2 for a problem.", EXAMPLES)
    add = doctor.add_argument
    add("--outputs", type=Path, default=Path("outputs"), help="folder of results (default: %(default)s)")
    add("--data", metavar="FOLDER", help="folder of data sets (default: the environment variable VOXNAS_DATA)")
    add("--store", metavar="URL", help="store of a study: URL, file or output folder; it is opened and written")
    add("--json", action="store_true", help="print JSON")
    doctor.set_defaults(run=run)
    return doctor


def run(options: argparse.Namespace) -> int:
    """Run all checks and print them.

    Args:
        options: Parsed arguments.

    Returns:
        0, or 2 if there is a problem.
    """
    checks = all_checks(options.outputs, options.data, options.store)
    problems = [check for check in checks if check.status == PROBLEM]
    if options.json:
        write_line(json.dumps({"ok": not problems, "checks": [vars(check) for check in checks]}, indent=1))
    else:
        width = terminal_width() if has_width() else None
        for check in checks:
            write_line(check.line(width))
        names = ", ".join(check.name for check in problems)
        write_line(
            f"\n{len(problems)} problem{'s' if len(problems) != 1 else ''}: {names}" if problems else "\nall is ok"
        )
    return USER_ERROR if problems else 0


def all_checks(outputs: Path, data: str | None, store: str | None) -> list[Check]:
    """Run all checks.

    Args:
        outputs: Folder of results.
        data: Folder of data sets; None for that of the environment.
        store: Store of a study; None for no check of one.

    Returns:
        The checks, in the order in which they are shown.
    """
    from experiments.doctor import machine, places, software

    probe = software.start_probe()
    cache = Path(os.environ.get("VOXNAS_CACHE") or outputs / "data")
    folders = [
        places.disk_check("outputs", outputs, "run elsewhere, or hydra.run.dir=/folder"),
        places.disk_check("cache", cache, "data_cache=/folder, or the environment variable VOXNAS_CACHE"),
        places.data_check(data),
        *([places.store_check(store)] if store else []),
        places.lock_check(outputs),
    ]
    extras, memory = software.extra_checks(), machine.memory_check()
    torch = software.torch_facts(probe)
    return [
        *software.python_checks(),
        *software.package_checks(torch),
        machine.processor_check(torch),
        machine.gpu_check(torch),
        memory,
        machine.threads_check(torch),
        *folders,
        *extras,
    ]
