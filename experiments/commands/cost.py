"""`voxnas cost SPACE`: measure the latency table of a space on this machine."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.argument_types import count_type, size_type
from experiments.cli import Parser, write_line
from nas.errors import NASError, first_line

if TYPE_CHECKING:
    from nas.space import SearchSpace

EXAMPLES = (
    "voxnas cost naslung --size 32",
    "voxnas cost dints --size 32,48,32 --outputs 3 --set num_blocks=2 --out t.json",
)


def parser() -> Parser:
    """Return the parser of `voxnas cost`.

    Returns:
        The parser.
    """
    cost = Parser("voxnas cost", "Measure the latency of a space's blocks on this machine; write a table.", EXAMPLES)
    add = cost.add_argument
    add("space", metavar="SPACE", help="name of a space in conf/space, or the class path of your own")
    add("--size", type=size_type, default=(32,), help="of the images: one side, or D,H,W, or H,W (default: 32)")
    add("--channels", type=count_type, default=1, help="channels of the images (default: 1)")
    add("--outputs", type=count_type, default=2, help="outputs of the networks (default: 2)")
    add(
        "--networks",
        type=count_type,
        default=20,
        help="networks measured whole, by which the sums are calibrated and checked (default: 20)",
    )
    add("--device", default="cpu", help="cpu, cuda, cuda:1, ... (default: cpu)")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="an argument of the space; may be repeated")
    add("--out", metavar="FILE", help="the table (default: outputs/latency/SPACE-SIZE.json)")
    cost.set_defaults(run=run)
    return cost


def run(options: argparse.Namespace) -> None:
    """Measure the table, calibrate sums of blocks by whole networks, and write it.

    Args:
        options: Parsed arguments.
    """
    from pathlib import Path

    from experiments.devices import pick_device
    from nas.cost.latency import measure_table
    from nas.task_spec import TaskSpec
    from nas.utils.folders import require_output

    space = _space(options.space, options.set)
    size = options.size * 3 if len(options.size) == 1 else options.size
    name = "x".join(map(str, size if len(set(size)) > 1 else size[:1]))
    path = Path(options.out or f"outputs/latency/{options.space}-{name}.json")
    require_output(path)
    table = measure_table(
        space,
        (options.channels, *size),
        TaskSpec(space.kind, len(size), options.channels, options.outputs),
        pick_device(options.device),
        checks=options.networks,
        progress=_write_progress,
    )
    table.save(path)
    check = table.meta["check"]
    threads = f", {table.meta['threads']} threads" if "threads" in table.meta else ""
    write_line(
        f"{len(table.blocks)} blocks on {table.meta['device']}{threads}, one image, torch {table.meta['torch']}; "
        f"sums of blocks times {table.meta['calibration']:.2f} against {check['networks']} random networks: "
        f"median error {100 * check['median_error']:.1f} %, largest {100 * check['largest_error']:.1f} %, "
        f"rank correlation {check['rank_correlation']:.3f}"
    )
    if table.warning:
        write_line(f"warning: {table.warning}")
    write_line(f"wrote {path} (use: cost.metric=latency_ms cost.table={path})")


def _space(name: str, settings: Sequence[str]) -> SearchSpace:
    """Build a space of conf/space, or of a class path, with some of its arguments replaced."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from experiments.build import build
    from experiments.conf_files import groups, text_of
    from nas.space import SearchSpace

    if "." not in name and name not in groups()["space"]:
        raise NASError(
            f"the space {name}", f"one of {', '.join(groups()['space'])}, or a class path", "voxnas cost naslung"
        )
    own = OmegaConf.create({"_target_": name} if "." in name else text_of(f"space/{name}.yaml"))
    try:
        if not all("=" in setting for setting in settings):
            raise ValueError("no =")
        arguments = OmegaConf.to_container(OmegaConf.merge(own, OmegaConf.from_dotlist([*settings])))
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        raise NASError(
            f"--set {' '.join(settings)} ({first_line(error)})", "KEY=VALUE", "for example --set widths=[4,8]"
        ) from error
    assert isinstance(arguments, dict)
    return build(arguments, "space", SearchSpace)


def _write_progress(done: int, total: int) -> None:
    if done % 25 == 0 or done == total:
        write_line(f"measured {done} of {total}")
