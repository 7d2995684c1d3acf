"""Checks of the five kinds of parts, also for those of other packages: they report mistakes in one line."""

from typing import TYPE_CHECKING

from nas.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from nas.testing.data_set import check_data as check_data
    from nas.testing.evaluator import check_evaluator as check_evaluator
    from nas.testing.findings import CheckFailed as CheckFailed
    from nas.testing.space import check_space as check_space
    from nas.testing.strategy import check_strategy as check_strategy
    from nas.testing.task import check_task as check_task

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "CheckFailed": "nas.testing.findings",
        "check_data": "nas.testing.data_set",
        "check_evaluator": "nas.testing.evaluator",
        "check_space": "nas.testing.space",
        "check_strategy": "nas.testing.strategy",
        "check_task": "nas.testing.task",
    },
)
