"""Export of every published network, and one of every space, to every format: time, size, difference from torch.

python -m benchmarks.bench_export [naslung unet ...] writes benchmarks/results/bench_export.json

Each network is converted by tracing, as in nas/export/onnx.py. For comparison the first network of each space is also
converted by torch.export. Inputs are the smallest cubes that the networks accept.
"""

from __future__ import annotations

import argparse
import io
import logging
import sys
import time
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.common import write_results
from experiments.build import build
from experiments.cli import run_command
from nas.export.onnx import FORMATS, convert
from nas.inference.runtime import run_onnx
from nas.space import SearchSpace
from tests.exported import at_the_smallest_size
from tests.test_conformance import composed, names


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spaces", nargs="*", choices=names("space"), metavar="SPACE", help="names of conf/space")
    options = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    rows = []
    for space in options.spaces or names("space"):
        home = build(composed(f"space={space}").space, "space", SearchSpace)
        torch.manual_seed(0)
        networks = {"a sample": lambda home=home: home.build(home.sample(np.random.default_rng(0)))}
        for name in type(home).published:
            networks[name] = lambda home=home, name=name: _published(type(home), name)
        for number, (name, make) in enumerate(networks.items()):
            measured = at_the_smallest_size(make(), partial(_measured, compare=number == 0))
            rows.append({"space": space, "network": name, **measured})
            print(rows[-1], flush=True)
    write_results("bench_export", rows)


def _published(kind: type, name: str) -> nn.Module:
    home, arch = kind.from_name(name)
    return home.build(arch)


def _measured(network: nn.Module, shape: tuple[int, ...], compare: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"params": sum(p.numel() for p in network.parameters()), "input": list(shape)}
    started = time.perf_counter()
    made = convert(network, shape, FORMATS)
    row["seconds"] = round(time.perf_counter() - started, 2)
    row["sides"] = "fixed" if made.sides.fixed else f"multiples of {made.sides.multiple_of}"
    row["largest output"] = round(made.files["onnx"].largest_output, 3)
    for kind, file in made.files.items():
        row[f"{kind} difference"] = float(f"{file.difference:.2g}")
        row[f"{kind} MB"] = round(sum(len(made.contents[name]) for name in file.sha256) / 1e6, 3)
    if compare:
        for way, dynamo in (("tracing", False), ("torch.export", True)):
            row |= {f"{way} {name}": value for name, value in _way(network, shape, dynamo).items()}
    return row


def _way(network: nn.Module, shape: tuple[int, ...], dynamo: bool) -> dict[str, Any]:
    """Convert with a dynamic batch size and fixed spatial sizes."""
    x_BCDHW = torch.randn(2, *shape)
    free = {"dynamic_shapes": ({0: torch.export.Dim("batch")},)} if dynamo else {"dynamic_axes": {"x": {0: "batch"}}}
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        started = time.perf_counter()
        try:
            if dynamo:
                torch.onnx.export(network, (x_BCDHW,), content, dynamo=True, verbose=False, **free)
            else:
                torch.onnx.export(
                    network, (x_BCDHW,), content, dynamo=False, input_names=["x"], opset_version=17, **free
                )
        except Exception as error:
            return {"s": f"{type(error).__name__}: {error}".splitlines()[0][:80]}
        seconds = time.perf_counter() - started
    with torch.inference_mode():
        exported = run_onnx(content.getvalue(), 1)(x_BCDHW.numpy())
        meant = torch.utils._pytree.tree_leaves(network(x_BCDHW))
    difference = max(float(np.abs(a - b.numpy()).max()) for a, b in zip(exported, meant, strict=True))
    return {"s": round(seconds, 2), "MB": round(len(content.getvalue()) / 1e6, 3), "difference": difference}


if __name__ == "__main__":
    sys.exit(run_command(main))
