"""Section of the report of a search about the noise of its evaluations."""

from __future__ import annotations

from nas.history import History
from nas.html.page import Cell, section, table
from nas.metrics.names import Names
from nas.noise import Noise


def noise_section(names: Names, history: History) -> list[str]:
    """Describe how far the evaluations tell networks apart, if networks were evaluated several times.

    Args:
        names: Names and formats of metrics.
        history: Trials of the search.

    Returns:
        A section; none without replicates.
    """
    found = Noise.of(history)
    if found is None:
        return []
    rows = [[Cell(name), Cell(text)] for name, text in found.rows() if name != "metric"]
    note = (
        f"From networks that were evaluated several times, for {names.unit(history.score).name}. ICC: share of the "
        "variance of single evaluations that is between networks; in brackets its 90 % interval by bootstrap over "
        "networks."
    )
    return [section("Noise of the evaluations", note, table([Cell("measure"), Cell("value")], rows))]
