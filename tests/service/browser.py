"""Chromium without a window, driven over the DevTools protocol through a pipe: no package is needed."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FIRST_FREE = 10  # descriptors 3 and 4 are the pipe's ends in the browser


class Browser:
    """One page. `profile`: an empty folder."""

    def __init__(self, profile: Path, width: int = 1100, height: int = 900) -> None:
        assert CHROMIUM is not None
        (commands, self._commands), (self._answers, answers) = os.pipe(), os.pipe()
        commands, answers = (_moved(end) for end in (commands, answers))
        words = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        words += ["--disable-background-networking", f"--user-data-dir={profile}", f"--window-size={width},{height}"]
        words += ["--hide-scrollbars", "--remote-debugging-pipe", "about:blank"]
        quiet = [(os.POSIX_SPAWN_OPEN, n, os.devnull, os.O_WRONLY, 0) for n in (1, 2)]
        pipe = [(os.POSIX_SPAWN_DUP2, commands, 3), (os.POSIX_SPAWN_DUP2, answers, 4)]
        self._process = os.posix_spawn(words[0], words, os.environ, file_actions=[*quiet, *pipe], setpgroup=0)
        os.close(commands)
        os.close(answers)
        self._number, self._read, self._session = 0, b"", ""
        targets = self("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]

    def __call__(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol, and its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            part = os.read(self._answers, 1 << 20)
            assert part, "Chromium has ended"
            self._read += part
        message, _, self._read = self._read.partition(b"\0")
        return json.loads(message)

    def script(self, expression: str) -> Any:
        """What an expression of JavaScript gives."""
        result = self("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def open(self, url: str) -> None:
        self("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def until(self, expression: str, seconds: float = 200) -> None:
        end = time.monotonic() + seconds
        while not self.script(expression):
            assert time.monotonic() < end, f"{expression} did not come true"
            time.sleep(0.05)

    def drop(self, path: Path, selector: str) -> None:
        """Drags a file of the disk over the middle of an element and lets it go, as a hand does."""
        box = self.script(
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])"
            f"(document.querySelector('{selector}').getBoundingClientRect())"
        )
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self("Input.dispatchDragEvent", type=kind, x=box[0], y=box[1], data=data)

    def screenshot(self, path: Path) -> None:
        size = self("Page.getLayoutMetrics")["cssContentSize"]
        taken = self("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip={**size, "scale": 1})
        path.write_bytes(base64.b64decode(taken["data"]))

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        os.close(self._commands)
        os.close(self._answers)


def _moved(end: int) -> int:
    copy = fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE)
    os.close(end)
    return copy
