"""From `tracking=...` to the trackers of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import Container, OmegaConf

from experiments.build import TARGET, build
from nas.errors import NASError
from nas.tracking.base import NO_TRACKING, NoTracking, Tracker, Trackers
from nas.utils.annotations import shown


def build_trackers(config: Any, allow: Sequence[str] | None = None) -> Tracker:
    """Construct the trackers of a configuration.

    Args:
        config: The settings of each tracker under a key of its own, as the files of conf/tracking place themselves; or,
            as earlier versions recorded it, those of one tracker.
        allow: Packages beside VoxNAS whose classes a file may name, see `experiments.build.build`.

    Returns:
        One tracker for all of them.

    Raises:
        NASError: If a setting is wrong, or the package of a tracker is not installed.
    """
    settings: Any = OmegaConf.to_container(config, resolve=True) if isinstance(config, Container) else config
    if not isinstance(settings, Mapping):
        raise NASError(
            f"tracking={shown(settings)}",
            "the settings of trackers",
            "choose files of conf/tracking, as tracking=[...]",
        )
    if TARGET not in settings:
        trackers = {str(key): build(part, f"tracking.{key}", Tracker, allow) for key, part in settings.items()}
        return Trackers(trackers) if trackers else NO_TRACKING
    if others := [key for key, part in settings.items() if isinstance(part, Mapping) and TARGET in part]:
        raise NASError(
            f"a tracker without a key of its own beside {', '.join(map(str, others))}",
            "every file of conf/tracking under its own key",
            "begin the file with `# @package tracking.<name>`",
        )
    tracker = build(settings, "tracking", Tracker, allow)
    return NO_TRACKING if isinstance(tracker, NoTracking) else Trackers({type(tracker).__name__: tracker})
