"""A file of replays, so that an interrupted comparison of strategies continues."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.replays import Replay
from nas.errors import NASError


class KeptReplays:
    """Replays of one comparison, a line of JSON each; the first line says which comparison.

    Args:
        path: The file, made if it is not there; None keeps nothing.
        settings: What decides the replays beside strategy and seed.

    Raises:
        NASError: If the file holds replays of other settings.
    """

    def __init__(self, path: Path | None, settings: Mapping[str, Any]) -> None:
        self._path = path
        self.known: dict[tuple[str, int], Replay | str] = {}
        head = json.dumps(settings, sort_keys=True)
        if path is None:
            return
        if not path.exists():
            path.write_text(head + "\n")
        text = path.read_text()
        whole = text[: text.rfind("\n") + 1]
        first, *lines = whole.splitlines() or [""]
        if first != head:
            raise NASError(f"{path} with replays of {first or 'nothing'}", head, "name another file")
        if whole != text:  # killed while it wrote its last line
            path.write_text(whole)
        for line in lines:
            row = json.loads(line)
            answer = row["answer"]
            self.known[row["strategy"], row["seed"]] = answer if isinstance(answer, str) else Replay(**answer)

    def add(self, strategy: str, seed: int, answer: Replay | str) -> None:
        """Keep a replay.

        Args:
            strategy: Its strategy.
            seed: Its seed.
            answer: The replay, or why there is none.
        """
        self.known[strategy, seed] = answer
        if self._path is not None:
            row = {"strategy": strategy, "seed": seed, "answer": answer if isinstance(answer, str) else asdict(answer)}
            with self._path.open("a") as file:
                file.write(json.dumps(row) + "\n")
