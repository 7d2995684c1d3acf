"""D1 to D7: wrong values of every setting are refused in one line, before anything starts or is written."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import refused
from tests.conftest import REPO
from tests.wrong_settings import NEVER, WRONG, Key, is_sensible, keys, refusal

EVERY = keys()
FILES = sorted({key.file for key in EVERY})
PROGRAMS = {
    "search": ("run_search.py",),
    "train": ("run_train.py",),
    "brain_tumor": ("-m", "experiments.brain_tumor", "predict"),
}
COMMANDS, SECONDS = 40, 10.0
LONG = "a" * 300


@pytest.mark.parametrize("file", FILES)
def test_D_every_key_of_conf_takes_no_wrong_value(file: str) -> None:
    for key in (key for key in EVERY if key.file == file):
        for name, (value, _) in WRONG.items():
            message = refusal(key, value)
            if message is None:
                assert name not in NEVER, f"{key.name}={value}"
                assert is_sensible(key, name), f"{key.name}={value}"
                continue
            assert key.name in message.partition("; expected")[0], message
            assert message.startswith("got "), message
            assert len(message) < 600


def chosen() -> list[tuple[Key, str]]:
    """40 refused values, spread over files and kinds of values."""
    found = []
    kinds = list(WRONG)
    for number in range(COMMANDS):
        file = FILES[number * len(FILES) // COMMANDS]
        of_file = [key for key in EVERY if key.file == file and not key.name.endswith("_target_")]
        for step in range(len(kinds)):
            key, name = of_file[number % len(of_file)], kinds[(number + step) % len(kinds)]
            if refusal(key, WRONG[name][0]) is not None:
                found.append((key, name))
                break
    return found


@pytest.mark.slow
def test_D_wrong_values_as_commands(tmp_path: Path) -> None:
    """Real processes: exit 2, one line on standard error and nothing else, nothing created."""
    pairs = chosen()
    assert len(pairs) == COMMANDS
    for key, name in pairs:
        words = [*PROGRAMS[key.command], *key.words, f"{key.name}={WRONG[name][1]}"]
        words[0] = words[0] if words[0] == "-m" else str(REPO / words[0])
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, *words],
            cwd=tmp_path, capture_output=True, text=True, timeout=120, env=environment(),
        )  # fmt: skip
        assert time.monotonic() - began < SECONDS * 6  # of a machine that does other things too
        refused((done.returncode, done.stdout, done.stderr), key.name.partition(".")[0])
        assert list(tmp_path.iterdir()) == []


def environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}


def test_placeholder() -> None:
    assert math.isnan(WRONG["NaN"][0])
