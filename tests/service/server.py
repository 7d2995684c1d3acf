"""The service as users start it: a process of its own that listens on a free port of this machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import REPO

KEY = "a-key-of-the-tests-only"
COMMAND = (sys.executable, "-m", "experiments.lung_detector.serve")
BRIGHT_SPOTS = ("--predictor", "tests.service.bright_spots:BrightSpots")


class Server:
    """Serves until `stop`. seconds: how long the plain predictor takes for a batch; model: something else to load."""

    def __init__(self, folder: Path, *words: str, seconds: float = 0.0, key: str | None = KEY, model: str = "") -> None:
        self.log = folder / "server.log"
        if not model:
            model = str(folder / "seconds.txt")
            Path(model).write_text(str(seconds))
            words = (*BRIGHT_SPOTS, *words)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "VOXNAS_API_KEY": key or ""}
        command = [*COMMAND, model, "--port", "0", *words]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, cwd=REPO, env=environment, stdout=log, stderr=log)
        end = time.monotonic() + 300
        while (found := re.search(r"^serving .* at (http://\S+) ", self.log.read_text(), re.M)) is None:
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise AssertionError(f"the service did not start: {self.log.read_text()}")
            time.sleep(0.02)
        self.url = found.group(1)

    def memory_mb(self, what: str = "VmRSS") -> float:
        """What of the process lies in memory now (VmRSS), or at most so far (VmHWM), in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"^{what}:\s+(\d+) kB", status, re.M)
        assert found is not None
        return int(found.group(1)) * 1024 / 1e6

    def cpu_seconds(self) -> float:
        """Processor time that the process has used."""
        numbers = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(100)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
