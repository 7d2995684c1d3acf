"""Arguments, errors and exit codes of every command; imports neither Hydra nor torch."""

from __future__ import annotations

import argparse
import logging
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from experiments.argument_types import path_type, text_type
from experiments.safe_output import safe_output
from nas.errors import NASError
from nas.utils.environment import is_of_environment
from nas.utils.plain_text import plain_text

USER_ERROR, INTERRUPTED, BROKEN_PIPE = 2, 130, 141
LIBRARIES = ("torch", "monai", "optuna", "hydra", "sklearn", "onnxscript", "onnxruntime", "matplotlib")
TALKATIVE = ("monai", "onnxscript", "onnxruntime", "matplotlib", "filelock", "h5py")  # loggers; torch sets its own
ENDING_SIGNALS = ("SIGTERM", "SIGHUP", "SIGUSR1")  # SIGUSR1: Slurm's warning before a time limit
SPINS = "10000"  # of a waiting thread; libgomp's own are 300,000
OWN_PACKAGES = ("nas", "search_spaces", "experiments", "conf", "run_search", "run_train")


class Parser(argparse.ArgumentParser):
    """ArgumentParser whose mistakes are NASErrors and whose help ends with examples.

    Args:
        prog: The command on the command line.
        description: One or two sentences.
        examples: Command lines for the end of the help page.

    Attributes:
        flags: Options of this parser, for tab completion.
        choices_of_arguments: Values of positional arguments that take one of a list.
        commands: Parsers of the subcommands by name.
    """

    def __init__(self, prog: str, description: str, examples: Sequence[str] = ()) -> None:
        self.flags: list[str] = []
        self.choices_of_arguments: list[str] = []
        self._needed: list[str] = []
        self.commands: dict[str, Parser] = {}
        self._subparsers_action: Any = None
        epilog = "\n".join(["examples:", *(f"  {line}" for line in examples)]) if examples else None
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def add_argument(self, *names: Any, **settings: Any) -> argparse.Action:
        """Add an argument as argparse does, and record its options.

        Args:
            *names: Name of the argument, or the flags of the option.
            **settings: Settings of argparse.

        Returns:
            argparse's action.
        """
        self.flags += [name for name in names if name.startswith("--")]
        shown = settings.get("metavar") or settings.get("dest") or names[-1].lstrip("-").upper()
        if not names[0].startswith("-"):
            self.choices_of_arguments += settings.get("choices", ())
            optional = settings.get("nargs") == "?"
            self._needed.append(f"[{shown}]" if optional else f"{shown} ..." if "nargs" in settings else shown)
        elif settings.get("required"):
            self._needed.append(f"{names[-1]} {shown}")
        if settings.get("action") in (None, "append", "extend") and settings.get("nargs") != 0:
            kind = settings.setdefault("type", text_type)
            settings["type"] = path_type if kind is Path else kind
        return super().add_argument(*names, **settings)

    def add_allow_package(self) -> None:
        """Add the option `--allow-package`, for commands that read files that name classes."""
        shown = "a further package whose classes a file may name; may be repeated"
        self.add_argument("--allow-package", action="append", default=[], metavar="NAME", help=shown)

    def add_command(self, name: str, summary: str, examples: Sequence[str]) -> Parser:
        """Add a subcommand.

        Args:
            name: Name of the subcommand.
            summary: Its description, one line.
            examples: Command lines for the end of its help page.

        Returns:
            The parser of the subcommand.
        """
        if self._subparsers_action is None:
            self._subparsers_action = self.add_subparsers(
                metavar="COMMAND", required=True, parser_class=type(self), prog=self.prog
            )
        settings: dict[str, Any] = {"help": summary, "description": summary, "examples": examples}
        self.commands[name] = self._subparsers_action.add_parser(name, **settings)
        return self.commands[name]

    def error(self, message: str) -> NoReturn:
        """Raise argparse's message as a NASError.

        Args:
            message: Message of argparse.

        Raises:
            NASError: Always.
        """
        needed = ["COMMAND ..."] if self.commands else self._needed
        usage = " ".join([self.prog, *needed, *["[OPTION ...]"][: len(self.flags) > 1]])
        missing = message.partition("arguments are required: ")[2]
        unknown = message.partition("unrecognized arguments: ")[2]
        value = re.fullmatch(r"argument ([^:]+): (.*), expected (.*)", message)
        other = re.fullmatch(
            r"argument ([^:]+): (?:invalid \w+ value|invalid choice): (\S+)(?: \(choose from (.*)\))?", message
        )
        if value:
            name, got, expected = value.groups()
            raise NASError(f"{name} {got}", expected, f"change {name}, see {self.prog} --help")
        if other:
            name, got, listed = other.groups()
            choices = (listed or "").replace("'", "")
            close = get_close_matches(got.strip("'"), choices.split(", "), n=1)
            expected = f"one of {choices}" if choices else "a number"
            raise NASError(f"{name} {got}", expected, f"write {close[0]}" if close else f"see {self.prog} --help")
        if unknown and (close := get_close_matches(unknown.split()[0].partition("=")[0], self.flags, n=1)):
            raise NASError(f"the unknown argument {unknown}", usage, f"write {close[0]}")
        if missing or unknown:
            message = f"no {missing}" if missing else f"the unknown argument {unknown}"
        raise NASError(message, usage, f"see {self.prog} --help")


