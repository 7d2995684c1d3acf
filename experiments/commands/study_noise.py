"""Body of `voxnas study noise`."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from experiments.cli import has_width, write_line
from experiments.commands.study_actions import opened_study
from nas.architecture import Architecture
from nas.errors import NASError
from nas.history import History, Trial
from nas.trials_table import TrialsTable, read_h5
from nas.utils.text_table import in_columns, terminal_width

TABLES = (".h5", ".hdf5")


def noise_study(options: argparse.Namespace) -> None:
    """Show how far the evaluations of a study, or of an exported table, tell its networks apart.

    Args:
        options: Parsed arguments.

    Raises:
        NASError: If no network was evaluated twice.
    """
    from nas.noise import require_noise  # here, as scipy takes long to import

    if Path(options.store).suffix in TABLES:
        if options.study is not None:
            raise NASError(f"{options.study!r} with a table", "the table alone", "leave out the name of the study")
        history = history_of(read_h5(options.store))
    else:
        study = opened_study(options)
        history = study.history()
        study.close()
    rows = require_noise(history, options.metric).rows(options.icc)
    for line in in_columns(rows, terminal_width() if has_width() else None):
        write_line(line)


def history_of(table: TrialsTable) -> History:
    """Return the trials of a table.

    Args:
        table: The table.

    Returns:
        The history; costs are unknown.
    """
    records = tuple(
        Trial(
            number=int(table.numbers_N[row]),
            arch=Architecture(table.space.fingerprint, tuple(table.genes_NG[row].tolist())),
            budget=int(table.budgets_N[row]),
            state=state,
            metrics={name: float(column[row]) for name, column in table.metrics.items()},
            replicate=int(table.replicates_N[row]),
        )
        for row, state in enumerate(table.states)
    )
    return History(records, table.objectives, lambda genes_NG: np.full(len(genes_NG), np.nan))
