"""Detection service: throughput, latency and memory over 10,000 requests, compared with plain prediction.

    python -m benchmarks.bench_service [--requests 200] [--long 10000] [--clients 8] [--model FOLDER]

The server runs in its own process on this machine; clients keep their connections; slices have 512 x 512 pixels.
`plain` reads and predicts the same files one after another in one process; `to_plain` is the throughput relative to it.
`cpu_ms` is the processor time of the server per request, which does not depend on the load of the machine. Memory is
the resident memory of the server while a mix of DICOM, PNG and damaged files is sent, with boxes or pictures as the
answer. Without --model the published detector is served untrained, with 256 x 256 pixels.
"""

from __future__ import annotations

import argparse
import http.client
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import write_results
from experiments.argument_types import count_type, number_type
from experiments.cli import run_command
from experiments.lung_detector.predictor import Predictor
from experiments.lung_detector.service.images import Limits, read_slice
from nas.artifact import Artifact
from nas.bundle import Bundle
from nas.task_spec import TaskSpec
from nas.tasks.detection import Detection
from search_spaces.detector import DetectorSpace
from tests.service.files import dicom, png
from tests.service.server import KEY, Server

DICOM, PNG, BOXES, PICTURE = "application/dicom", "image/png", "application/json", "image/png"


@dataclass
class Load:
    """Measurements of a load test: latency of every request in seconds, counts of statuses, and CPU time in seconds."""

    seconds: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    took: float = 0.0
    cpu: float = 0.0

    def row(self, what: str, clients: int, plain_per_s: float) -> dict[str, Any]:
        per_s = len(self.seconds) / self.took
        return {
            "what": what,
            "clients": clients,
            "requests": len(self.seconds),
            "statuses": " ".join(f"{status}: {count}" for status, count in sorted(self.statuses.items())),
            "per_s": per_s,
            "to_plain": per_s / plain_per_s,
            "p50_ms": 1e3 * float(np.percentile(self.seconds, 50)),
            "p99_ms": 1e3 * float(np.percentile(self.seconds, 99)),
            "cpu_ms": 1e3 * self.cpu / len(self.seconds),
        }


def untrained(folder: Path) -> Path:
    """Write the published detector with random weights, which do not change its run time."""
    torch.manual_seed(0)
    space, arch = DetectorSpace.from_name("lung-slices")
    artifact = Artifact(space, arch, TaskSpec("detection", dims=2, in_channels=2, outputs=1))
    preparation = {"windows": ["lung", "mediastinum"], "size": 256}
    task = Detection(in_channels=2, outputs=1, dims=2)
    network = artifact.build()
    Bundle.of(network, artifact, task, (2, 256, 256), classes=["nodule"], preparation=preparation).save(folder)
    return folder


def slices(seed: int) -> tuple[bytes, bytes]:
    """Return a DICOM and a PNG file of 512 x 512 pixels of noisy tissue."""
    stored = np.random.default_rng(seed).normal(600, 300, (512, 512)).clip(0, 2000).astype(np.uint16)
    header = {"Rows": 512, "Columns": 512, "PixelData": stored.tobytes()}
    return dicom(**header), png((stored / 2000 * 255).astype(np.uint8))


def send(server: Server, jobs: Sequence[tuple[bytes, str, str]], clients: int) -> Load:
    """Send every job (file, its type, type of the answer) once, distributed round-robin over the clients."""
    host, load = server.url.removeprefix("http://"), Load()

    def client(number: int) -> Iterator[tuple[float, int]]:
        connection = http.client.HTTPConnection(host, timeout=120)
        for content, kind, accept in jobs[number::clients]:
            start = time.perf_counter()
            connection.request("POST", "/predict", content, {"Content-Type": kind, "Accept": accept, "X-API-Key": KEY})
            answer = connection.getresponse()
            answer.read()
            yield time.perf_counter() - start, answer.status
        connection.close()

    start, used = time.perf_counter(), server.cpu_seconds()
    with ThreadPoolExecutor(clients) as threads:
        for answers in threads.map(lambda number: list(client(number)), range(clients)):
            for seconds, status in answers:
                load.seconds.append(seconds)
                load.statuses[status] = load.statuses.get(status, 0) + 1
    load.took, load.cpu = time.perf_counter() - start, server.cpu_seconds() - used
    return load


