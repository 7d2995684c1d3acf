"""How commands take arguments and how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.argument_types import number_type, size_type
from experiments.cli import (
    BROKEN_PIPE,
    ENDING_SIGNALS,
    INTERRUPTED,
    SPINS,
    Parser,
    run_command,
    with_options,
)
from experiments.commands.voxnas import COMMANDS, PARSER
from nas.errors import NASError
from tests.commands import refused, voxnas
from tests.conftest import REPO


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"from experiments.cli import *; import sys; {code}"],
        env={**os.environ, "PYTHONPATH": str(REPO), **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("name", [name for name, (_, kind, _) in COMMANDS.items() if kind == PARSER])
def test_every_help_page_has_two_examples(name: str, capsys: pytest.CaptureFixture) -> None:
    code, out, err = voxnas(capsys, name, "--help")
    assert (code, err) == (0, "")
    examples = out.partition("examples:\n")[2].splitlines()
    assert len([line for line in examples if "voxnas" in line]) >= 2
    refused(voxnas(capsys, name, "--no-such-option"))


def test_errors_of_arguments(capsys: pytest.CaptureFixture) -> None:
    parser = Parser("p", "Test.", ["p 3"])
    parser.add_argument("count", metavar="COUNT", type=number_type(int, 1, 5))
    parser.add_argument("--size", type=size_type)
    parser.add_argument("--way", choices=("up", "down"))
    for words, line in (
        (["9"], "got COUNT '9'; expected a whole number from 1 to 5"),
        (["1.5"], "got COUNT '1.5'; expected a whole number from 1 to 5"),
        ([], r"got no COUNT; expected p COUNT \[OPTION ...\]; fix: see p --help"),
        (["1", "--size", "0"], "got --size '0'; expected one whole number"),
        (["1", "--way", "left"], "got --way 'left'; expected one of up, down"),
        (["1", "2"], "got the unknown argument 2; expected p COUNT"),
        (["1", "--wa", "up"], "got the unknown argument --wa up"),
    ):
        with pytest.raises(NASError, match=line):
            parser.parse_args(words)
    given = parser.parse_args(["2", "--size", "[4, 8]"])
    assert (given.count, given.size) == (2, (4, 8))
    assert number_type(float, 0)("0.5") == 0.5
    for text in ("nan", "inf", "-1"):
        with pytest.raises(Exception, match="expected a number of at least 0"):
            number_type(float, 0)(text)


def test_settings_of_earlier_versions() -> None:
    words = ["/data/a=b.nii", "stage3_training=x=y", "--no-network", "out=o"]
    assert with_options(words) == ["/data/a=b.nii", "--stage3-training=x=y", "--no-network", "--out=o"]


def test_exit_codes(capsys: pytest.CaptureFixture) -> None:
    def fails(error: BaseException) -> int:
        def body() -> None:
            raise error

        return run_command(body)

    assert run_command(lambda: None) == 0
    assert run_command(lambda: 7) == 7
    assert fails(KeyboardInterrupt()) == INTERRUPTED == 130
    capsys.readouterr()
    for error in (
        NASError("a", "b", "c"),
        PermissionError(13, "Permission denied", "/x"),
        ModuleNotFoundError("No module named 'onnx'", name="onnx"),
    ):
        refused((fails(error), *capsys.readouterr()))
    for defect in (RuntimeError("a defect"), ModuleNotFoundError("typing mistake", name="nas.nowhere"), OSError("odd")):
        with pytest.raises(type(defect)):
            fails(defect)


@pytest.mark.parametrize("name", [name for name in (*ENDING_SIGNALS, "SIGINT") if hasattr(signal, name)])
def test_signals_that_end_a_process_act_as_ctrl_c(name: str, capsys: pytest.CaptureFixture) -> None:
    number = getattr(signal, name)
    normal = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
    before = signal.signal(number, normal)  # in the background, or under nohup, it may be ignored

    def body() -> None:
        os.kill(os.getpid(), number)
        time.sleep(5)

    try:
        assert run_command(body) == INTERRUPTED
        assert capsys.readouterr().err == "interrupted; nothing half done was written\n"
        assert signal.getsignal(number) is normal
    finally:
        signal.signal(number, before)


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """As under nohup."""
    code = "import signal, os; signal.signal(signal.SIGHUP, signal.SIG_IGN);"
    done = python(code + "sys.exit(run_command(lambda: os.kill(os.getpid(), signal.SIGHUP)))")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_of_stdout_that_has_gone() -> None:
    code = "from experiments.cli import *; sys.exit(run_command(lambda: [print(i) for i in range(10**6)] and 0))"
    script = f"{sys.executable} -c '{code}' | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=REPO)
    assert (done.returncode, done.stdout, done.stderr) == (BROKEN_PIPE, "0\n", "")


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_characters_that_a_terminal_lacks_are_replaced(environment: dict[str, str]) -> None:
    done = python("sys.exit(run_command(lambda: print('Gr\\u00f6\\u00dfe')))", **environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Gr??e\n", "")


def completion_script() -> str:
    return subprocess.run(
        [sys.executable, "-m", "experiments.commands.voxnas", "completion", "bash"],
        env={**os.environ, "PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def complete(folder: Path, *words: str) -> list[str]:
    """What bash would offer for the last word."""
    typed = " ".join(f"'{word}'" for word in words)
    answer = "_voxnas; printf '%s\\n' \"${COMPREPLY[@]}\""
    ask = f"source ./completion.sh; COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; {answer}"
    done = subprocess.run(["bash", "-c", ask], cwd=folder, capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1]


def test_completion_of_bash(tmp_path: Path) -> None:
    (tmp_path / "completion.sh").write_text(completion_script())
    (tmp_path / "my model.onnx").touch()
    for words, offered in (
        (["voxnas", "se"], ["search", "serve"]),
        (["voxnas", "study", "pa"], ["pareto"]),
        (["voxnas", "study", "resume", "--tr"], ["--trials"]),
        (["voxnas", "predict", "--av"], ["--average-with"]),
        (["voxnas", "predict", "my"], ["my model.onnx"]),
        (["voxnas", "completion", "b"], ["bash"]),
        (["voxnas", "search", "strat"], ["strategy="]),
        (["voxnas", "search", "strategy", "=", "loc"], ["local_search"]),
        (["voxnas", "search", "strategy", "="], []),
        (["voxnas", "train", "space=naslu"], ["space=naslung"]),
        (["voxnas", "train", "arch", "=", "my"], ["my model.onnx"]),
        (["voxnas", "search", "--mul"], ["--multirun"]),
    ):
        found = complete(tmp_path, *words)
        assert found == offered or (not offered and "pop" in found), words


def test_waiting_threads_give_their_core_to_other_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    for own, expected in (({}, SPINS), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)):
        with monkeypatch.context() as patch:
            for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
                patch.setenv(name, "")  # so that it is restored
                patch.delenv(name)
            for name, value in own.items():
                patch.setenv(name, value)
            assert run_command(lambda: 0) == 0
            assert os.environ.get("GOMP_SPINCOUNT") == expected
