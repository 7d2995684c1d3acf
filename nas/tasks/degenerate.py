"""Predictions without information: the same for every case, or never of some class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

NEAR_ZERO = 0.01  # Dice of a class below which a training has not found it
NEAR_CHANCE = 0.005  # distance from an AUC of 0.5 below which a training has learned nothing
SAME = 1e-4  # difference below which two predictions are the same, relative to their size or to 1


def same_for_every_case(prediction: np.ndarray) -> bool:
    """Check whether a network answers every case alike.

    Args:
        prediction: Predictions (N, ...).

    Returns:
        True if there are two cases or more and their predictions differ by less than 0.01 %.
    """
    if len(prediction) < 2:
        return False
    first = prediction[0]
    return all(np.allclose(one, first, rtol=SAME, atol=SAME) for one in prediction[1:])


def never_answered(answered: Iterable[Any], present: Iterable[Any], classes: Sequence[str], verb: str) -> list[str]:
    """Name the classes that occur and are never answered.

    Args:
        answered: Numbers of the classes that are answered at least once.
        present: Numbers of the classes that occur in the target.
        classes: Names of the classes.
        verb: Verb of the answer, for example "predicts".

    Returns:
        One text for each class, for example "never predicts malignant".
    """
    lost = sorted(set(map(int, present)) - set(map(int, answered)))
    return [f"never {verb} {classes[number] if number < len(classes) else f'class {number}'}" for number in lost]
