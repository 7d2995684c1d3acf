"""A table as its file declares it: columns, data sets, sections, published rows and rows of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from pydantic import BaseModel, ConfigDict, Strict, StrictBool, StrictInt, ValidationError

from experiments.conf_files import tables, text_of
from experiments.tables.allowed import require_command, require_function_settings, require_word
from nas.errors import NASError
from nas.utils.foreign import MOST_YAML_BYTES, parse_yaml, read_text

Size = Literal["quick", "cpu", "full"]
SIZES: tuple[Size, ...] = ("quick", "cpu", "full")
OF_EVERY_TABLE: tuple[Size, ...] = ("quick", "full")
Seeds = tuple[Annotated[StrictInt, Ge(0), Le(2**32 - 1)], ...]
Digits = Annotated[StrictInt, Ge(0), Le(20)]
Factor = Annotated[float, Strict(), Ge(0), Le(1e18)]


class Part(BaseModel):
    """Base of the parts of a table; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=False)


class Column(Part):
    """One column.

    Attributes:
        name: A metric of the task (`auc`), a cost (`params`, `macs`, `bytes`), or a value of a computation.
        label: Heading, with the unit.
        digits: Decimals.
        scale: Measured values are multiplied by it: 100 for %, 1e-6 for millions. Published values are written as
            printed.
        interval: Whether table.md and table.tex show the 95 % interval; table.csv always has it.
    """

    name: str
    label: str
    digits: Digits = 3
    scale: Factor = 1.0
    interval: StrictBool = False


class DataNeed(Part):
    """A data set that rows need.

    Attributes:
        folder: Its folder below `--data-root`; `--data NAME=PATH` names another one.
        files: Files in it (with wildcards) that have to be there.
        source: Where it comes from, and its licence.
    """

    folder: str
    files: tuple[str, ...] = ()
    source: str


class Row(Part):
    """One row: published values, values of ours, or both in different columns.

    Attributes:
        name: The system, as shown.
        id: Short name; by default made of `name`.
        values: Column -> published value, as printed.
        source: Source of the published values.
        note: Remark under the table.
        comparable: False marks published values that were made in another way.
        steps: Commands of `voxnas` without `voxnas`, in order. `{seed}`, `{folder}`, `{data}`, `{row:ID}` and the
            words of the section and the size are filled in. A mapping with `_target_` is a function, called with its
            other keys, and with `folder` and `seed` if it takes them.
        call: A function as in `steps`, whose result are the values of the row.
        of: Id of the row in whose training this system was tested.
        system: Its name in predictions.csv.
        origin: Whose the computed values are: "ours", or "published" for values of others that are averaged here.
        result: Folder below that of a seed in which its steps leave result.json and predictions.csv.
        seeds: Number of the seeds that are used, by size; all by default. A row with `call` has one unless it is set.
        needs: Data sets, instead of those of the section.
        sizes: Sizes that compute this row.
        minutes: Expected minutes by size, of all seeds.
    """

    name: str
    id: str = ""
    values: Mapping[str, float | str] = {}
    source: str = ""
    note: str = ""
    comparable: StrictBool = True
    steps: tuple[str | Mapping[str, Any], ...] = ()
    call: Mapping[str, Any] | None = None
    of: str = ""
    system: str = ""
    origin: Literal["ours", "published"] = "ours"
    result: str = "train"
    seeds: Mapping[Size, Annotated[StrictInt, Ge(1), Le(1000)]] = {}
    needs: tuple[str, ...] | None = None
    sizes: tuple[Size, ...] = SIZES
    minutes: Mapping[Size, Annotated[float, Strict(), Ge(0), Le(1e6)]] = {}

    @property
    def key(self) -> str:
        """Its id, or one made of its name."""
        return self.id or re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")

    @property
    def is_ours(self) -> bool:
        """Whether something of the row is computed."""
        return bool(self.steps or self.call or self.of)


class Section(Part):
    """Rows under one heading.

    Attributes:
        title: Heading.
        id: Short name.
        note: Text under the heading.
        needs: Names of data sets that its rows need; `{data}` is the first.
        words: Texts for `{name}` in steps, by size; "both" for all sizes.
        seeds: Seeds by size, instead of those of the table.
        pace: Factor of the expected minutes of its rows, for data that take longer than those of another section.
        against: Id of the row from which paired differences are taken.
        columns: Names of the columns that it shows; empty for all.
        rows: The rows.
    """

    title: str
    id: str
    note: str = ""
    needs: tuple[str, ...] = ()
    words: Mapping[Size | Literal["both"], Mapping[str, str]] = {}
    seeds: Mapping[Size, Seeds] = {}
    pace: Factor = 1.0
    against: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[Row, ...]


class SizeSettings(Part):
    """Seeds, words and note of a size of a table.

    Attributes:
        seeds: Seeds of trained rows.
        words: Texts for `{name}` in steps.
        note: What this size can and cannot show.
    """

    seeds: Seeds = (0,)
    words: Mapping[str, str] = {}
    note: str = ""


class Table(Part):
    """A table.

    Attributes:
        title: Title.
        about: What it shows, and what its rows are measured on.
        columns: The columns.
        score: Column of paired differences.
        sizes: Settings of its sizes: "quick" (two cores, under an hour), "full" (as published), perhaps "cpu" (two
            cores, hours).
        data: Data sets by name.
        sections: The sections.
        notes: Sentences under the table.
    """

    title: str
    about: str
    columns: tuple[Column, ...]
    score: str = ""
    sizes: Mapping[Size, SizeSettings]
    data: Mapping[str, DataNeed] = {}
    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()

    @property
    def scored(self) -> Column | None:
        """The column of paired differences, if there is one."""
        return next((column for column in self.columns if column.name == self.score), None)


