"""live.html: a page that shows a running search or training, written again every few seconds, without a server."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from nas.html.page import write_page
from nas.utils.files import locked_if_free

LIVE, LOCK = "live.html", ".live.lock"
INTERVAL_S = 5.0  # least time between two versions of the page
SHARE = 0.01  # of the run's time that writing may take


class LivePage:
    """The file live.html of a folder, which several processes may write.

    A browser loads it again by itself until the run has ended. Writing takes at most 1 % of the time: after a version
    that took t seconds the next one is due after 100 t, at least after 5 seconds.

    Args:
        folder: Folder of the page.
        title: Title of the page.
        kind: What runs, for example "Search".
    """

    def __init__(self, folder: Path, title: str, kind: str) -> None:
        self.folder, self.title, self.kind = folder, title, kind
        self._next = 0.0

    def is_due(self) -> bool:
        """Check whether it is time for a new version.

        Returns:
            True if the last version of this process, and of any other, is old enough.
        """
        if time.monotonic() < self._next:
            return False
        try:
            age_s = time.time() - (self.folder / LIVE).stat().st_mtime
        except OSError:
            return True
        return not 0 <= age_s < INTERVAL_S

    def write(self, answer: str, share: float, body: Sequence[str], *, command: str = "", ended: bool = False) -> None:
        """Write a version; it is left out if another process is writing one, unless the run has ended.

        Args:
            answer: State of the run in one or two sentences.
            share: Finished part of the run, in [0, 1].
            body: Sections of the page, as HTML.
            command: The command to run next.
            ended: Whether this is the last version, which a browser does not load again.
        """
        started = time.monotonic()
        now = datetime.now(tz=timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
        bar = (
            f'<div class="bar" role="img" aria-label="{100 * share:.0f} % done"><div style="width: {100 * share:.1f}%">'
        )
        lead = f"Written at {now}. This page is final." if ended else _lead(now)
        with locked_if_free(self.folder / LOCK) as free:
            if free or ended:
                write_page(
                    self.folder / LIVE,
                    kicker=f"{self.kind}, {'ended' if ended else 'running'}",
                    title=self.title,
                    answer=answer,
                    command=command,
                    lead=lead,
                    body=[f"{bar}</div></div>", *body],
                    refresh_s=0 if ended else round(INTERVAL_S),
                )
        self._next = time.monotonic() + max(INTERVAL_S, (time.monotonic() - started) / SHARE)

    def took(self, seconds: float) -> None:
        """Count the time that making the content took.

        Args:
            seconds: That time, without writing.
        """
        self._next = max(self._next, time.monotonic() + seconds / SHARE)


def _lead(now: str) -> str:
    return (
        f"Written at {now}; a browser loads the page again every {INTERVAL_S:.0f} seconds. If that time lies far back, "
        "the run was stopped; the same command continues it."
    )
