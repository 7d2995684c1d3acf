"""table.tex of a finished table, for a document with the package booktabs."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.tables.cells import Block
from experiments.tables.output import conditions, headings, numbered, texts
from experiments.tables.spec import Size, Table
from nas.errors import visible

SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "–": "--", "±": r"$\pm$", "×": r"$\times$", "³": r"$^3$", "²": r"$^2$", "µ": r"$\mu$", "−": "$-$", "≥": r"$\ge$",
    "≤": r"$\le$", "→": r"$\rightarrow$",
}  # fmt: skip


def escaped(text: str) -> str:
    """Escape the characters that have a meaning in LaTeX.

    Args:
        text: Plain text.

    Returns:
        LaTeX that shows the text.
    """
    return "".join(SPECIAL.get(character, character) for character in visible(text))


def latex(table: Table, name: str, size: Size, blocks: Sequence[Block]) -> str:
    """Write table.tex.

    Args:
        table: The table.
        name: Its name.
        size: Its size.
        blocks: Its sections.

    Returns:
        A `table*` environment with caption, label and notes.
    """
    notes = numbered(blocks)
    lines = [
        "% needs \\usepackage{booktabs}; made by `voxnas tables`",
        "\\begin{table*}",
        "\\centering\\small",
        f"\\caption{{{escaped(table.title)}. {escaped(' '.join(conditions(table, size, blocks)))}}}",
        f"\\label{{tab:{name.replace('_', '-')}}}",
    ]
    for block in blocks:
        names = headings(table, block)
        lines += [f"\\par\\medskip\\emph{{{escaped(block.section.title)}}}\\par\\smallskip"]
        lines += [f"\\begin{{tabular}}{{ll{'r' * (len(names) - 2)}}}", "\\toprule", _row(names), "\\midrule"]
        for line in block.lines:
            numbers = ",".join(str(notes[note]) for note in line.notes)
            mark = f"\\textsuperscript{{{numbers}}}" if numbers else ""
            first, *others = texts(table, line, names, "")
            lines.append(f"{escaped(first)}{mark} & {' & '.join(map(escaped, others))} \\\\")
        lines += ["\\bottomrule", "\\end{tabular}"]
    sentences = [sentence for block in blocks for sentence in block.verdicts]
    if notes or sentences or table.notes:
        lines += ["", "\\smallskip\\raggedright\\footnotesize"]
        lines += [f"{escaped(sentence.strip())}\\\\" for sentence in (*sentences, *table.notes)]
        lines += [f"\\textsuperscript{{{number}}} {escaped(note.strip())}\\\\" for note, number in notes.items()]
    return "\n".join([*lines, "\\end{table*}"]) + "\n"


def _row(cells: Sequence[str]) -> str:
    return " & ".join(map(escaped, cells)) + " \\\\"
