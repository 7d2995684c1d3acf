"""The outcome of one check."""

from __future__ import annotations

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

    def line(self) -> str:
        """Return the check as one line.

        Returns:
            Status, name, what was found and what to do.
        """
        fix = f"; {self.fix}" if self.fix else ""
        return " ".join(f"{self.status:<7}  {self.name:<16}  {self.found}{fix}".split("\n")).rstrip()