def speed(model: str, requests: int, clients: int, seed: int) -> list[dict[str, Any]]:
    """Measure each way to predict the same DICOM slice."""
    slice_dicom, slice_png = slices(seed)
    predictor = Predictor.load(Path(model))

    def plain() -> None:
        image = read_slice(slice_dicom, Limits())
        predictor.predict([image.pixels_HW], image.units)

    plain()
    load, start, used = Load(), time.perf_counter(), time.process_time()
    for _ in range(requests):
        begun = time.perf_counter()
        plain()
        load.seconds.append(time.perf_counter() - begun)
    load.took, load.cpu = time.perf_counter() - start, time.process_time() - used
    per_s = requests / load.took
    rows = [load.row("plain, in one process", 0, per_s)]
    for batch in (1, 8):
        with tempfile.TemporaryDirectory() as folder:
            server = Server(Path(folder), "--batch", str(batch), "--answer-seconds", "120", model=model)
            try:
                send(server, [(slice_dicom, DICOM, BOXES)] * 8, clients)
                ways = [("DICOM to boxes", (slice_dicom, DICOM, BOXES), clients)]
                if batch > 1:
                    ways.insert(0, ("DICOM to boxes", (slice_dicom, DICOM, BOXES), 1))
                    ways.append(("DICOM to picture", (slice_dicom, DICOM, PICTURE), clients))
                    ways.append(("PNG to boxes", (slice_png, PNG, BOXES), clients))
                for what, job, count in ways:
                    rows.append(send(server, [job] * requests, count).row(f"{what}, batch {batch}", count, per_s))
            finally:
                server.stop()
    return rows


def memory(model: str, requests: int, clients: int, seed: int, steps: int = 20) -> list[dict[str, Any]]:
    """Measure count, statuses, latency and memory after each twentieth of the requests."""
    slice_dicom, slice_png = slices(seed)
    good = [(slice_dicom, DICOM, BOXES), (slice_dicom, DICOM, PICTURE), (slice_png, PNG, BOXES)]
    jobs = [good[k % 3] if k % 25 else (slice_dicom[:-1000], DICOM, BOXES) for k in range(requests)]
    rows, step = [], max(1, requests // steps)
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), "--answer-seconds", "120", model=model)
        try:
            start = server.memory_mb()
            for first in range(0, requests, step):
                load = send(server, jobs[first : first + step], clients)
                row = load.row("mixed", clients, 1.0)
                del row["to_plain"]
                rows.append({**row, "sent": first + len(load.seconds), "start_mb": start, "mb": server.memory_mb()})
                print(f"{rows[-1]['sent']} sent, {rows[-1]['mb']:.0f} MB", flush=True)
        finally:
            server.stop()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=count_type, default=200, help="requests of each way")
    parser.add_argument(
        "--long", type=number_type(int, 0), default=10_000, help="requests of the memory test; 0 disables it"
    )
    parser.add_argument("--clients", type=count_type, default=8)
    parser.add_argument("--model", type=Path, default=None, help="folder of a trained detector")
    parser.add_argument("--seed", type=number_type(int, 0), default=0)
    parser.add_argument("--out", type=Path, default=None, help="folder of the JSON (default: benchmarks/results)")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        model = str(options.model or untrained(Path(folder)))
        rows = speed(model, options.requests, options.clients, options.seed)
        write_results("bench_service", rows, options.out, options.seed)
        if options.long:
            rows = memory(model, options.long, options.clients, options.seed)
            write_results("bench_service_memory", rows, options.out, options.seed)


if __name__ == "__main__":
    sys.exit(run_command(main))
