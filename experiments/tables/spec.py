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
from experiments.tables.words import with_words
from nas.errors import NASError
from nas.utils.foreign import MOST_YAML_BYTES, parse_yaml, read_text

ID = re.compile(r"[A-Za-z0-9][\w-]*")
PLACE = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)*")  # a relative path without "..", also where \ separates folders
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
        files: Files in it (with wildcards) that have to be there. Rows are computed anew if they change; without
            `files`, if any file does.
        source: Where it comes from, and its licence.
    """

    folder: str
    files: tuple[str, ...] = ()
    source: str


class Row(Part):
    """One row: published values, values of ours, or both in different columns.

    Attributes:
        name: The system, as shown.
        id: Short name of letters, digits, _ and -, which names its folder; by default made of `name`.
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
        id: Short name of letters, digits, _ and -, which names its folder.
        note: Text under the heading.
        needs: Names of data sets that its rows need; `{data}` is the first.
        words: Texts for `{name}` in steps, by size; "both" for all sizes.
        seeds: Seeds by size, instead of those of the table.
        pace: Factor of the expected minutes of its rows, for data that take longer than those of another section.
        against: Id of the row from which paired differences are taken; it has `steps` or `of`.
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
        _check_id(section.id, where)
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
        _check_reference(section, where)
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
            _check_place(row, here)
            for function in functions_of(row):
                if not isinstance(function.get("_target_"), str):
                    raise _wrong(f"{here}, a function without _target_", "_target_: module.function", "add _target_")
            for size in table.sizes:
                _check_steps(row, words_of(table, section, size), here, allow)
    if len({section.id for section in table.sections}) < len(table.sections):
        raise _wrong(f"{file}: two sections of one id", "different ids", "correct sections")


def _check_reference(section: Section, where: str) -> None:
    """Check that the row of the differences has trainings: published values alone have no patients to pair."""
    row = next((row for row in section.rows if row.key == section.against), None)
    if row is not None and not (row.steps or row.of):
        tested = [one.key for one in section.rows if one.steps or one.of]
        expected = f"a row with steps or of: {', '.join(tested) or 'there is none here'}"
        raise _wrong(f"{where}, against={section.against}", expected, "correct or remove against")


def _check_id(key: str, where: str) -> None:
    """Check an id, which names a folder."""
    if not ID.fullmatch(key):
        raise _wrong(f"{where}, id={_short(key)!r}", "letters, digits, _ and -, the first a letter or digit", "set id")


def _check_place(row: Row, where: str) -> None:
    """Check that what a row leaves lies in its own folder."""
    _check_id(row.key, where)
    if not PLACE.fullmatch(row.result):
        raise _wrong(f"{where}, result={_short(row.result)}", "a folder below that of a seed", "correct result")


def _check_steps(row: Row, words: Mapping[str, str], where: str, allow: Sequence[str]) -> None:
    """Check the steps with their words filled in, as they run."""
    for function in functions_of(row):
        require_function_settings(with_words(function, words), where, allow)
    for step in row.steps:
        if isinstance(step, str):
            require_command(with_words(step, words), where)


def words_of(table: Table, section: Section, size: Size) -> dict[str, str]:
    """Return the words that are filled into the steps of a section.

    Args:
        table: The table.
        section: The section.
        size: The size.

    Returns:
        Name -> text.
    """
    return {**table.sizes[size].words, **section.words.get("both", {}), **section.words.get(size, {})}


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
