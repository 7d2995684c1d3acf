"""Out of memory in the training of a supernet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nas.errors import NASError, TrialFailed
from nas.training.loop import oom_as_trial_failed


@contextmanager
def oom_as_user_error() -> Iterator[None]:
    """Convert out-of-memory errors to NASError.

    Yields:
        None.

    Raises:
        NASError: If memory runs out in the body.
    """
    try:
        with oom_as_trial_failed():
            yield
    except TrialFailed as error:
        raise NASError(
            f"a supernet that is {error}",
            "a supernet that fits into memory",
            "set strategy.checkpointing to true, or use smaller patches or a smaller strategy.settings.batch_size",
        ) from error
