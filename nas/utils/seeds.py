"""Independent seeds of the parts of a run, derived from its one seed."""

from __future__ import annotations

from nas.utils.hashing import digest

LIMIT = 1 << 32  # seeds below it are valid for NumPy, PyTorch and scikit-learn


def derive(seed: int, *words: str | int) -> int:
    """Derive a seed for one purpose, so that equal seeds of a run do not give equal random numbers everywhere.

    Args:
        seed: The seed of the run, of any size.
        *words: Purpose of the seed, for example `derive(seed, "fold", 3)`. Texts and numbers differ: 3 is not "3".

    Returns:
        A number in [0, 2**32), the same on every machine and in every version of Python.
    """
    return int(digest([int(seed), *words])[:16], 16) % LIMIT
