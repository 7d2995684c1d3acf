"""The words of a command that is not Hydra's: a parser that tells of a mistake as every other command does."""

from __future__ import annotations

import argparse
from typing import NoReturn

from nas.errors import NASError


def parser_class(usage: str, command: str) -> type[argparse.ArgumentParser]:
    """An ArgumentParser whose mistakes are NASErrors. usage: what is expected; command: whose --help says more."""

    class Words(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise NASError(f"the words given ({message})", usage, f"see {command} --help")

    return Words
