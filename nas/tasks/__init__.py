"""Tasks: loss, inference and metrics of networks."""

from typing import TYPE_CHECKING

from nas.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from nas.baselines.base import Baseline as Baseline
    from nas.metrics.metric import Metric as Metric
    from nas.metrics.metric import Scores as Scores
    from nas.tasks.base import Task as Task
    from nas.tasks.base import TestedCases as TestedCases
    from nas.tasks.base import evaluation_mode as evaluation_mode
    from nas.tasks.classification import Classification as Classification
    from nas.tasks.detection import Detection as Detection
    from nas.tasks.segmentation import Segmentation as Segmentation

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "Baseline": "nas.baselines.base",
        "Classification": "nas.tasks.classification",
        "Detection": "nas.tasks.detection",
        "Metric": "nas.metrics.metric",
        "Scores": "nas.metrics.metric",
        "Segmentation": "nas.tasks.segmentation",
        "Task": "nas.tasks.base",
        "TestedCases": "nas.tasks.base",
        "evaluation_mode": "nas.tasks.base",
    },
)