def load(name: str, allow: Sequence[str] = ()) -> tuple[str, Table]:
    """Read and check a table.

    Args:
        name: A file of conf/table without `.yaml`, or the path of a yaml file.
        allow: Packages whose functions the table may call beside those for tables, from the command line.

    Returns:
        The table's name and the table.

    Raises:
        NASError: If there is no such table, or the file is wrong.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        try:
            text = read_text(path, MOST_YAML_BYTES)
        except (OSError, ValueError) as error:
            raise NASError(f"the table {name} ({error})", "a yaml file", "check the path") from error
        return path.stem, parse(text, name, allow)
    if name not in tables():
        raise NASError(f"the table {name!r}", f"one of {', '.join(tables())}, or a yaml file", "voxnas tables --list")
    return name, parse(text_of(f"table/{name}.yaml"), f"conf/table/{name}.yaml")


def parse(text: str, file: str, allow: Sequence[str] = ()) -> Table:
    """Check the text of a table.

    Args:
        text: YAML.
        file: Its file, for messages.
        allow: See `load`.

    Returns:
        The table.

    Raises:
        NASError: For the first mistake, with its key.
    """
    try:
        content = parse_yaml(text)
    except ValueError as error:
        raise _wrong(f"{file} ({error})", "YAML", "correct the file") from error
    if not isinstance(content, dict):
        raise _wrong(f"{file} of type {type(content).__name__}", "title, columns, sizes, sections", "correct the file")
    content.pop("define", None)  # anchors for the rest of the file
    try:
        table = Table.model_validate(content)
    except ValidationError as error:
        raise _mistake(error, file) from error
    _check(table, file, allow)
    return table


def _mistake(error: ValidationError, file: str) -> NASError:
    """Name the first mistake, an unknown key before one that is missing: it may be the same, misspelt."""
    first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return _wrong(f"{file}: the unknown key {key}", "the keys of conf/table", f"correct or remove {key}")
    if first["type"] == "missing":
        return _wrong(f"{file}: no {key}", "a value for it", f"set {key}")
    message = str(first["msg"])
    return _wrong(f"{file}: {key}={_short(first['input'])}", message[0].lower() + message[1:], f"correct {key}")


def _check(table: Table, file: str, allow: Sequence[str]) -> None:
    """Check the names that parts of a table use of one another."""
    columns = {column.name for column in table.columns}
    if len(columns) < len(table.columns):
        raise _wrong(f"{file}: two columns of one name", "different names", "correct columns")
    if table.score and table.score not in columns:
        raise _wrong(f"{file}: score={table.score}", f"one of {', '.join(columns)}", "correct score")
    if missing := [size for size in OF_EVERY_TABLE if size not in table.sizes]:
        raise _wrong(f"{file}: no sizes.{missing[0]}", "quick and full", f"add sizes.{missing[0]}")
    for name, settings in table.sizes.items():
        for text in settings.words.values():
            require_word(text, f"{file}: sizes.{name}.words")
    for section in table.sections:
        where = f"{file}: section {section.id}"
        for texts in section.words.values():
            for text in texts.values():
                require_word(text, f"{where}, words")
        keys = [row.key for row in section.rows]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise _wrong(f"{where}, row {twice[0]} twice", "an id of its own for each row", "set id")
        if unknown := [name for name in section.columns if name not in columns]:
            raise _wrong(f"{where}, columns: {unknown[0]}", f"some of {', '.join(columns)}", "correct columns")
        if section.against and section.against not in keys:
            raise _wrong(f"{where}, against={section.against}", f"one of {', '.join(keys)}", "correct against")
        for row in section.rows:
            here = f"{where}, row {row.key}"
            if unknown := [name for name in row.values if name not in columns]:
                raise _wrong(f"{here}, values.{unknown[0]}", f"one of {', '.join(columns)}", "add the column")
            if row.values and not row.source:
                raise _wrong(f"{here} with values without a source", "the source of published values", "set source")
            if unknown := [name for name in needs_of(section, row) if name not in table.data]:
                raise _wrong(f"{here}, needs={unknown[0]}", f"one of {', '.join(table.data)}", "add it to data")
            if row.of and row.of not in keys[: keys.index(row.key)]:
                raise _wrong(f"{here}, of={row.of}", "an earlier row of the section", "correct of")
            for function in functions_of(row):
                if not isinstance(function.get("_target_"), str):
                    raise _wrong(f"{here}, a function without _target_", "_target_: module.function", "add _target_")
                require_function_settings(function, here, allow)
            for step in row.steps:
                if isinstance(step, str):
                    require_command(step, here)
    if len({section.id for section in table.sections}) < len(table.sections):
        raise _wrong(f"{file}: two sections of one id", "different ids", "correct sections")


def needs_of(section: Section, row: Row) -> tuple[str, ...]:
    """Return the data sets of a row.

    Args:
        section: Its section.
        row: The row.

    Returns:
        Names of data sets; none for a row that is only published.
    """
    if not row.is_ours:
        return ()
    return section.needs if row.needs is None else row.needs


def functions_of(row: Row) -> list[Mapping[str, Any]]:
    """Return the functions that a row calls.

    Args:
        row: The row.

    Returns:
        Mappings with `_target_`.
    """
    return [step for step in (*row.steps, *([row.call] if row.call else [])) if not isinstance(step, str)]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _wrong(got: str, expected: str, fix: str) -> NASError:
    return NASError(got, expected, fix)
