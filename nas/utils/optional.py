"""Import of modules of MONAI, which is an extra and takes seconds to import."""

from __future__ import annotations

import importlib
from types import ModuleType

from nas.errors import NASError


def monai_part(name: str) -> ModuleType:
    """Import a module of MONAI.

    Args:
        name: Name of the module below `monai`.

    Returns:
        The module.

    Raises:
        NASError: If MONAI is not installed.
    """
    try:
        return importlib.import_module(f"monai.{name}")
    except ImportError as error:
        raise NASError(f"no MONAI ({error})", "the extra `medical`", "pip install 'voxnas[medical]'") from error
