"""Latency table of one device: median time per block, so that the latency of a network is a sum over its blocks.

Latency is the time of one image (batch 1) in inference mode, as in result.json (`nas.cost.benchmark`). The times of the
blocks are scaled by one factor, so that their sums agree with the times of whole random networks.
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from nas.errors import NASError
from nas.space import SearchSpace
from nas.task_spec import TaskSpec
from nas.utils.files import read_json, write_text

WARMUP, REPEATS = 3, 15
BATCH = 1  # images at once, in tables and in result.json
MOST_MS = 1e9  # of a block, and a bound of all numbers of a table
LARGE_ERROR = 0.2  # relative error of the sums of blocks from which on a table is doubted


def device_name(device: torch.device) -> str:
    """Return the model name of a processor or GPU.

    Args:
        device: A CPU or CUDA device.

    Returns:
        The name reported by the driver or by /proc/cpuinfo; if there is none, the platform's.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def measure(run: Callable[[], Any], device: torch.device, repeats: int = REPEATS) -> np.ndarray:
    """Measure the wall-clock time of a function.

    Args:
        run: Function to call.
        device: Device that it runs on; a GPU is synchronised after each call.
        repeats: Number of measured calls, after those of a warm-up.

    Returns:
        (repeats,) times in milliseconds.
    """
    times = np.empty(repeats)
    for number in range(-WARMUP, repeats):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number >= 0:
            times[number] = 1e3 * (time.perf_counter() - start)
    return times


def forward_times(
    model: nn.Module, input_shape: Sequence[int], device: torch.device, repeats: int = REPEATS
) -> np.ndarray:
    """Measure the forward pass of a network in inference mode.

    Args:
        model: Network, moved to `device` and set to evaluation mode.
        input_shape: (B, C, D, H, W) of the random input.
        device: Device to measure on.
        repeats: Number of measured passes, after those of a warm-up.

    Returns:
        (repeats,) times in milliseconds.
    """
    model = model.to(device).eval()
    x = torch.rand(tuple(input_shape), device=device)
    with torch.inference_mode():
        return measure(lambda: model(x), device, repeats)


def quantiles(times: np.ndarray) -> dict[str, float]:
    """Return the median and the 10th and 90th percentile.

    Args:
        times: (N,) times.

    Returns:
        The values under "median", "p10" and "p90", in the unit of `times`.
    """
    p10, median, p90 = np.percentile(times, [10, 50, 90])
    return {"median": float(median), "p10": float(p10), "p90": float(p90)}


