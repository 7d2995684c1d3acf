"""Neural architecture search for 3D medical images."""

from typing import TYPE_CHECKING

from nas.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from nas.architecture import Architecture as Architecture
    from nas.architecture import Gene as Gene
    from nas.artifact import Artifact as Artifact
    from nas.bundle import Bundle as Bundle
    from nas.errors import NASError as NASError
    from nas.errors import TrialFailed as TrialFailed
    from nas.history import History as History
    from nas.history import Proposal as Proposal
    from nas.space import Published as Published
    from nas.space import SearchSpace as SearchSpace
    from nas.task_spec import TaskSpec as TaskSpec
    from nas.tracking import NoTracking as NoTracking
    from nas.tracking import VisdomBoard as VisdomBoard

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "Architecture": "nas.architecture",
        "Artifact": "nas.artifact",
        "Bundle": "nas.bundle",
        "Gene": "nas.architecture",
        "History": "nas.history",
        "NASError": "nas.errors",
        "NoTracking": "nas.tracking",
        "Proposal": "nas.history",
        "Published": "nas.space",
        "SearchSpace": "nas.space",
        "TaskSpec": "nas.tasks.base",
        "TrialFailed": "nas.errors",
        "VisdomBoard": "nas.tracking",
    },
)
