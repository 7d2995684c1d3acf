"""Earlier command of the detector's training; run_train.py has taken its place."""

from __future__ import annotations

import sys

from nas.errors import NASError

NOW = "python run_train.py experiment=lung_detector arch=<arch.json or detector/lung-slices> [rounds=1]"


def main() -> int:
    """Print the present command to stderr.

    Returns:
        Exit code 2.
    """
    error = NASError("python -m experiments.lung_detector.train", "the command that trains every network", NOW)
    print(f"error: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
