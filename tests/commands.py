"""Commands run in the test's process, and how a refusal looks."""

from __future__ import annotations

import io
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from _pytest.capture import CaptureResult

import run_search
import run_train
from experiments.commands.voxnas import run

SMALL = ["data.size=16", "data.spacing_mm=2.0", "training=demo", "training.epochs=1", "training.batch_size=128"]
SPACE = ["space.widths=[4,8]", "space.max_depth=4"]
NO_FEATURES = ["baselines.volume=false", "baselines.features=false"]


class OwnCapture:
    """Takes the place of `capsys` in fixtures that run once for several tests."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._out, self._err = io.StringIO(), io.StringIO()
        monkeypatch.setattr(sys, "stdout", self._out)
        monkeypatch.setattr(sys, "stderr", self._err)

    def readouterr(self) -> CaptureResult[str]:
        """What was written since the last call."""
        said = CaptureResult(self._out.getvalue(), self._err.getvalue())
        for stream in (self._out, self._err):
            stream.seek(0)
            stream.truncate()
        return said


class Command:
    """Runs a main in this process, in a folder of its own, and gives exit code, output and error text."""

    def __init__(
        self,
        folder: Path,
        cache: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str] | OwnCapture,
    ) -> None:
        self.folder, self.cache, self.monkeypatch, self.capsys = folder, cache, monkeypatch, capsys
        monkeypatch.chdir(folder)

    def __call__(self, main: Callable[[], None], *words: str, cache: bool = True) -> tuple[int, str, str]:
        flags = [word for word in words if word.startswith("-")]
        settings = [word for word in words if not word.startswith("-")]
        own = [f"data_cache={self.cache}"] if cache else []
        arguments = [main.__module__ + ".py", *flags, *own, "device=cpu", *settings]
        self.monkeypatch.setattr(sys, "argv", arguments)
        handlers, terminate = logging.root.handlers[:], signal.getsignal(signal.SIGTERM)
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        finally:  # a command owns its process; here other tests follow in it
            for handler in [one for one in logging.root.handlers if one not in handlers]:
                logging.root.removeHandler(handler)
                handler.close()
            logging.captureWarnings(False)
            signal.signal(signal.SIGTERM, terminate)
        said = self.capsys.readouterr()
        return code, said.out, said.err

    def search(self, *words: str) -> tuple[int, str, str]:
        return self(run_search.main, *SMALL, *SPACE, "study.name=s", "study.trials=3", *words)

    def train(self, *words: str) -> tuple[int, str, str]:
        return self(run_train.main, *SMALL, "name=t", "split.folds=3", "resamples=100", *words)


def voxnas(capsys: pytest.CaptureFixture, *words: object) -> tuple[int, str, str]:
    """`voxnas` in this process, for commands that are not Hydra's: exit code, output and error text."""
    name, *arguments = map(str, words)
    try:
        code = run(name, arguments)
    except SystemExit as end:
        code = int(end.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1]


def refused(answer: tuple[int, str, str], *words: str) -> None:
    """Exit code 2, one error line with got, expected and fix, no traceback."""
    code, _, err = answer
    assert code == 2, err
    assert "Traceback" not in err
    line = last_line(err)
    assert line.startswith("error: got ")
    assert "; expected " in line
    assert "; fix: " in line
    for word in words:
        assert word in line
