"""Trackers: receivers of the curves, fronts, settings and pictures of a run."""

from typing import TYPE_CHECKING

from nas.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from nas.tracking.base import NO_TRACKING as NO_TRACKING
    from nas.tracking.base import NoTracking as NoTracking
    from nas.tracking.base import TrackedRun as TrackedRun
    from nas.tracking.base import Tracker as Tracker
    from nas.tracking.base import Trackers as Trackers
    from nas.tracking.mlflow_run import MLflowRun as MLflowRun
    from nas.tracking.tensorboard_files import TensorBoardFiles as TensorBoardFiles
    from nas.tracking.visdom_board import VisdomBoard as VisdomBoard

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "NO_TRACKING": "nas.tracking.base",
        "NoTracking": "nas.tracking.base",
        "TrackedRun": "nas.tracking.base",
        "Tracker": "nas.tracking.base",
        "Trackers": "nas.tracking.base",
        "MLflowRun": "nas.tracking.mlflow_run",
        "TensorBoardFiles": "nas.tracking.tensorboard_files",
        "VisdomBoard": "nas.tracking.visdom_board",
    },
)