@dataclass(frozen=True)
class LatencyTable:
    """Median milliseconds per block of one space on one device, for one image.

    Args:
        meta: Device, threads, torch, space (fingerprint), input_shape (C, D, H, W), batch, warmup, repeats,
            `calibration` (the factor by which the measured times of blocks were multiplied), and `check`: the deviation
            of the sum of blocks from the time of the whole network, on random networks that did not decide the factor.
        blocks: Calibrated median, p10 and p90 in milliseconds of each block by its key.
        sha256: Hash of the content. A study records it and refuses a table with another hash.
        other_device: Whether a search may use the table on another device than the one that it was measured on.
    """

    meta: Mapping[str, Any]
    blocks: Mapping[str, Mapping[str, float]]
    sha256: str
    other_device: bool = False

    @classmethod
    def of(cls, meta: Mapping[str, Any], blocks: Mapping[str, Mapping[str, float]]) -> LatencyTable:
        """Make a table with the hash of its content.

        Args:
            meta: Conditions of the measurement, see the class.
            blocks: Times of each block by its key.

        Returns:
            The table.
        """
        content = json.dumps([meta, blocks], sort_keys=True)
        return cls(meta, blocks, hashlib.sha256(content.encode()).hexdigest())

    def save(self, path: str | Path) -> None:
        """Write the table as JSON, atomically.

        Args:
            path: File to write.
        """
        content = {"sha256": self.sha256, "meta": self.meta, "blocks": self.blocks}
        write_text(path, json.dumps(content, indent=1))

    @classmethod
    def load(cls, path: str | Path, other_device: bool = False) -> LatencyTable:
        """Read a table and check its hash.

        Args:
            path: File that `save` wrote.
            other_device: Whether a search may use the table on another device.

        Returns:
            The table.

        Raises:
            NASError: If the file is missing, not a latency table, or was edited.
        """
        try:
            content = read_json(Path(path))
            _require_numbers(content["meta"], content["blocks"])
            table = cls.of(content["meta"], content["blocks"])
            stored = content["sha256"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise NASError(
                f"cost.table={path} ({error})",
                "a file written by `voxnas cost`",
                "measure the table again with `voxnas cost`",
            ) from error
        if table.sha256 != stored:
            raise NASError(
                f"cost.table={path} with sha256={table.sha256}",
                f"sha256={stored}, as recorded in the file",
                "measure the table again with `voxnas cost`",
            )
        return replace(table, other_device=other_device)

    def median_ms(self, key: str) -> float:
        """Return the median time of a block.

        Args:
            key: Key of the block.

        Returns:
            Milliseconds for one image.

        Raises:
            NASError: If the table has no such block.
        """
        if key not in self.blocks:
            raise NASError(
                f"a latency table without the block {key!r}",
                "a table with every block of the space",
                "measure the table again with `voxnas cost`",
            )
        return float(self.blocks[key]["median"])

    def require(self, space: SearchSpace, input_shape: Sequence[int]) -> None:
        """Check that the table was measured for a space and an input shape.

        Args:
            space: Space of the search.
            input_shape: (C, D, H, W) of its images.

        Raises:
            NASError: If the table belongs to another space or input shape, or was measured with several images at once.
        """
        if self.meta.get("batch") != BATCH:
            raise NASError(
                f"a latency table of batches of {self.meta.get('batch')} images",
                "the latency of one image, as in result.json",
                "measure the table again with `voxnas cost`",
            )
        expected = (space.fingerprint, list(input_shape))
        measured = (self.meta["space"], list(self.meta["input_shape"]))
        if measured != expected:
            raise NASError(
                f"a latency table with space={measured[0]}, input_shape={measured[1]}",
                f"space={expected[0]}, input_shape={expected[1]}",
                "measure a table for this space and data size with `voxnas cost`",
            )

    def require_device(self, device: torch.device) -> None:
        """Check that the table was measured under the conditions of this process, unless `other_device` is set.

        Args:
            device: Device of the search.

        Raises:
            NASError: If the device, the number of threads (on a CPU) or the version of PyTorch is another one.
        """
        here = {"device": device_name(device), **conditions(device)}
        apart = [name for name, value in here.items() if self.meta.get(name) != value]
        if apart and not self.other_device:
            raise NASError(
                "a latency table with " + ", ".join(f"{name}={self.meta.get(name)}" for name in apart),
                ", ".join(f"{name}={here[name]}" for name in apart) + ", as in this process",
                "measure a table here with `voxnas cost`, or set cost.other_device=true to search for the device of "
                "the table",
            )

    @property
    def warning(self) -> str:
        """One line if the sums of blocks are far from the times of whole networks; else empty."""
        error = float(self.meta.get("check", {}).get("median_error", 0.0))
        if error <= LARGE_ERROR:
            return ""
        return (
            f"the latency table is off by {100 * error:.0f} % in the median against whole networks, above "
            f"{100 * LARGE_ERROR:.0f} %: measure it again on an idle machine"
        )


def measure_table(
    space: SearchSpace,
    input_shape: Sequence[int],
    task: TaskSpec,
    device: torch.device,
    *,
    checks: int = 20,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> LatencyTable:
    """Measure every block of a space, and whole random networks to calibrate the sums and to report their error.

    Args:
        space: Space that offers `blocks`.
        input_shape: (C, D, H, W) of one image.
        task: Task that the networks are built for.
        device: Device to measure on.
        checks: Number of random networks measured as a whole, at least 1.
        seed: Seed of the random networks.
        progress: Called with the number of finished and of all measurements.

    Returns:
        The table; `meta["check"]` has the relative errors and the rank correlation of the sums.

    Raises:
        NASError: If the space offers no blocks.
    """
    rng = np.random.default_rng(seed)
    archs = [space.sample(rng) for _ in range(checks)]
    offered = space.blocks(space.encode(archs), tuple(input_shape[1:]), task)
    if offered is None:
        raise NASError(
            f"cost.metric=latency_ms for {type(space).__name__}, a space without `blocks`",
            "a space with `blocks`",
            "set cost.metric to macs",
        )
    vocabulary, ids_NK = offered
    blocks: dict[str, dict[str, float]] = {}
    for done, block in enumerate(vocabulary):
        blocks[block.key] = quantiles(forward_times(block.build(), (BATCH, *block.input_shape), device))
        progress(done + 1, len(vocabulary) + checks)
    medians = np.array([*(blocks[block.key]["median"] for block in vocabulary), 0.0])
    sums = medians[ids_NK].sum(axis=1)
    wholes = np.empty(checks)
    for number, arch in enumerate(archs):
        wholes[number] = np.median(forward_times(space.build(arch, task), (BATCH, *input_shape), device))
        progress(len(vocabulary) + number + 1, len(vocabulary) + checks)
    factor = float(np.median(wholes / sums))
    meta = {
        "device": device_name(device),
        **conditions(device),
        "space": space.fingerprint,
        "input_shape": list(input_shape),
        "batch": BATCH,
        "warmup": WARMUP,
        "repeats": REPEATS,
        "calibration": factor,
        "check": {"networks": checks, "seed": seed, **_agreement(sums, wholes)},
    }
    scaled = {key: {name: factor * value for name, value in times.items()} for key, times in blocks.items()}
    return LatencyTable.of(meta, scaled)


def conditions(device: torch.device) -> dict[str, Any]:
    """Return the settings of this process that decide a latency, beside the device.

    Args:
        device: Device that networks run on.

    Returns:
        The version of PyTorch as torch, and on a CPU the number of threads.
    """
    threads = {"threads": torch.get_num_threads()} if device.type == "cpu" else {}
    return {**threads, "torch": torch.__version__}


def _agreement(sums: np.ndarray, wholes: np.ndarray) -> dict[str, float]:
    """Relative errors and rank correlation of sums of blocks against times of whole networks.

    Each network is compared with its sum times the factor of all other networks.
    """
    ratios = wholes / sums
    others = [np.delete(ratios, number) for number in range(len(ratios))]
    factors = np.array([np.median(left) if len(left) else 1.0 for left in others])
    relative = np.abs(factors * sums - wholes) / wholes
    ranks = sums.argsort().argsort(), wholes.argsort().argsort()
    return {
        "median_error": float(np.median(relative)),
        "largest_error": float(relative.max()),
        "rank_correlation": float(np.corrcoef(*ranks)[0, 1]) if len(sums) > 1 else float("nan"),
    }


def _require_numbers(meta: Any, blocks: Any) -> None:
    """Check the types of a file, whose checksum a stranger can make as well."""
    if not isinstance(meta, dict) or not isinstance(blocks, dict):
        raise ValueError("meta or blocks that are no objects")
    for key, times in blocks.items():
        if not isinstance(times, dict) or not all(_is_number(time) and time >= 0 for time in times.values()):
            raise ValueError(f"the block {key:.80}, whose times are no numbers")
    check = meta.get("check", {})
    if not isinstance(check, dict) or not _is_number(check.get("median_error", 0.0)):
        raise ValueError("a check without a median error")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= MOST_MS
