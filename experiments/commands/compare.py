"""Compare finished searches and trainings: a table of the jobs, and a page with intervals, curves and tests.

voxnas compare outputs/demo
voxnas compare outputs/demo outputs/train/demo --out outputs/compared
"""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments.argument_types import number_type, seed_type
from experiments.cli import Parser, write_tables

EXAMPLES = (
    "voxnas compare outputs/demo",
    "voxnas compare outputs/demo outputs/train/demo --out outputs/compared",
    "voxnas compare outputs/train/*/result.json",
)


def parser() -> Parser:
    """Return the parser of `voxnas compare`.

    Returns:
        The parser.
    """
    summary = "Compare searches and trainings of one data set and one task over their seeds."
    compare = Parser("voxnas compare", summary, EXAMPLES)
    help_of_paths = "folder of a sweep, of a search or of a training; also a result.json"
    compare.add_argument("paths", metavar="FOLDER", nargs="+", type=Path, help=help_of_paths)
    help_of_out = "folder for sweep.csv and compare.html (default: the folder, if one is given)"
    compare.add_argument("--out", type=Path, metavar="FOLDER", help=help_of_out)
    help_of_resamples = "bootstrap samples of patients (default: %(default)s)"
    compare.add_argument("--resamples", type=number_type(int, 1, 100_000), default=2000, help=help_of_resamples)
    compare.add_argument("--seed", type=seed_type, default=0, help="seed of the bootstrap (default: %(default)s)")
    compare.add_allow_package()
    compare.set_defaults(run=run)
    return compare


def run(options: argparse.Namespace) -> None:
    """Print the tables, as Markdown unless on a terminal, and write sweep.csv and compare.html.

    Args:
        options: Parsed arguments.
    """
    from nas.comparison.compare import compare_jobs
    from nas.comparison.jobs import read_jobs
    from nas.comparison.markdown import as_markdown
    from nas.report.comparison import PAGE, ROWS, write_comparison
    from nas.utils.files import exclusive

    jobs = read_jobs(options.paths)
    settings = options.allow_package, options.resamples, options.seed
    (first, *others) = options.paths
    out = options.out or (first if not others and first.is_dir() else None)
    if out is None:
        write_tables(as_markdown(compare_jobs(jobs, *settings)))
        print("\n--out FOLDER also writes sweep.csv and compare.html")
        return
    with exclusive(out):
        write_tables(as_markdown(write_comparison(out, jobs, *settings)))
    print(f"\nwrote {out / PAGE} and {out / ROWS}")
