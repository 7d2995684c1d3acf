"""The outcome of one check."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

OK, NOTE, PROBLEM = "ok", "note", "problem"


@dataclass(frozen=True)
class Check:
    """One line of `voxnas doctor`.

    Args:
        name: What was checked.
        status: "ok"; "note" for something that may be improved; "problem" for something without which VoxNAS does not
            work.
        found: What was found.
        fix: What to do; empty if ok.
    """

    name: str
    status: str
    found: str
    fix: str = ""

    def line(self, width: int | None = None) -> str:
        """Return the check as one line.

        Args:
            width: Columns of the terminal, at which the line is wrapped; None for no limit.

        Returns:
            Status, name, what was found and what to do.
        """
        fix = f"; {self.fix}" if self.fix else ""
        head = f"{self.status:<7}  {self.name:<16}  "
        line = " ".join(f"{head}{self.found}{fix}".split("\n")).rstrip()
        if width is None or len(line) <= width:
            return line
        return "\n".join(textwrap.wrap(line, width, subsequent_indent=" " * len(head), break_on_hyphens=False))
