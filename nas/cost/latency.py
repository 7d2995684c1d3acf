"""A latency table of one device: medians per block, stored with a hash, so that a network's latency is a sum."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from nas.errors import NASError
from nas.space import SearchSpace
from nas.task_spec import TaskSpec
from nas.utils.files import write_text

WARMUP, REPEATS = 3, 15


def device_name(device: torch.device) -> str:
    """The processor's or the GPU's model name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def measure(run: Callable[[], Any], device: torch.device, warmup: int = WARMUP, repeats: int = REPEATS) -> np.ndarray:
    """(repeats,) wall milliseconds of `run`, after `warmup` calls; on a GPU each call is waited for."""
    times = np.empty(repeats)
    for number in range(-warmup, repeats):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number >= 0:
            times[number] = 1e3 * (time.perf_counter() - start)
    return times


def forward_times(
    model: nn.Module, input_shape: Sequence[int], device: torch.device, warmup: int = WARMUP, repeats: int = REPEATS
) -> np.ndarray:
    """(repeats,) milliseconds of an inference forward of `model` on (B, C, D, H, W)."""
    model = model.to(device).eval()
    x = torch.rand(tuple(input_shape), device=device)
    with torch.inference_mode():
        return measure(lambda: model(x), device, warmup, repeats)


def quantiles(times: np.ndarray) -> dict[str, float]:
    p10, median, p90 = np.percentile(times, [10, 50, 90])
    return {"median": float(median), "p10": float(p10), "p90": float(p90)}


@dataclass(frozen=True)
class LatencyTable:
    """Median milliseconds per block of one space on one device, at one input shape and batch.

    meta: device, threads, torch, space (fingerprint), input_shape (C, D, H, W), batch, warmup, repeats, and `check`:
    how far the sum of blocks was from the measured whole on random networks.
    sha256: of the content; a study records it and refuses another.
    """

    meta: Mapping[str, Any]
    blocks: Mapping[str, Mapping[str, float]]
    sha256: str

    @classmethod
    def of(cls, meta: Mapping[str, Any], blocks: Mapping[str, Mapping[str, float]]) -> LatencyTable:
        content = json.dumps([meta, blocks], sort_keys=True)
        return cls(meta, blocks, hashlib.sha256(content.encode()).hexdigest())

    def save(self, path: str | Path) -> None:
        content = {"sha256": self.sha256, "meta": self.meta, "blocks": self.blocks}
        write_text(path, json.dumps(content, indent=1))

    @classmethod
    def load(cls, path: str | Path) -> LatencyTable:
        """Raises NASError for a missing, broken or edited file."""
        try:
            content = json.loads(Path(path).read_text())
            table = cls.of(content["meta"], content["blocks"])
            stored = content["sha256"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NASError(
                f"the latency table {path} ({error})",
                "a file that `voxnas cost latency` wrote",
                "measure it again",
            ) from error
        if table.sha256 != stored:
            raise NASError(f"the edited latency table {path}", "its content to match its hash", "measure it again")
        return table

    def median_ms(self, key: str) -> float:
        if key not in self.blocks:
            raise NASError(f"no block {key!r} in the latency table", "every block of the space", "measure it again")
        return float(self.blocks[key]["median"])

    def require(self, space: SearchSpace, input_shape: Sequence[int]) -> None:
        """Raises NASError where the table was measured for another space or input."""
        expected = (space.fingerprint, list(input_shape))
        found = (self.meta["space"], list(self.meta["input_shape"]))
        if found != expected:
            raise NASError(
                f"a latency table of {found[0]} at {found[1]}",
                f"{expected[0]} at {expected[1]}",
                "measure a table for this space and data size",
            )


def measure_table(
    space: SearchSpace,
    input_shape: Sequence[int],
    task: TaskSpec,
    device: torch.device,
    *,
    batch: int = 2,
    checks: int = 20,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> LatencyTable:
    """Measures every block of the space, then `checks` random networks whole, to say how far the sums are off.

    input_shape: (C, D, H, W). Raises NASError for a space that offers no blocks.
    """
    rng = np.random.default_rng(seed)
    archs = [space.sample(rng) for _ in range(checks)]
    offered = space.blocks(space.encode(archs), tuple(input_shape[1:]), task)
    if offered is None:
        raise NASError(
            f"{type(space).__name__}, which offers no blocks", "a space with `blocks`", "use cost.metric=macs"
        )
    vocabulary, ids_NK = offered
    blocks: dict[str, dict[str, float]] = {}
    for done, block in enumerate(vocabulary):
        blocks[block.key] = quantiles(forward_times(block.build(), (batch, *block.input_shape), device))
        progress(done + 1, len(vocabulary) + checks)
    medians = np.array([*(blocks[block.key]["median"] for block in vocabulary), 0.0])
    sums = medians[ids_NK].sum(axis=1)
    wholes = np.empty(checks)
    for number, arch in enumerate(archs):
        wholes[number] = np.median(forward_times(space.build(arch, task), (batch, *input_shape), device))
        progress(len(vocabulary) + number + 1, len(vocabulary) + checks)
    relative = np.abs(sums - wholes) / wholes
    meta = {
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "space": space.fingerprint,
        "input_shape": list(input_shape),
        "batch": batch,
        "warmup": WARMUP,
        "repeats": REPEATS,
        "check": {
            "networks": checks,
            "seed": seed,
            "median_error": float(np.median(relative)),
            "largest_error": float(relative.max()),
            "rank_correlation": float(np.corrcoef(sums.argsort().argsort(), wholes.argsort().argsort())[0, 1]),
        },
    }
    return LatencyTable.of(meta, blocks)
