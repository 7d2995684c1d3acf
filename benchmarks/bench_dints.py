"""DiNTS compared with MONAI: decode, regularisers, supernet steps and memory, alternating, each in a new process.

    python -m benchmarks.bench_dints                                   # on a CPU: about ten minutes
    python -m benchmarks.bench_dints --device cuda --cases gpu         # 96^3 under autocast, with captured graphs

A step is forward and backward with all gradients, from random weights and a random image; reported is the median of
`--steps` successive steps after one warm-up step. CPU seconds are those of the process, with one thread. Memory:
`activations` is the growth of the process after the forward pass; `extra` is the peak of a decode above its start.
`--cases` repeats some measurements and keeps the rows of all other cases, each with its date.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import io
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.common import RESULTS, write_results
from experiments.argument_types import count_type
from experiments.cli import run_command
from nas.cost.model import CostModel
from nas.supernets.base import Costs
from nas.task_spec import TaskSpec
from search_spaces.dints import DiNTSSpace
from tests.spaces.dints.oracle import monai_supernet

STEPS: dict[str, dict[str, Any]] = {
    "step fp32": {"mul": 0.5, "sides": 64, "batch": 1},
    "step bf16": {"mul": 0.5, "sides": 64, "batch": 1, "bf16": True},
    "step fp32, checkpointing": {"mul": 0.5, "sides": 64, "batch": 1, "checkpointing": True},
    "step fp32, batch 2": {"mul": 0.25, "sides": 64, "batch": 2},
    "step bf16, batch 2": {"mul": 0.25, "sides": 64, "batch": 2, "bf16": True},
}
GPU_STEPS: dict[str, dict[str, Any]] = {
    "step bf16, 96^3": {"mul": 0.5, "sides": 96, "batch": 1, "bf16": True},
    "step bf16, 96^3, batch 2": {"mul": 0.5, "sides": 96, "batch": 2, "bf16": True},
}
MONAI, OURS = "MONAI", "VoxNAS"
BLOCKS, DEPTHS = 12, 4
DRAWS = 4  # decodes: the first, and the median of the rest
PATCH = (1, 64, 64, 64)
MEMORY = 0.8  # target of MONAI's bundle, relative to all edges


def supernet(who: str, mul: float, checkpointing: bool = False) -> nn.Module:
    torch.manual_seed(0)
    space = DiNTSSpace(BLOCKS, DEPTHS, mul, out_channels=3)
    if who == MONAI:
        return monai_supernet(space)
    ours = space.supernet()
    ours.checkpointing = checkpointing
    return ours


def decode(who: str) -> dict[str, float]:
    net = supernet(who, 1 / 16)
    lattice = net.dints_space if who == MONAI else net.relaxation
    alphas = (lattice.log_alpha_a, lattice.log_alpha_c) if who == MONAI else tuple(lattice.parameters())
    with torch.no_grad():
        for alpha in alphas:
            alpha.normal_()
    run: Callable[[], Any] = net.dints_space.decode if who == MONAI else net.decode
    trim()
    before, times = rss_mb(), []
    for _ in range(DRAWS):
        started = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            run()
        times.append(1000 * (time.perf_counter() - started))
    return {
        "first ms": times[0],
        "ms": statistics.median(times[1:]),
        "extra_mb": max(peak_mb() - before, 0.0),
    }


def regularisers(who: str) -> dict[str, float]:
    """Measure entropies, topology and resource term, the additions of an architecture step to the task's loss."""
    net = supernet(who, 1 / 16)
    if who == MONAI:
        space = net.dints_space

        def terms() -> torch.Tensor:
            probs_BN, _ = space.get_prob_a(child=True)
            entropy = -(probs_BN * (probs_BN + 1e-5).log()).mean()
            log_operations = space.log_alpha_c.log_softmax(dim=-1)
            operations = -(log_operations.exp() * log_operations).mean()
            full, used = (space.get_ram_cost_usage((1, *PATCH), full=whole) for whole in (True, False))
            return entropy + operations + (MEMORY - used / full).abs() + 0.001 * space.get_topology_entropy(probs_BN)
    else:
        model = CostModel(net.space, TaskSpec(1, 3), PATCH, "macs")
        costs = Costs(model, model.of_blocks())
        with torch.no_grad():
            target = MEMORY * float(net.expected_cost(costs))

        def terms() -> torch.Tensor:
            found, cost = net.regularisers_and_cost(costs)
            away = cost / target - 1
            return found["edge_entropy"] + found["operation_entropy"] + 0.001 * found["topology"] + 10 * away.square()

    times = []
    for _ in range(40):
        started = time.perf_counter()
        terms().backward()
        times.append(time.perf_counter() - started)
    return {"ms": 1000 * statistics.median(times[5:])}


