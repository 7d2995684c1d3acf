"""Lung screening in two stages, and a third by a searched network: lungs, nodule candidates, malignancy."""

from typing import TYPE_CHECKING

from nas.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from experiments.lung_screening.training_data import LungSlices as LungSlices
    from experiments.lung_screening.training_data import NodulePatches as NodulePatches

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "LungSlices": "experiments.lung_screening.training_data",
        "NodulePatches": "experiments.lung_screening.training_data",
    },
)
