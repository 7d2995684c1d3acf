"""The positive class of two: how captions name it, and whether its name suggests the opposite."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

NEGATIVE = frozenset(
    [
        "absent",
        "benign",
        "clean",
        "clear",
        "control",
        "controls",
        "false",
        "free",
        "healthy",
        "negative",
        "neg",
        "no",
        "non",
        "none",
        "normal",
        "nothing",
        "not",
        "stable",
        "unaffected",
        "without",
    ]
)


def suggests_negative(name: str) -> bool:
    """Check whether the name of a class suggests the absence of a finding.

    Args:
        name: Name of the class.

    Returns:
        True for names such as "normal", "benign", "no_cancer", "non-cancer" or "healthy control".
    """
    return bool(NEGATIVE & set(re.split(r"[\W_\d]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())))


def doubtful_positive(positive: str | None, classes: Sequence[str]) -> str:
    """Return the class that is more likely meant as the positive one.

    Args:
        positive: The positive class, or None.
        classes: Names of the classes.

    Returns:
        The name of the other class if only that of the positive one suggests a negative; else "".
    """
    others = [name for name in classes if name != positive]
    if positive is None or len(others) != 1 or not suggests_negative(positive) or suggests_negative(others[0]):
        return ""
    return others[0]


def warning(positive: str | None, classes: Sequence[str]) -> str:
    """Describe a positive class whose name suggests the opposite.

    Args:
        positive: The positive class, or None.
        classes: Names of the classes.

    Returns:
        A sentence with the setting that changes it; empty if there is no doubt.
    """
    other = doubtful_positive(positive, classes)
    if not other:
        return ""
    return f"The positive class is {positive}, whose name suggests a negative; task.positive={other} takes the other."


def decision_text(decision: Mapping[str, Any], classes: Sequence[str], system: str = "") -> list[str]:
    """Describe for the caption of a table how classes were decided.

    Args:
        decision: positive (name of the class) and thresholds (system -> decision threshold), if there are any.
        classes: Names of the classes.
        system: The system of a table whose threshold is named; "" for the only one.

    Returns:
        Parts of a caption.
    """
    positive, thresholds = decision.get("positive"), decision.get("thresholds", {})
    parts = []
    if positive is not None:
        parts.append(f"positive class {positive} (of sensitivity, specificity and F1)")
        if doubtful_positive(positive, classes):
            parts[-1] += ", although its name suggests a negative"
    if thresholds:
        value = thresholds.get(system, next(iter(thresholds.values())))
        rest = "; rows without a network decide at 0.5" if system else ""
        threshold = f"a probability of {value:.3g}, the decision threshold of the network"
        parts.append(f"called {positive} from {threshold}{rest}")
    return parts


def decision_note(decision: Mapping[str, Any], classes: Sequence[str], system: str = "") -> str:
    """Describe in sentences how classes were decided, for a note beside a table.

    Args:
        decision: As for `decision_text`.
        classes: Names of the classes.
        system: As for `decision_text`.

    Returns:
        Sentences, each after a blank; empty if there is nothing to state.
    """
    return "".join(f" {text[:1].upper()}{text[1:]}." for text in decision_text(decision, classes, system))
