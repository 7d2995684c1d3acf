"""`python -m experiments.tables NAME`, the same as `voxnas tables NAME`."""

import sys

from experiments.cli import run_parser
from experiments.tables.command import parser

if __name__ == "__main__":
    sys.exit(run_parser(parser(), sys.argv[1:]))
