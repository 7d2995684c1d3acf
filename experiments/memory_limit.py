"""A limit of memory for work with files of strangers, such as an exported model with huge intermediate arrays."""

from __future__ import annotations

import argparse

from experiments.argument_types import number_type
from experiments.cli import Parser
from nas.errors import NASError

GB = 10**9
LEAST_GB, MOST_GB = 0.5, 1e5  # the packages themselves need almost half a GB


def add_memory(command: Parser) -> None:
    """Add the option `--memory`.

    Args:
        command: The parser.
    """
    command.add_argument(
        "--memory",
        type=number_type(float, LEAST_GB, MOST_GB),
        metavar="GB",
        help="refuse a model or an input that needs more memory, on Linux (default: no limit)",
    )


def limit_memory(options: argparse.Namespace) -> None:
    """Let reservations of memory beyond `--memory` fail in this process, from now on.

    Counted is the memory that the process may write (`RLIMIT_DATA`), without files that it only maps.

    Args:
        options: Parsed arguments, with `memory` in GB or None.

    Raises:
        NASError: If the operating system has no such limit.
    """
    if options.memory is None:
        return
    try:
        import resource  # not on Windows
    except ImportError as error:
        raise NASError(f"--memory {options.memory:g} on this system", "Linux", "leave it out") from error
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = int(options.memory * GB)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))
