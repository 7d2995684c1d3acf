"""Agreement of all workers of a study on its spec, without a lock."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nas.artifact import SpaceFacts
from nas.errors import NASError
from nas.problem import Problem
from nas.study.reader import CONFIG, SCHEMA, SPACE, SPEC, StudyReader
from nas.study.storage import Store
from nas.utils.config_diff import first_difference

MAKING = "voxnas:making:"  # the spec of a worker that found a study without one


def agree(
    store: Store, name: str, spec: Mapping[str, Any], space: SpaceFacts, token: str, config: Mapping[str, Any]
) -> None:
    """Write the spec of a new study, or compare it with the recorded one.

    Each worker that finds none writes its own, then reads: if two of them differ, at least one sees the other and is
    refused, whichever spec the study gets.

    Args:
        store: The store, attached to the study.
        name: Name of the study, for messages.
        spec: Facts that all workers have to agree on.
        space: Recorded with a new study.
        token: Identity of this worker.
        config: Recorded with a new study.

    Raises:
        NASError: If the study has another spec, or is of another schema.
    """
    if store.attrs().get(SPEC) is None:
        if store.trials():
            StudyReader(store, name)  # raises: the trials are of another program
        own = f"{MAKING}{token}"
        store.set_attr(own, dict(spec))
        for key, other in store.attrs().items():
            if key.startswith(MAKING) and other is not None and other != spec:
                store.set_attr(own, None)
                require_equal(name, spec, other)
        store.set_metric_names(list(spec["objectives"]))
        store.set_attr(CONFIG, dict(config))
        store.set_attr(SPACE, space.to_json())
        store.set_attr(SPEC, dict(spec))
    require_equal(name, spec, StudyReader(store, name).spec)


def spec_of(problem: Problem, parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spec of a study as its store gives it back.

    Args:
        problem: Space and objectives.
        parts: Facts that all workers have to agree on beside them.

    Returns:
        JSON values.
    """
    facts = {"schema": SCHEMA, "space": problem.space.fingerprint, "objectives": dict(problem.objectives)}
    return dict(json.loads(json.dumps({**parts, **facts})))


def require_equal(name: str, own: Mapping[str, Any], recorded: Mapping[str, Any]) -> None:
    """Refuse a study with another spec.

    Args:
        name: Name of the study.
        own: What this worker searches.
        recorded: The spec of the study.

    Raises:
        NASError: If they differ.
    """
    if own != recorded:
        key, mine, other = first_difference(own, recorded)
        raise NASError(
            f"{key} {_short(mine)} for the study {name!r}",
            f"{key} {_short(other)}, with which it was created",
            "restore the setting, or start another study (study.name=...)",
        )


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
