"""Neural architecture search for 3D medical images."""

from typing import TYPE_CHECKING

from nas.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from nas import cost as cost
    from nas import data as data
    from nas import evaluators as evaluators
    from nas import strategies as strategies
    from nas import study as study
    from nas import supernets as supernets
    from nas import tasks as tasks
    from nas import training as training
    from nas.api.searching import run_search as run_search
    from nas.api.training import retrain as retrain
    from nas.architecture import Architecture as Architecture
    from nas.architecture import Gene as Gene
    from nas.artifact import Artifact as Artifact
    from nas.context import RunContext as RunContext
    from nas.errors import NASError as NASError
    from nas.errors import TrialFailed as TrialFailed
    from nas.history import History as History
    from nas.history import Proposal as Proposal
    from nas.problem import Problem as Problem
    from nas.published import Published as Published
    from nas.published import PublishedCount as PublishedCount
    from nas.space import SearchSpace as SearchSpace
    from nas.task_spec import TaskSpec as TaskSpec
    from nas.tracking.base import NoTracking as NoTracking
    from nas.tracking.base import Tracker as Tracker
    from nas.tracking.mlflow_run import MLflowRun as MLflowRun
    from nas.tracking.tensorboard_files import TensorBoardFiles as TensorBoardFiles
    from nas.tracking.visdom_board import VisdomBoard as VisdomBoard

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "Architecture": "nas.architecture",
        "Artifact": "nas.artifact",
        "Gene": "nas.architecture",
        "History": "nas.history",
        "MLflowRun": "nas.tracking.mlflow_run",
        "NASError": "nas.errors",
        "NoTracking": "nas.tracking.base",
        "Problem": "nas.problem",
        "Proposal": "nas.history",
        "Published": "nas.published",
        "PublishedCount": "nas.published",
        "RunContext": "nas.context",
        "SearchSpace": "nas.space",
        "TaskSpec": "nas.task_spec",
        "TensorBoardFiles": "nas.tracking.tensorboard_files",
        "Tracker": "nas.tracking.base",
        "TrialFailed": "nas.errors",
        "VisdomBoard": "nas.tracking.visdom_board",
        "retrain": "nas.api.training",
        "run_search": "nas.api.searching",
    },
    ["cost", "data", "evaluators", "strategies", "study", "supernets", "tasks", "training"],
)
