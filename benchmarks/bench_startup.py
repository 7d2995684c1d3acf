"""CPU time of starting commands, against a bare import in the same run.

python -m benchmarks.bench_startup [--runs 7]

Prints user and system seconds of each command (median over the runs, which alternate between the commands) and its
ratio to `import hydra`, `import optuna` or Python itself. A ratio above the limit ends with exit code 1.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from experiments.argument_types import count_type
from experiments.cli import Parser, run_parser

REPO = Path(__file__).resolve().parents[1]
LAUNCHER = ("-m", "experiments.commands.voxnas")
LIMIT = 2.5
BASES = {"python": ("-c", "pass"), "import hydra": ("-c", "import hydra"), "import optuna": ("-c", "import optuna")}
# command -> (arguments of Python, command that it is compared with, exit code)
COMMANDS = {
    "run_search.py --cfg job": (("run_search.py", "--cfg", "job"), "import hydra", 0),
    "run_search.py no.such=1": (("run_search.py", "no.such=1"), "import hydra", 2),
    "run_search.py --help": (("run_search.py", "--help"), "import hydra", 0),
    "run_train.py --cfg job": (("run_train.py", "--cfg", "job", "arch=x"), "import hydra", 0),
    "voxnas --help": ((*LAUNCHER, "--help"), "python", 0),
    "voxnas study list": ((*LAUNCHER, "study", "list"), "import optuna", 0),
}


def parser() -> Parser:
    """Return the parser of this benchmark."""
    program = "python -m benchmarks.bench_startup"
    bench = Parser(
        program, "CPU time of starting commands, as a multiple of a bare import.", [program, f"{program} --runs 3"]
    )
    bench.add_argument("--runs", type=count_type, default=7, help="runs of each command (default: 7)")
    bench.set_defaults(run=run)
    return bench


def run(options: argparse.Namespace) -> int:
    """Measure all commands, print the table and return 1 if a ratio is above the limit."""
    with tempfile.TemporaryDirectory() as folder:
        store = _store(Path(folder))
        commands = {name: (words, 0) for name, words in BASES.items()}
        commands |= {
            name: ((*words, store) if "list" in words else words, code) for name, (words, _, code) in COMMANDS.items()
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(options.runs + 1):  # the first run fills the caches
            for name, (words, code) in commands.items():
                seconds[name].append(cpu_seconds(words, code))
    median = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    print(f"| command | CPU s | compared with | CPU s | ratio (at most {LIMIT}) |\n| --- | ---: | --- | ---: | ---: |")
    slow = False
    for name, (_, base, _) in COMMANDS.items():
        ratio = median[name] / median[base]
        slow |= ratio > LIMIT
        print(f"| {name} | {median[name]:.3f} | {base} | {median[base]:.3f} | {ratio:.2f} |")
    return int(slow)


def cpu_seconds(words: tuple[str, ...], code: int = 0) -> float:
    """Run Python with these arguments in the repository and return its user and system seconds."""
    before = _of_children()
    done = subprocess.run([sys.executable, *words], cwd=REPO, capture_output=True, text=True)
    after = _of_children()
    if done.returncode != code:
        raise RuntimeError(f"{words}: exit code {done.returncode}: {done.stderr}")
    return after - before


def _of_children() -> float:
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        times = os.times()
        return times.children_user + times.children_system
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)  # os.times counts in steps of 10 ms
    return usage.ru_utime + usage.ru_stime


def _store(folder: Path) -> str:
    """Make a store with one empty study."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = folder / "study.db"
    optuna.create_study(storage=f"sqlite:///{path}", study_name="empty")
    return str(path)


if __name__ == "__main__":
    sys.exit(run_parser(parser(), sys.argv[1:]))
