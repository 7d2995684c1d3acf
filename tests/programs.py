"""Programs that tests run beside Python."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(program: str, package: str) -> NoReturn:
    """Skips the test; fails it where VOXNAS_NO_SKIPS is set, as .ci/run does. package: the name in Debian."""
    reason = f"{program} is not installed (Debian: {package})"
    if os.environ.get("VOXNAS_NO_SKIPS"):
        pytest.fail(reason)
    pytest.skip(reason)
