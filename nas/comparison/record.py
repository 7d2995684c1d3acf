"""job.json: what Hydra knows of a job and its output folder does not show otherwise; free of numpy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from nas.errors import NASError, first_line
from nas.utils.files import read_json, write_text

RECORD = "job.json"
RUNNING, FINISHED, FAILED = "running", "finished", "failed"


@dataclass(frozen=True)
class JobRecord:
    """A job as its command records it.

    Args:
        command: "search" or "train".
        state: "running", "finished" or "failed".
        started: Start in seconds since the epoch.
        number: Position in its sweep; -1 for a job of its own.
        overrides: Settings of the command line as texts by key.
        choices: Chosen files of conf/ by group, for example {"strategy": "pop"}.
        reason: Reason of a failure; else empty.
    """

    command: str
    state: str
    started: float
    number: int = -1
    overrides: Mapping[str, str] = field(default_factory=dict)
    choices: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""

    def save(self, folder: Path) -> None:
        """Write job.json atomically.

        Args:
            folder: Output folder of the job.
        """
        write_text(folder / RECORD, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> JobRecord | None:
        """Read job.json.

        Args:
            folder: Output folder of a job.

        Returns:
            The record; None if there is none, as in folders of earlier versions.

        Raises:
            NASError: If the file is damaged.
        """
        path = folder / RECORD
        if not path.is_file():
            return None
        try:
            content = read_json(path)
            return cls(
                command=str(content["command"]),
                state=str(content["state"]),
                started=float(content["started"]),
                number=int(content["number"]),
                overrides={str(key): str(value) for key, value in content["overrides"].items()},
                choices={str(key): str(value) for key, value in content["choices"].items()},
                reason=str(content["reason"]),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise NASError(f"{path} ({first_line(error)})", "the record of a job", "remove the file") from error