def with_options(words: Sequence[str]) -> list[str]:
    """Rewrite the settings `key=value` of earlier versions as `--key=value`.

    Args:
        words: Arguments of a command line.

    Returns:
        The arguments, with each `some_key=value` as `--some-key=value`.
    """
    key = re.compile(r"[a-z][a-z0-9_]*=")
    return [
        f"--{word.partition('=')[0].replace('_', '-')}={word.partition('=')[2]}" if key.match(word) else word
        for word in words
    ]


def run_parser(parser: Parser, words: Sequence[str]) -> int:
    """Parse the arguments and run the function or the dotted path `module:function` that they chose as `run`.

    Args:
        parser: Parser of the command; its defaults hold `run`.
        words: Arguments, without the name of the command.

    Returns:
        The exit code, see `run_command`.
    """

    def body() -> int | None:
        # paths may stand before and after options, which argparse does not combine with subcommands
        parse = parser.parse_args if parser.commands else parser.parse_intermixed_args
        options = parse(list(words))
        run = options.run
        if isinstance(run, str):
            module, _, name = run.partition(":")
            run = getattr(import_module(module), name)
        return run(options)

    return run_command(body)


def run_command(body: Callable[[], int | None], interrupted: str = "interrupted; nothing half done was written") -> int:
    """Run the body of a command.

    A user's mistake ends in one line on stderr. The signals that end a process act as Ctrl-C, so that the body can
    keep finished results. Characters that the terminal cannot show are replaced. Defects keep their traceback.

    Args:
        body: Returns the exit code; None is 0.
        interrupted: Line for Ctrl-C.

    Returns:
        The body's exit code, 2 for a user's mistake, 130 after an interrupt, 141 if the reader of stdout is gone.
    """
    share_cores()
    with safe_output(), ending_signals_as_interrupts(), _quiet_logging(), _quiet_libraries():
        try:
            replace_unknown_characters()
            code = int(body() or 0)
            sys.stdout.flush()
            return code
        except KeyboardInterrupt:
            with suppress(BrokenPipeError):
                print(interrupted, file=sys.stderr, flush=True)
            return INTERRUPTED
        except BrokenPipeError:
            drop_stdout()
            return BROKEN_PIPE
        except (NASError, ModuleNotFoundError, OSError) as error:
            mistake = mistake_of(error)
            if mistake is None:
                raise
            return _refuse(mistake)


