"""From a folder of data to the settings of a search and a training, each with its reason."""

from typing import TYPE_CHECKING

from nas.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from nas.planning.fingerprint import Fingerprint as Fingerprint
    from nas.planning.plan import Decision as Decision
    from nas.planning.plan import Plan as Plan
    from nas.planning.rules import Limits as Limits
    from nas.planning.rules import Network as Network
    from nas.planning.rules import StepCost as StepCost

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "Decision": "nas.planning.plan",
        "Fingerprint": "nas.planning.fingerprint",
        "Limits": "nas.planning.rules",
        "Network": "nas.planning.rules",
        "Plan": "nas.planning.plan",
        "StepCost": "nas.planning.rules",
    },
)
