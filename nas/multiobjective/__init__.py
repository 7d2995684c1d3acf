"""Constraints and Pareto fronts."""

from typing import TYPE_CHECKING

from nas.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from nas.multiobjective.constraints import Constraint as Constraint

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "Constraint": "nas.multiobjective.constraints",
    },
)