def step(who: str, steps: int, device: str, **case: Any) -> dict[str, float]:
    checkpointing = case.get("checkpointing", False)
    net = supernet(who, case["mul"], checkpointing and who == OURS).to(device)
    x_BCDHW = torch.randn(case["batch"], 1, *[case["sides"]] * 3, device=device)
    return (
        on_gpu(net, x_BCDHW, steps, who) if device == "cuda" else on_cpu(net, x_BCDHW, steps, case.get("bf16", False))
    )


def on_cpu(net: nn.Module, x_BCDHW: torch.Tensor, steps: int, bf16: bool) -> dict[str, float]:
    """Measure the times of successive steps, then the memory of activations in one more step."""

    def forward() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return net(x_BCDHW)

    times = []
    for _ in range(steps + 1):
        started = time.process_time()
        forward().float().square().mean().backward()
        times.append(time.process_time() - started)
        net.zero_grad()
    trim()
    before = rss_mb()
    kept = forward()  # its graph holds the activations
    trim()
    grown = rss_mb() - before
    del kept
    return {"cpu_s": statistics.median(times[1:]), "activations_mb": grown}


def on_gpu(net: nn.Module, x_BCDHW: torch.Tensor, steps: int, who: str) -> dict[str, float]:
    """Measure under bf16 autocast; VoxNAS as one captured graph, MONAI without, as it reads values on the host."""

    def run() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            out = net(x_BCDHW)
        out.float().square().mean().backward()

    for _ in range(3):
        run()
    action = run
    if who == OURS:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
        action = graph.replay
    times = []
    for _ in range(max(steps, 10)):
        torch.cuda.synchronize()
        started = time.perf_counter()
        action()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return {"ms": 1000 * statistics.median(times), "peak_mb": torch.cuda.max_memory_allocated() / 1e6}


def trim() -> None:
    """Return freed memory to the system, so that the size of the process is the memory in use."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def rss_mb() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def in_fresh_process(who: str, case: str, options: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.bench_dints", "--child", who, case]
    command += ["--steps", str(options.steps), "--device", options.device]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def compared(case: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    theirs, ours = (in_fresh_process(who, case, options) for who in (MONAI, OURS))
    facts = (STEPS | GPU_STEPS).get(case, {})
    size = f"({BLOCKS}, {DEPTHS}, {facts['mul']}), {facts['sides']}^3, batch {facts['batch']}" if facts else "(12, 4)"
    for name, value in theirs.items():
        ratio = value / ours[name] if ours[name] > 0 else None
        row = {"case": case, "of": size, "measure": name, MONAI: value, OURS: ours[name], "MONAI / VoxNAS": ratio}
        yield row | {"date": datetime.now(timezone.utc).isoformat(timespec="seconds")}


def child(who: str, case: str, options: argparse.Namespace) -> dict[str, float]:
    torch.set_num_threads(1)
    if case == "decode":
        return decode(who)
    if case == "regularisers":
        return regularisers(who)
    return step(who, options.steps, options.device, **(STEPS | GPU_STEPS)[case])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", default=["decode", "regularisers", *STEPS], help="or gpu")
    parser.add_argument("--steps", type=count_type, default=3)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--child", nargs=2, metavar=("WHO", "CASE"), help=argparse.SUPPRESS)
    parser.add_argument("--out", default=None)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(*options.child, options)))
        return
    cases = list(GPU_STEPS) if options.cases == ["gpu"] else options.cases
    name = "bench_dints" if options.device == "cpu" else "bench_dints_gpu"
    rows = {case: list(compared(case, options)) for case in cases}
    known = (RESULTS if options.out is None else Path(options.out)) / f"{name}.json"
    earlier = json.loads(known.read_text())["rows"] if known.exists() else []
    rows = {row["case"]: [one for one in earlier if one["case"] == row["case"]] for row in earlier} | rows
    write_results(name, [row for of_case in rows.values() for row in of_case], options.out)


if __name__ == "__main__":
    sys.exit(run_command(main))
