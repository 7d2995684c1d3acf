"""One table over several test folds: each patient once, tested by a network whose search and training never saw it.

python -m experiments.train.pooled 'searched=outputs/train/searched-fold*' 'U-Net=outputs/train/unet-fold*'

The runs are those of `run_train.py` with another split.test_fold each.
"""

from __future__ import annotations

import argparse
import glob
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.cli import as_command
from nas.errors import NASError
from nas.retraining.pooled import pooled_table, read_pooled


def run(words: Sequence[str]) -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description="One table over test folds.")
    parser.add_argument("systems", nargs="+", help="name=folders of run_train.py, with wildcards")
    systems = []
    for text in parser.parse_args(words).systems:
        name, equals, pattern = text.partition("=")
        if not equals:
            raise NASError(text, "name=folders", "for example 'searched=outputs/train/fold*'")
        systems.append(read_pooled(name, [Path(path) for path in sorted(glob.glob(pattern))]))
    print(pooled_table(systems), end="")


if __name__ == "__main__":
    as_command(run, sys.argv[1:])
