"""Paired differences between the rows of a section and its reference, from the results of their trainings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from experiments.tables import scores
from experiments.tables.plan import Planned
from experiments.tables.results import Computed
from nas.errors import NASError

NOT_COMPARED = "not compared in pairs"


def with_difference(
    own: Computed,
    mine: scores.Draws | None,
    row: Planned,
    reference: Computed | None,
    its: scores.Draws | None,
    score: str,
) -> Computed:
    """Return a row with its difference from the reference as it is now, or with the reason why it has none.

    Args:
        own: The row as it was computed.
        mine: Draws of its scores; None if its trainings were made elsewhere, or if it has none.
        row: The row as it is planned.
        reference: The row from which the difference is taken; None if it is not finished.
        its: Draws of the reference; None as for `mine`.
        score: Metric of the difference; empty for none.

    Returns:
        The row. A difference of trainings that were made elsewhere stays if reference and score are the same.
    """
    was_compared = bool(own.difference) or own.note.startswith(NOT_COMPARED)
    note = "" if own.note.startswith(NOT_COMPARED) else own.note
    plain = replace(own, against="", reference="", score="", difference={}, note=note)
    if not (row.against and score) or any(draws is not None and score not in draws.names for draws in (mine, its)):
        return plain
    if reference is None:
        return _without(plain, f"{row.against} is not finished") if mine or was_compared else plain
    facts: dict[str, Any] = {
        "against": row.against,
        "reference": f"{reference.identity} {reference.data}".strip(),
        "score": score,
    }
    if mine is not None and its is not None:
        return _compared(replace(plain, **facts), mine, its, plain)
    if own.difference and facts.items() <= vars(own).items():
        return own
    if mine is None and not own.difference:
        return own if was_compared else plain
    return _without(plain, f"the trainings of {row.key if mine is None else row.against} were made elsewhere")


def _compared(row: Computed, mine: scores.Draws, its: scores.Draws, plain: Computed) -> Computed:
    try:
        apart = scores.difference(mine, its, row.score)
    except NASError as error:
        return _without(plain, str(error))
    return _without(plain, f"{row.score} is undefined") if apart["ci95"] is None else replace(row, difference=apart)


def _without(row: Computed, reason: str) -> Computed:
    return replace(row, note=f"{NOT_COMPARED}: {reason}")
