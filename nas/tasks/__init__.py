"""What networks are trained for: loss, inference and metrics."""

from typing import TYPE_CHECKING

from nas.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from nas.tasks.base import Task as Task
    from nas.tasks.classification import Classification as Classification
    from nas.tasks.detection import Detection as Detection
    from nas.tasks.segmentation import Segmentation as Segmentation

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "Classification": "nas.tasks.classification",
        "Detection": "nas.tasks.detection",
        "Segmentation": "nas.tasks.segmentation",
        "Task": "nas.tasks.base",
    },
)
