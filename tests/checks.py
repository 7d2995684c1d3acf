"""How a check of `nas.testing` fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nas.testing import CheckFailed


def says(check: Callable[..., object], *arguments: Any, words: str) -> None:
    """The check fails in one line with got, expected and fix."""
    with pytest.raises(CheckFailed) as caught:
        check(*arguments)
    text = str(caught.value)
    assert text.startswith("got ")
    assert "; expected " in text
    assert "; fix: " in text
    assert words in text, text
    assert "\n" not in text
