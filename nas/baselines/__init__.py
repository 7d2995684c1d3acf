"""Simple models that a network is compared with."""

from typing import TYPE_CHECKING

from nas.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from nas.baselines.base import Baseline as Baseline

__getattr__, __dir__, __all__ = lazy_exports(__name__, {"Baseline": "nas.baselines.base"})
