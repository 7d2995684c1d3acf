"""One table of several result.json files: python -m experiments.tables RESULT..."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from nas.errors import NASError
from nas.retraining.result import TrainResult
from nas.retraining.tables import over_seeds


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="One table of several result.json files, averaged over seeds.")
    parser.add_argument("results", nargs="+", type=Path)
    try:
        print(over_seeds({str(path): TrainResult.load(path) for path in parser.parse_args(arguments).results}), end="")
    except NASError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
