"""Studies: trials in a store that many workers share."""

from typing import TYPE_CHECKING

from nas.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from nas.study.study import Study as Study

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "Study": "nas.study.study",
    },
)
