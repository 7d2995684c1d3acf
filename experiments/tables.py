"""`voxnas tables RESULT...`, also `python -m experiments.tables`: one table of several result.json files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from experiments.cli import Parser, run_parser

EXAMPLES = (
    "voxnas tables outputs/train/*/result.json",
    "voxnas tables outputs/train/a-seed0/result.json outputs/train/a-seed1/result.json",
)


def parser() -> Parser:
    """Return the parser of `voxnas tables`.

    Returns:
        The parser.
    """
    tables = Parser("voxnas tables", "One table of several result.json files, mean and deviation over seeds.", EXAMPLES)
    tables.add_argument("results", metavar="RESULT", nargs="+", type=Path, help="result.json of a training")
    tables.set_defaults(run=run)
    return tables


def run(options: argparse.Namespace) -> None:
    """Print the table as Markdown.

    Args:
        options: Parsed arguments.
    """
    from nas.retraining.result import TrainResult
    from nas.retraining.tables import over_seeds

    print(over_seeds({str(path): TrainResult.load(path) for path in options.results}), end="")


if __name__ == "__main__":
    sys.exit(run_parser(parser(), sys.argv[1:]))
