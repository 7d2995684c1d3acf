"""Parts of MONAI, which takes seconds to import and is an extra: only the tasks that need it import it."""

from __future__ import annotations

import importlib
from types import ModuleType

from nas.errors import NASError


def monai_part(name: str) -> ModuleType:
    """The module monai.<name>. Raises NASError where MONAI is not installed."""
    try:
        return importlib.import_module(f"monai.{name}")
    except ImportError as error:
        raise NASError(f"no MONAI ({error})", "the extra `medical`", "pip install 'voxnas[medical]'") from error
