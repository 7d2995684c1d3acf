"""A simple model that stands beside the networks in a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from nas.data.splits import Fold
    from nas.data.store import VolumeStore


def always(store: VolumeStore) -> bool:
    """Return True; the default condition of a baseline.

    Args:
        store: The data.

    Returns:
        True.
    """
    return True


Prediction = tuple[np.ndarray, np.ndarray]  # rows of the store (N,) and the prediction for each, (N, ...)


@dataclass(frozen=True, slots=True)
class Baseline:
    """A model without a network, fitted on the same samples as the networks.

    Attributes:
        name: Name in tables; `baselines.<name>=false` leaves it out.
        fit_and_predict: Called as (store, rounds, seed). For each round it fits on the training and validation part
            and predicts the test part; it returns the rows that were tested, in rising order, and their predictions in
            the form that `Task.predict` gives.
        applies: Called with the store; False if the data lack what the model needs, which leaves out its row.
    """

    name: str
    fit_and_predict: Callable[[VolumeStore, Sequence[Fold], int], Prediction]
    applies: Callable[[VolumeStore], bool] = always
