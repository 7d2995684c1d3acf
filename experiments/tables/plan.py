"""Plan of the rows of a table: commands with the words filled in, data, identity, reasons to wait."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from experiments.tables.data import data_digest
from experiments.tables.spec import DataNeed, Row, Section, Size, Table, needs_of, words_of
from experiments.tables.words import WORD, substituted
from nas.errors import NASError
from nas.utils.hashing import digest

PLACE = "DATA"  # stands for --data-root in what is written
RUNS = "RUNS"  # stands for the folder of the trainings
FOLDERS = {"search": "search", "train": "train"}  # commands of Hydra and their folder in that of the row
Texts = Mapping[str, str]


@dataclass(frozen=True)
class Folders:
    """Folders of one run of a table.

    Attributes:
        runs: Folder of the trainings.
        data: Data set -> its folder on this machine.
    """

    runs: Path
    data: Mapping[str, Path]


@dataclass(frozen=True)
class Planned:
    """A row of ours as it is to be computed.

    Attributes:
        section: Its section.
        row: The row.
        key: `section/row`, its name for `--rows` and its folder.
        seeds: The seeds.
        steps: Commands (tuples of words) and functions (mappings), with `{seed}`, `{folder}` and `{data:...}` left in.
        identity: Hash of all that decides the result, apart from the data.
        after: Keys of rows that come first.
        minutes: Expected minutes, 0 if unknown.
        reason: Why it is not computed now; empty if it is.
        against: Key of the row from which differences are taken; empty for none.
        commands: The steps as a reader would type them.
        homes: Id of a row of `after` -> its folder below that of the trainings.
        needs: Data sets that it reads.
        data: Digest of these data sets and of those of the rows in `after`; empty without data, or if one is not there.
    """

    section: Section
    row: Row
    key: str
    seeds: tuple[int, ...]
    steps: tuple[tuple[str, ...] | Mapping[str, Any], ...]
    identity: str
    after: tuple[str, ...] = ()
    minutes: float = 0.0
    reason: str = ""
    against: str = ""
    commands: tuple[str, ...] = ()
    homes: Texts = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    data: str = ""

    @property
    def home(self) -> str:
        """Its folder below that of the trainings; another one if its commands or its data change."""
        return self.home_with(self.data)

    def home_with(self, data: str) -> str:
        """Return its folder below that of the trainings for other data.

        Args:
            data: As the attribute `data`.

        Returns:
            The folder.
        """
        return f"{self.key}-{(digest([self.identity, data]) if data else self.identity)[:6]}"

    def folder(self, folders: Folders, seed: int) -> Path:
        """Return the folder of one seed.

        Args:
            folders: Folders of the run.
            seed: The seed.

        Returns:
            The folder.
        """
        return folders.runs / self.home / f"seed{seed}"

    def filled(self, folders: Folders, seed: int) -> list[list[str] | dict[str, Any]]:
        """Fill seed, folders and data into the steps.

        Args:
            folders: Folders of the run.
            seed: The seed.

        Returns:
            Command lines as lists of words, and functions with their arguments.
        """
        own = self.folder(folders, seed)

        def text_of(kind: str, name: str) -> str | None:
            if kind == "row:":
                return str(folders.runs / self.homes[name] / f"seed{seed}")
            if name.startswith("data-"):
                return str(folders.data[name.removeprefix("data-")])
            return {"seed": str(seed), "folder": str(own)}.get(name)

        return [substituted(step, text_of) for step in self.steps]


def data_folders(table: Table, root: Path | None, named: Mapping[str, Path]) -> dict[str, Path]:
    """Find the data sets of a table that are on this machine.

    Args:
        table: The table.
        root: Folder of data sets, or None.
        named: Folders of single data sets, which come first.

    Returns:
        Data set -> folder, only of those with all their files.

    Raises:
        NASError: If a named data set is not of this table, or its folder lacks a file.
    """
    if unknown := [name for name in named if name not in table.data]:
        raise NASError(f"--data {unknown[0]}=...", f"one of {', '.join(table.data) or 'no data set'}", "correct --data")
    found = {}
    for name, need in table.data.items():
        folder = named.get(name, root / need.folder if root else None)
        if folder is not None and _is_there(folder, need):
            found[name] = folder.resolve()
        elif name in named:
            raise NASError(f"--data {name}={named[name]}", f"a folder with {_files(need)}", need.source)
    return found


def _is_there(folder: Path, need: DataNeed) -> bool:
    return folder.is_dir() and all(any(folder.glob(pattern)) for pattern in need.files)


def _files(need: DataNeed) -> str:
    return ", ".join(need.files) or "the data"


def plan(
    table: Table,
    size: Size,
    available: Mapping[str, Path],
    only: Sequence[str],
    limit: float,
    is_finished: Callable[[Planned], bool] = lambda row: False,
) -> list[Planned]:
    """Plan the commands of each row of ours.

    Args:
        table: The table.
        size: The size.
        available: Data sets that are there.
        only: Patterns of rows (`section/row`, wildcards); empty for all.
        limit: Minutes that the rows to compute may take together: those that `only` names and those that they need, as
            far as they are not finished. They are taken from the shortest on, and the rest is left out.
        is_finished: Whether a row has been computed before.

    Returns:
        The rows of ours in the order of the table.

    Raises:
        NASError: If a pattern fits no row, a step has an unknown word, or data cannot be read.
    """
    first: dict[str, Planned] = {}
    digests: dict[str, str] = {}
    for section in table.sections:
        for row in section.rows:
            if row.is_ours:
                one = _with_data(_planned(table, size, section, row, first), table, available, first, digests)
                first[one.key] = replace(one, reason=_reason(size, one, available, first))
    wanted = _with_needed(first, only)
    in_time = _within(limit, [one for one in first.values() if one.key in wanted and not is_finished(one)])
    planned: dict[str, Planned] = {}
    for key, one in first.items():
        reason = one.reason or _needed(one, planned)
        if not reason and key not in wanted:
            reason = f"not asked for (--rows){_about(one)}"
        elif not reason and key not in in_time and not is_finished(one):
            reason = f"left out of size={size}, whose rows may take {limit:g} minutes together (--minutes)"
            reason += f": about {one.minutes:.0f} minutes"
        planned[key] = replace(one, reason=reason)
    return list(planned.values())


def _with_data(
    one: Planned,
    table: Table,
    available: Mapping[str, Path],
    before: Mapping[str, Planned],
    digests: dict[str, str],
) -> Planned:
    """Add the digest of its data and the folders of the rows before it, which depend on theirs."""
    after = [before[key] for key in one.after]
    one = replace(one, homes={row.row.key: row.home for row in after})
    if _lacks_data(one, available, before):
        return one  # it waits, or stands in table.json: from which data is not asked
    for name in one.needs:
        if name not in digests:
            digests[name] = data_digest(available[name], table.data[name])
    own, others = [[name, digests[name]] for name in one.needs], [row.data for row in after]
    return replace(one, data=digest([own, others])[:16] if own or any(others) else "")


def _about(one: Planned) -> str:
    return f": about {one.minutes:.0f} minutes" if one.minutes >= 1 else ""


def _planned(table: Table, size: Size, section: Section, row: Row, before: Mapping[str, Planned]) -> Planned:
    settings = table.sizes[size]
    words = words_of(table, section, size)
    needs = needs_of(section, row)
    after: list[str] = []

    def text_of(kind: str, name: str) -> str | None:
        if kind == "row:":
            after.append(f"{section.id}/{name}")
            return None
        if name == "data" and needs:
            return f"{{data-{needs[0]}}}"
        if name.startswith("data-") and name.removeprefix("data-") in table.data:
            return None
        if name in ("seed", "folder"):
            return None
        if name in words:
            return words[name]
        raise NASError(f"{{{name}}} in a step of {section.id}/{row.key}", f"one of {', '.join(words)}", "correct it")

    steps: list[tuple[str, ...] | Mapping[str, Any]] = []
    for step in (*row.steps, *([row.call] if row.call else [])):
        if isinstance(step, str):
            steps.append(_command(substituted(substituted(step, text_of), text_of)))
        else:
            steps.append(substituted(substituted(step, text_of), text_of))
    if row.of:
        after.append(f"{section.id}/{row.of}")
    if unknown := [key for key in after if key not in before]:
        raise NASError(f"{unknown[0]} in {section.id}/{row.key}", "an earlier row of the section", "correct the step")
    after = list(dict.fromkeys(after))
    seeds = section.seeds.get(size, settings.seeds)
    if row.of:
        seeds = before[after[0]].seeds
    elif size in row.seeds:
        seeds = seeds[: row.seeds[size]]
    elif not _trains(row):
        seeds = ()
    content = [steps, seeds, row.system, row.call is not None, [before[key].identity for key in after]]
    content += [row.result] if row.result != Row.model_fields["result"].default else []
    against = f"{section.id}/{section.against}" if section.against not in ("", row.key) else ""
    return Planned(
        section,
        row,
        f"{section.id}/{row.key}",
        tuple(seeds) or (0,),
        tuple(steps),
        digest(content)[:16],
        tuple(after),
        section.pace * row.minutes.get(size, 0.0),
        against=against if _trains(row) else "",
        commands=tuple(shown(step, section, table) for step in steps),
        needs=_read_data(steps, needs),
    )


def _read_data(steps: Sequence[Any], needs: Sequence[str]) -> tuple[str, ...]:
    """Return the data sets that a row needs or names in a step."""
    named = [name.removeprefix("data-") for _, name in WORD.findall(str(steps)) if name.startswith("data-")]
    return tuple(dict.fromkeys([*needs, *named]))


def _lacks_data(one: Planned, available: Mapping[str, Path], before: Mapping[str, Planned]) -> bool:
    own = any(name not in available for name in one.needs)
    return own or any(_lacks_data(before[key], available, before) for key in one.after)


def _trains(row: Row) -> bool:
    return bool(row.steps or row.of)


def _reason(size: Size, one: Planned, available: Mapping[str, Path], before: Mapping[str, Planned]) -> str:
    """Say why a row cannot be computed; empty if it can."""
    if missing := [name for name in one.needs if name not in available]:
        return f"waits for data: {', '.join(missing)}"
    if size not in one.row.sizes:
        other = one.row.sizes[0]
        minutes = one.row.minutes.get(other)
        return f"left out of size={size}" + (f": about {minutes:.0f} minutes with size={other}" if minutes else "")
    return _needed(one, before)


def _needed(one: Planned, before: Mapping[str, Planned]) -> str:
    return next((f"waits for the row {key}" for key in one.after if before[key].reason), "")


def _within(limit: float, rows: Iterable[Planned]) -> set[str]:
    """Keys of the rows that a limit of minutes leaves, from the shortest on."""
    spent, kept = 0.0, set()
    for row in sorted((row for row in rows if not row.reason), key=lambda row: row.minutes):
        spent += row.minutes
        if spent <= limit:
            kept.add(row.key)
    return kept


def _with_needed(planned: Mapping[str, Planned], only: Sequence[str]) -> set[str]:
    """Keys of the rows that the patterns name, with those that they need."""
    if not only:
        return set(planned)
    chosen: list[str] = []
    for pattern in only:
        found = [key for key in planned if fnmatch(key, pattern) or fnmatch(key.split("/")[1], pattern)]
        if not found:
            raise NASError(f"--rows {pattern}", f"one of {', '.join(planned)}", "voxnas tables --list NAME")
        chosen += found
    wanted: set[str] = set()
    while chosen:
        key = chosen.pop()
        if key not in wanted:
            wanted.add(key)
            chosen += planned[key].after + ((planned[key].against,) if planned[key].against in planned else ())
    return wanted


def _command(text: str) -> tuple[str, ...]:
    words = shlex.split(text)
    if words and words[0] in FOLDERS and not any(word.startswith("hydra.run.dir=") for word in words):
        words.append(f"hydra.run.dir={{folder}}/{FOLDERS[words[0]]}")
    return tuple(words)


def shown(step: tuple[str, ...] | Mapping[str, Any], section: Section, table: Table) -> str:
    """Write a step as a reader would type it, with placeholders for folders of this machine.

    Args:
        step: A step of a planned row.
        section: Its section.
        table: The table.

    Returns:
        A command line, or a call in Python.
    """

    def place(kind: str, name: str) -> str | None:
        if kind == "row:":
            return f"{RUNS}/{section.id}/{name}/SEED"
        if name.startswith("data-"):
            return f"{PLACE}/{table.data[name.removeprefix('data-')].folder}"
        return {"seed": "SEED", "folder": "FOLDER"}.get(name)

    step = substituted(step, place)
    if isinstance(step, Mapping):
        arguments = ", ".join(f"{key}={value!r}" for key, value in step.items() if key != "_target_")
        return f"{step['_target_']}({arguments})"
    return "voxnas " + " ".join(
        word if re.fullmatch(r"[\w@%+=:,./\[\]-]+", word) else shlex.quote(word) for word in step
    )
