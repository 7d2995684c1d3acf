"""Same as `voxnas screen`; also takes the settings `key=value` of earlier versions.

python -m experiments.lung_screening CT [CT ...] --stage1 FOLDER --stage2 FOLDER [--stage3 PATH]
python -m experiments.lung_screening CT --no-network
"""

from __future__ import annotations

import sys

from experiments.cli import run_parser, with_options
from experiments.lung_screening.command import parser

if __name__ == "__main__":
    sys.exit(run_parser(parser(), with_options(sys.argv[1:])))
