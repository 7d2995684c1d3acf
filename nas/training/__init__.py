"""Training of one network."""

from typing import TYPE_CHECKING

from nas.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from nas.training.settings import TrainingSettings as TrainingSettings

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "TrainingSettings": "nas.training.settings",
    },
)
