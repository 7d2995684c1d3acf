"""Exceptions: NASError for invalid user input, TrialFailed for a candidate that cannot be scored."""

from __future__ import annotations

import re

MOST_SHOWN = 1000  # characters of each part of a message
# Control characters but tab and line feed, marks that reverse the direction of text, and halves of surrogate pairs
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
PASSWORD = re.compile(r"(://[^\s/:@]*):\S*@|([?&](?:ssl)?(?:password|passwd|pwd)=)[^\s&#'\"]+", re.IGNORECASE)


class NASError(Exception):
    """Invalid input of a user, reported in one line: `got ...; expected ...; fix: ...`.

    Args:
        got: The invalid value, as name=value.
        expected: Valid values.
        fix: The change that helps.
    """

    def __init__(self, got: str, expected: str, fix: str) -> None:
        super().__init__(got, expected, fix)
        self.got, self.expected, self.fix = got, expected, fix

    def __str__(self) -> str:
        got, expected, fix = (_shortened(str(part)) for part in (self.got, self.expected, self.fix))
        return visible(" ".join(f"got {got}; expected {expected}; fix: {fix}".split()))


class TrialFailed(Exception):
    """A candidate could not be evaluated (NaN loss, out of memory); the search records the reason and continues."""


def visible(text: str) -> str:
    """Make a text from elsewhere safe to show: no terminal sequences, no passwords.

    Args:
        text: Any text, such as a name that a file holds.

    Returns:
        The text with control characters as `\\x1b`, and with `***` for the passwords of URLs.
    """
    return without_passwords(CONTROL.sub(lambda match: _code(match[0]), text))


def without_passwords(text: str) -> str:
    """Replace the passwords of URLs.

    Args:
        text: Any text.

    Returns:
        The text with `***` for passwords.
    """
    if "://" not in text:
        return text
    return PASSWORD.sub(lambda match: f"{match[1]}:***@" if match[1] is not None else f"{match[2]}***", text)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message.

    Args:
        error: The error.

    Returns:
        At most 200 characters; the name of the class if there is no message.
    """
    return _lines(error)[0][:200]


def last_line(error: BaseException) -> str:
    """Return the last line of an error's message, where the libraries of images and of tensors name the cause.

    Args:
        error: The error.

    Returns:
        At most 200 characters; the name of the class if there is no message.
    """
    return _lines(error)[-1][:200]


def _lines(error: BaseException) -> list[str]:
    details = getattr(error, "details", None)  # of gRPC
    if isinstance(error, KeyError) and len(error.args) == 1:
        text = str(error.args[0])  # the text of a KeyError is the representation of its argument
    else:
        text = str(details() if callable(details) else error)
    return [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]


def _shortened(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def _code(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"
