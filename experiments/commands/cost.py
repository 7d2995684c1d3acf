"""`voxnas cost latency space=naslung`: measures this device's latency table and writes it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.options import packaged, read_options
from nas.artifact import import_space
from nas.cost.latency import LatencyTable, measure_table
from nas.errors import NASError
from nas.task_spec import TaskSpec

USAGE = (
    "voxnas cost latency space=<name in conf/space> [size=32 or size=[D,H,W]] [channels=1] [outputs=2] "
    "[batch=2] [out=<file>]"
)
DEFAULTS: dict[str, Any] = {
    "space": None,
    "size": [32, 32, 32],  # one number: a cube
    "channels": 1,
    "outputs": 2,
    "batch": 2,
    "networks": 20,
    "device": "cpu",
    "out": None,
    "allow_packages": [],
}
log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Exit code 0, or 2 with one line for a user's mistake."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        run(arguments)
    except NASError as error:
        log.error("error: %s", error)
        return 2
    return 0


def run(arguments: Sequence[str]) -> LatencyTable:
    if not arguments or arguments[0] != "latency":
        raise NASError(f"the words {' '.join(arguments)!r}", USAGE, "name the command `latency` first")
    options = _options(arguments[1:])
    space_class = import_space(options["space_class"], options["allow_packages"])
    try:
        space = space_class(**options["space_arguments"])
    except TypeError as error:
        raise NASError(
            f"space arguments ({error})", f"those of {space_class.__name__}", "mend space.<argument>"
        ) from error
    sides = _sides(options["size"])
    task = TaskSpec(space.kind, len(sides), options["channels"], options["outputs"])
    table = measure_table(
        space,
        (options["channels"], *sides),
        task,
        torch.device(options["device"]),
        batch=options["batch"],
        checks=options["networks"],
        progress=_log_progress,
    )
    name = "x".join(map(str, sides if len(set(sides)) > 1 else sides[:1]))
    path = Path(options["out"] or f"outputs/latency/{options['space']}-{name}.json")
    table.save(path)
    check = table.meta["check"]
    log.info(
        "%d blocks on %s, %d threads; sum of blocks against the whole on %d random networks: median error %.1f %%, "
        "largest %.1f %%, rank correlation %.3f",
        len(table.blocks),
        table.meta["device"],
        table.meta["threads"],
        check["networks"],
        100 * check["median_error"],
        100 * check["largest_error"],
        check["rank_correlation"],
    )
    log.info("wrote %s (use: cost.metric=latency_ms cost.table=%s)", path, path)
    return table


def _sides(size: Any) -> list[int]:
    sides = [size] * 3 if isinstance(size, int) else size
    if not isinstance(sides, list) or len(sides) not in (2, 3) or not all(type(n) is int and n >= 1 for n in sides):
        raise NASError(f"size={size}", "a whole number of at least 1, or [D,H,W], in 2D [H,W]", "mend size=")
    return sides


def _log_progress(done: int, total: int) -> None:
    if done % 25 == 0 or done == total:
        log.info("measured %d of %d", done, total)


def _options(words: Sequence[str]) -> dict[str, Any]:
    """Defaults, overridden by the words; `space` and `space.<argument>` turned into a class and its arguments."""
    options = read_options([word for word in words if not word.startswith("space.")], DEFAULTS, USAGE)
    try:
        overrides = OmegaConf.from_dotlist([word for word in words if word.startswith("space.")])
    except (OmegaConfBaseException, ValueError) as error:
        raise NASError(f"the words {' '.join(words)!r} ({error})", USAGE, "write key=value") from error
    conf = packaged("space", options["space"])
    if "space" in overrides:
        content = OmegaConf.to_container(OmegaConf.merge(conf, overrides.space))
    else:
        content = OmegaConf.to_container(conf)
    assert isinstance(content, dict)
    options["space_class"] = content.pop("_target_")
    options["space_arguments"] = content
    return options