def share_cores() -> None:
    """Let the threads of a computation that wait for one another sleep soon, before torch is imported.

    By default GNU OpenMP lets them spin for milliseconds. Beside other programs the thread they wait for has no core
    in the meantime: a training step on two cores with two other programs took 12 s, and 4 s with this limit, which
    costs less than 1 % on idle cores.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS


def mistake_of(error: BaseException) -> NASError | None:
    """Return the user's mistake behind an error: of a setting, a missing package or a folder that cannot be written.

    Args:
        error: The error.

    Returns:
        Its message in one line, or None if the error is a defect.
    """
    if isinstance(error, NASError):
        return error
    if isinstance(error, ModuleNotFoundError):
        package = str(error.name).partition(".")[0]
        if package not in OWN_PACKAGES:
            return NASError(f"no package {package}", "the packages of this command", f"pip install {package}")
    if isinstance(error, OSError) and is_of_environment(error):
        got = f"{error.filename or 'a file'}: {(error.strerror or '').lower()}"
        expected = "folders that can be written to and files that can be read"
        return NASError(got, expected, "make room or correct the rights, or name another folder")
    return None


def write_line(line: str) -> None:
    """Write a line of a command's answer to stdout at once.

    Args:
        line: The line, without line break.
    """
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def has_width() -> bool:
    """Check whether stdout is a terminal, or the variable COLUMNS sets a width for it.

    Returns:
        Whether lines have to fit `terminal_width()`.
    """
    return sys.stdout.isatty() or bool(os.environ.get("COLUMNS"))


def write_tables(markdown: str) -> None:
    """Write tables to stdout: plain text that fits a terminal, Markdown into a file or pipe.

    Args:
        markdown: The tables as Markdown.
    """
    write_line((plain_text(markdown) if has_width() else markdown).rstrip("\n"))


def replace_unknown_characters() -> None:
    """Let stdout replace characters that its encoding lacks, here and in processes that this one starts."""
    os.environ.setdefault("PYTHONIOENCODING", ":replace")
    with suppress(AttributeError):  # a stream that is no text file, such as that of a test
        if sys.stdout.errors in ("strict", "surrogateescape"):
            sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]


def use_utf8() -> None:
    """Start this process again in Python's UTF-8 mode if the locale cannot express every name of a file.

    Python does so by itself in the locales C and POSIX. Output keeps the encoding of the terminal.
    """
    if sys.getfilesystemencoding().lower() == "utf-8" or os.name != "posix" or sys.flags.utf8_mode:
        return
    environment = {**os.environ, "PYTHONUTF8": "1"}
    environment.setdefault("PYTHONIOENCODING", f"{sys.stdout.encoding}:replace")
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


@contextmanager
def ending_signals_as_interrupts() -> Iterator[None]:
    """Let signals that end a process raise KeyboardInterrupt.

    Signals that the caller ignores or handles are left alone.

    Yields:
        None, while the signals are handled.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        for name in ENDING_SIGNALS:
            number = getattr(signal, name, None)  # Windows lacks most
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _quiet_logging() -> Iterator[None]:
    """Keep `logging` from printing a traceback if its stream is closed, as after `| head`."""
    before, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        yield
    finally:
        logging.raiseExceptions = before


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Leave out notes and warnings of libraries that a user cannot act on.

    Yields:
        None, while warnings are left out. Errors and the warnings of this project are shown.
    """
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        for name in LIBRARIES:
            warnings.filterwarnings("ignore", module=rf"{name}(\.|$)")
        yield


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _refuse(mistake: NASError) -> int:
    with suppress(BrokenPipeError):
        sys.stdout.flush()
    with suppress(BrokenPipeError):
        print(f"error: {mistake}", file=sys.stderr, flush=True)
    return USER_ERROR


def drop_stdout() -> None:
    """Keep Python from writing the rest of the buffer when it exits."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
