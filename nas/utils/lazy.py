"""Package exports that are imported on first use (PEP 562), so that importing a package stays cheap."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy_exports(
    package: str, exports: Mapping[str, str], subpackages: Sequence[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Make the module attributes `__getattr__`, `__dir__` and `__all__` of a package.

    Args:
        package: Name of the package (`__name__`).
        exports: Exported name -> module that defines it. A name must not be that of a submodule, because importing the
            submodule would replace it.
        subpackages: Sub-packages that become attributes of the package without being imported by name.

    Returns:
        The three attributes, in this order. The first raises AttributeError for a name without an export.
    """

    def get(name: str) -> Any:
        if name in subpackages:
            return importlib.import_module(f"{package}.{name}")
        if name not in exports:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(exports[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return get, lambda: sorted({*vars(sys.modules[package]), *exports, *subpackages}), sorted(exports)
