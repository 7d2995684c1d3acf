"""Import of optional packages: MONAI and readers of medical images, which are extras."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

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


def medical(module: str) -> Any:
    """Import a package of the extra `medical`, which `import nas` does not need.

    Args:
        module: Name of the package.

    Returns:
        The module.

    Raises:
        NASError: If it is not installed.
    """
    try:
        return __import__(module)
    except ImportError as error:
        raise NASError(
            f"no package {module}", "the readers of medical formats", "pip install 'voxnas[medical]'"
        ) from error
