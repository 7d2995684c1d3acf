"""Detection service under idle, slow and hostile connections, beside plain uvicorn + FastAPI with the same model.

    python -m benchmarks.bench_service_load [--requests 300] [--seconds 20] [--model FOLDER]

`latency`: one client with a kept connection, `GET /health` and `POST /predict` of one DICOM slice; both services run at
the same time and are asked in turn, so that other work on the machine slows both alike; the ratio is that of the
medians. `load`: four clients send slices while 200 connections are idle, 50 send or read slowly and 20 send what is no
HTTP, break off, or never read; lost requests are those without a 200, and the largest time of /health is reported.
Both log every request. The plain service reads the file as `await request.body()` and calls the predictor in a thread.
"""

from __future__ import annotations

import argparse
import http.client
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.bench_service import slices, untrained
from benchmarks.common import write_results
from experiments.argument_types import count_type, number_type
from experiments.cli import run_command
from tests.service.server import KEY, Server

HEADERS = {"Content-Type": "application/dicom", "Accept": "application/json", "X-API-Key": KEY}
PLAIN = """
import sys
from pathlib import Path
import uvicorn
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from experiments.lung_detector.predictor import Predictor
from experiments.lung_detector.service.images import Limits, read_slice
predictor, app = Predictor.load(Path(sys.argv[1])), FastAPI()

def found(content):
    image = read_slice(content, Limits())
    boxes = predictor.predict([image.pixels_HW], image.units)[0]
    return {"boxes": boxes.boxes_N4.tolist(), "scores": boxes.scores_N.tolist(), "labels": list(boxes.labels)}

@app.get("/health")
async def health():
    return {"status": "ok"}

@app.post("/predict")
async def predict(request: Request):
    return await run_in_threadpool(found, await request.body())

uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="info")
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def asked(connection: http.client.HTTPConnection, path: str, content: bytes | None) -> tuple[float, int]:
    """Send one request; return seconds and status."""
    begun = time.perf_counter()
    connection.request("POST" if content else "GET", path, content, HEADERS)
    answer = connection.getresponse()
    answer.read()
    return time.perf_counter() - begun, answer.status


def latency(address: str, model: str, requests: int, content: bytes) -> list[dict[str, Any]]:
    """Ask both services in turn over kept connections."""
    port = free_port()
    command = [sys.executable, "-c", PLAIN, model, str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        plain = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        for _ in range(600):
            with suppress(OSError):
                asked(plain, "/health", None)
                break
            plain.close()
            time.sleep(0.2)
        ours = http.client.HTTPConnection(address, timeout=120)
        rows = []
        for path, body, count in (("/health", None, 4 * requests), ("/predict", content, requests)):
            seconds: dict[str, list[float]] = {"ours": [], "plain": []}
            for number in range(count + 10):
                for name, connection in (("ours", ours), ("plain", plain)):
                    took, status = asked(connection, path, body)
                    assert status == 200, status
                    if number >= 10:  # after warming up
                        seconds[name].append(took)
            medians = {name: 1e3 * float(np.median(values)) for name, values in seconds.items()}
            row = {"what": f"{path}, kept connection", "requests": count}
            rows.append({**row, "ours_ms": medians["ours"], "plain_ms": medians["plain"]})
            rows[-1]["ratio"] = medians["ours"] / medians["plain"]
        return rows
    finally:
        process.terminate()
        process.wait()


def connected(address: str) -> socket.socket:
    host, port = address.split(":")
    return socket.create_connection((host, int(port)), timeout=5)


def idle(address: str, stop: threading.Event) -> None:
    """Connect and send nothing; connect again if the service hangs up."""
    with connected(address) as connection:
        connection.settimeout(0.5)
        while not stop.is_set():
            with suppress(TimeoutError):
                if not connection.recv(1):
                    return


def slow(address: str, stop: threading.Event) -> None:
    """Send headers, or a body with the key, at one byte per second."""
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Type: image/png\r\n"
    text = (head + "Content-Length: 100000\r\n\r\n").encode() if random.random() < 0.5 else b""
    with connected(address) as connection:
        connection.sendall(text)
        while not stop.wait(1):
            connection.sendall(b"x" if text else b"G")


def hostile(address: str, stop: threading.Event) -> None:
    """Send bytes that are not HTTP, endless headers, or many requests whose answers are never read."""
    with connected(address) as connection:
        kind = random.randrange(4)
        if kind == 0:
            connection.sendall(os.urandom(2000))
        elif kind == 1:
            connection.sendall(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000)
        elif kind == 2:
            connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 2000)
        else:
            connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n" + bytes(10_000))
        stop.wait(0.5)


def again(act: Callable[[str, threading.Event], None], address: str, stop: threading.Event) -> None:
    while not stop.is_set():
        with suppress(OSError):
            act(address, stop)
        stop.wait(0.05)


def load(server: Server, address: str, seconds: float, content: bytes, counts: dict[str, int]) -> dict[str, Any]:
    """Send slices while other connections do harm."""
    stop, statuses, health = threading.Event(), [], []
    kinds: list[Callable[[str, threading.Event], None]] = [idle] * counts["idle"]
    kinds += [slow] * counts["slow"] + [hostile] * counts["hostile"]
    threads = [threading.Thread(target=again, args=(kind, address, stop), daemon=True) for kind in kinds]

    def client() -> None:
        connection = http.client.HTTPConnection(address, timeout=60)
        while not stop.is_set():
            try:
                statuses.append(asked(connection, "/predict", content)[1])
            except (OSError, http.client.HTTPException):
                connection.close()
                statuses.append(0)

    def watch() -> None:
        while not stop.is_set():
            begun = time.perf_counter()
            connection = http.client.HTTPConnection(address, timeout=60)
            with suppress(OSError, http.client.HTTPException):
                asked(connection, "/health", None)
            connection.close()
            health.append(time.perf_counter() - begun)
            stop.wait(0.2)

    threads += [threading.Thread(target=client) for _ in range(4)] + [threading.Thread(target=watch)]
    before = server.memory_mb()
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    stop.set()
    for thread in threads[-5:]:
        thread.join()
    return {
        **counts,
        "requests": len(statuses),
        "lost": sum(status != 200 for status in statuses),
        "health_p50_ms": 1e3 * float(np.median(health)),
        "health_max_ms": 1e3 * max(health),
        "more_mb": server.memory_mb() - before,
        "log_kb": server.log.stat().st_size / 1e3,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=count_type, default=300)
    parser.add_argument("--seconds", type=number_type(float, 0), default=20.0)
    parser.add_argument("--model", type=Path, default=None, help="folder of a trained detector")
    parser.add_argument("--seed", type=number_type(int, 0), default=0)
    parser.add_argument("--out", type=Path, default=None, help="folder of the JSON (default: benchmarks/results)")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    random.seed(options.seed)
    content, _ = slices(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), model=str(options.model or untrained(Path(folder))))
        address = server.url.removeprefix("http://")
        try:
            rows = latency(address, str(options.model or folder), options.requests, content)
            for counts in ({"idle": 0, "slow": 0, "hostile": 0}, {"idle": 200, "slow": 50, "hostile": 20}):
                made = load(server, address, options.seconds, content, counts)
                rows.append({"what": "load", **made})
        finally:
            server.stop()
    busy = {"load_average": os.getloadavg()[0]}
    write_results("bench_service_load", [{**row, **busy} for row in rows], options.out, options.seed)


if __name__ == "__main__":
    sys.exit(run_command(main))
