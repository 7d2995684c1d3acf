"""Elements of an HTML report: head, facts, tables, settings. Text arguments are escaped here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nas.architecture import Architecture
from nas.drawing.architecture_svg import drawing_of
from nas.html.style import STYLE
from nas.space import SearchSpace
from nas.task_spec import TaskSpec
from nas.utils.files import write_text

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # of names, which a terminal that prints the page would obey


@dataclass(frozen=True, slots=True)
class Cell:
    """Cell of a table.

    Args:
        text: Content.
        number: If True, align to the right.
        code: If True, set in a monospace font.
        tag: Highlighted word after the content.
        note: Small print under the content, for example an interval.
    """

    text: str
    number: bool = False
    code: bool = False
    tag: str = ""
    note: str = ""

    def html(self, element: str = "td") -> str:
        """Render the cell.

        Args:
            element: "td" or "th".

        Returns:
            HTML.
        """
        body = f"<code>{escape(self.text)}</code>" if self.code else escape(self.text)
        tag = f'<span class="tag">{escape(self.tag)}</span>' if self.tag else ""
        note = f" <small>{escape(self.note)}</small>" if self.note else ""
        style = ' class="number"' if self.number else ""
        return f"<{element}{style}>{body}{tag}{note}</{element}>"


def write_page(
    path: str | Path,
    *,
    kicker: str,
    title: str,
    lead: str,
    body: Iterable[str],
    answer: str = "",
    command: str = "",
    refresh_s: int = 0,
) -> None:
    """Write a complete HTML file, atomically.

    Args:
        path: File to write.
        kicker: Small text over the title.
        title: Title of the page.
        lead: Introduction, as HTML.
        body: Sections of the page, as HTML.
        answer: The result in one or two sentences, above the introduction; empty for none.
        command: The command to run next; empty for none.
        refresh_s: Seconds after which a browser loads the page again; 0 for never.
    """
    first = f'<p class="answer">{escape(answer)}</p>' if answer else ""
    following = f'<p class="next">Next: <code>{escape(command)}</code></p>' if command else ""
    refresh = f'<meta http-equiv="refresh" content="{refresh_s}">\n' if refresh_s else ""
    try:
        maker = f"VoxNAS {version('voxnas')}"
    except PackageNotFoundError:
        maker = "VoxNAS"
    page = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n{refresh}<title>{escape(title)}</title>'
        f"\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<header><p class="kicker">{escape(kicker)}</p><h1>{escape(title)}</h1>{first}{following}'
        f'<p class="lead">{lead}</p></header>\n'
        + "\n".join(body)
        + f"\n<footer>Written by {escape(maker)}.</footer>\n</main>\n</body>\n</html>\n"
    )
    write_text(path, CONTROL.sub("\ufffd", page))


def facts(items: Sequence[tuple[str, str, str]], *, id_first: bool = True) -> str:
    """Render the headline facts of a report.

    Args:
        items: (label, value, small print) of each fact.
        id_first: Whether the first value is an id, which is set in a monospace font.

    Returns:
        HTML.
    """
    cells = []
    for number, (label, value, note) in enumerate(items):
        code = ' class="code"' if number == 0 and id_first else ""
        small = f"<small>{escape(note)}</small>" if note else ""
        cells.append(f"<div><dt>{escape(label)}</dt><dd{code}>{escape(value)}</dd>{small}</div>")
    return f'<dl class="facts">{"".join(cells)}</dl>'


def section(heading: str, note: str, *content: str) -> str:
    """Render a section.

    Args:
        heading: Text of the heading.
        note: Text under the heading; empty for none.
        *content: HTML of the section.

    Returns:
        HTML.
    """
    small = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(heading)}</h2>{small}{''.join(content)}</section>"


def warning_list(texts: Sequence[str]) -> str:
    """Render warnings.

    Args:
        texts: One sentence for each.

    Returns:
        HTML; empty without any.
    """
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f'<ul class="warnings">{items}</ul>' if items else ""


def pair(*sections: str) -> str:
    """Render sections side by side if the page is wide enough.

    Args:
        *sections: HTML of the sections.

    Returns:
        HTML.
    """
    return f'<div class="pair">{"".join(sections)}</div>'


def figure(content: str, caption: str = "") -> str:
    """Wrap a drawing in a figure element, which scrolls sideways if the page is too narrow.

    Args:
        content: HTML or SVG.
        caption: What the drawing shows, in words; empty for none.

    Returns:
        HTML.
    """
    words = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure><div class="scroll">{content}</div>{words}</figure>'


def folded(heading: str, content: str) -> str:
    """Render a section that is closed until the reader opens it.

    Args:
        heading: Text of the heading.
        content: HTML of the section.

    Returns:
        HTML.
    """
    return f"<details><summary><h2>{escape(heading)}</h2></summary>{content}</details>"


def architecture_section(heading: str, space: SearchSpace, arch: Architecture, task: TaskSpec | None = None) -> str:
    """Render the drawing of an architecture above its text, which is left out if the drawing is the text.

    Args:
        heading: Heading of the section.
        space: Space of the architecture.
        arch: Architecture to show.
        task: Task that the network is built for. If None, the space's own.

    Returns:
        HTML.
    """
    drawing = drawing_of(space, arch, task)
    text = "" if drawing.is_text else f"<pre>{escape(space.describe(arch))}</pre>"
    body = f'<div class="picture">{drawing.svg}{text}</div>'
    words = f"<figcaption>{escape(drawing.caption)}</figcaption>" if drawing.caption else ""
    return section(heading, drawing.note, f"<figure>{body}{words}</figure>")


def table(head: Sequence[Cell], rows: Iterable[Sequence[Cell]], marks: Mapping[int, str] | None = None) -> str:
    """Render a table.

    Args:
        head: Cells of the header row.
        rows: Cells of each row.
        marks: CSS class ("chosen", "total") of rows by index.

    Returns:
        HTML.
    """
    top = "".join(cell.html("th") for cell in head)
    body = ""
    for number, row in enumerate(rows):
        mark = f' class="{(marks or {})[number]}"' if number in (marks or {}) else ""
        body += f"<tr{mark}>{''.join(cell.html() for cell in row)}</tr>\n"
    head_html = f"<thead><tr>{top}</tr></thead>"
    return f'<div class="scroll"><table class="wide">{head_html}<tbody>\n{body}</tbody></table></div>'


def settings_table(content: Mapping[str, Any]) -> str:
    """Render nested settings as small tables, one per top-level group, after a table of the single values.

    Args:
        content: Settings by name; groups are mappings.

    Returns:
        HTML.
    """
    single = {key: value for key, value in content.items() if not isinstance(value, Mapping)}
    groups = {"": single} if single else {}
    groups |= {str(key): dict(value) for key, value in content.items() if isinstance(value, Mapping) and value}
    tables = []
    for name, values in groups.items():
        rows = "".join(f"<tr><td>{escape(key)}</td><td>{escape(text)}</td></tr>" for key, text in _flat(values))
        heading = f"<h3>{escape(name)}</h3>" if name else ""
        tables.append(f'<section>{heading}<table class="wide">{rows}</table></section>')
    return f'<div class="settings">{"".join(tables)}</div>'


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Dotted names and texts of nested settings."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            rows += _flat(value, f"{name}.")
        elif isinstance(value, Sequence) and not isinstance(value, str):
            rows.append((name, ", ".join(map(str, value)) or "none"))
        else:
            rows.append((name, "none" if value is None or value == {} else str(value)))
    return rows
