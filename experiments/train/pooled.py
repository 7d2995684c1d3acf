"""One table over several test folds: each patient once, tested by a network whose search and training never saw it.

voxnas pooled 'searched=outputs/train/searched*' 'U-Net=outputs/train/unet*'

The runs are those of `run_train.py` with another split.test_fold each.
"""

from __future__ import annotations

import argparse
import glob
from pathlib import Path

from experiments.cli import write_tables
from nas.errors import NASError
from nas.retraining.pooled import pooled_table, read_pooled


def run(options: argparse.Namespace) -> None:
    """Print the table, as Markdown unless on a terminal.

    Args:
        options: Parsed arguments.

    Raises:
        NASError: If a system is not given as NAME=FOLDERS.
    """
    systems = []
    for text in options.systems:
        name, equals, pattern = text.partition("=")
        if not equals:
            raise NASError(text, "NAME=FOLDERS", "for example 'searched=outputs/train/fold*'")
        folders = [Path(path) for path in sorted(glob.glob(pattern))]
        systems.append(read_pooled(name, folders, options.allow_package))
    write_tables(pooled_table(systems))
