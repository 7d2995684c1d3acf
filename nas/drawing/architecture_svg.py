"""Drawing of an architecture: the space's own picture, a chain of blocks, or its description in text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from html import escape
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from nas.architecture import Architecture
from nas.errors import NASError
from nas.space import Block, SearchSpace
from nas.task_spec import TaskSpec

if TYPE_CHECKING:
    from nas.drawing.traced_layers import Stage

PAGE = 1000  # px, maximum width of a row of blocks; narrower pages scale the drawing down
SIDE = 64  # voxels, assumed input size; only ratios of sizes are drawn
MAX_HEIGHT, MIN_HEIGHT = 104.0, 12.0  # px, height of a block at full resolution, and lower bound
FONT, LINE = 11.0, 13.0  # px
GAP = 12.0  # px between two boxes
TONES = ("#2f78b7", "#c8643c", "#4c9a6a", "#8a6bb8", "#b08a2e", "#5f7382")  # readable on white and on black


@dataclass(frozen=True, slots=True)
class Drawing:
    """An architecture as a picture.

    Attributes:
        svg: One SVG element.
        note: How to read it; empty if it speaks for itself.
        caption: What it shows, in words.
        is_text: Whether it is no more than the text of `space.describe`.
    """

    svg: str
    note: str = ""
    caption: str = ""
    is_text: bool = False


def draw(
    space: SearchSpace, arch: Architecture, task: TaskSpec | None = None, input_size: tuple[int, ...] | None = None
) -> str:
    """Draw an architecture as SVG, see `drawing_of`.

    Args:
        space: Space of the architecture.
        arch: Architecture to draw.
        task: Task that the network is built for. If None, the space's own.
        input_size: (D, H, W). If None, 64 voxels per axis; only ratios of resolutions are drawn.

    Returns:
        One SVG element.
    """
    return drawing_of(space, arch, task, input_size).svg


def drawing_of(
    space: SearchSpace, arch: Architecture, task: TaskSpec | None = None, input_size: tuple[int, ...] | None = None
) -> Drawing:
    """Draw an architecture, readable on light and dark backgrounds.

    The drawing is the space's own picture if it has one, else a left-to-right chain of its `blocks` if it offers them,
    else a chain of the layers that run in its network, else the text of `space.describe`.

    Args:
        space: Space of the architecture.
        arch: Architecture to draw.
        task: Task that the network is built for. If None, the space's own.
        input_size: (D, H, W). If None, 64 voxels per axis; only ratios of resolutions are drawn.

    Returns:
        The drawing.
    """
    own = space.picture(arch)
    if own is not None:
        return Drawing(own)
    height, number = "Height shows the resolution of a block", "which are the number above it"
    chain = chain_of(space, arch, task, input_size)
    if chain is not None:
        note = f"{height} at its input, width the logarithm of its input channels, {number}."
        return Drawing(_draw_chain(chain), note, _in_words(chain, "blocks"))
    from nas.drawing.traced_layers import stages_of  # here, as it imports torch

    stages = stages_of(space, arch, task, input_size)
    if stages is None:
        return Drawing(_draw_text(space.describe(arch)), is_text=True)
    boxes = [_box_of_stage(stage, number) for number, stage in enumerate(stages, start=1)]
    note = (
        f"The convolutions and linear layers in the order in which they run; layers of one kind and shape in a row are "
        f"one block. {height} at its output, width the logarithm of its output channels, {number}."
    )
    if any(stage.joined is not None for stage in stages):
        note += " An arrow such as ⟵ (3) names the block whose output is concatenated to the input."
    return Drawing(_draw_chain(boxes), note, _in_words(boxes, "blocks"))


def _box_of_stage(stage: Stage, number: int) -> Box:
    kind, _, size = stage.kind.partition(" ")
    words = [kind, *([size] if size else []), *([f"× {stage.count}"] if stage.count > 1 else [])]
    if stage.joined is not None:
        words.append(f"⟵ ({stage.joined + 1})")
    return Box(tuple(words), stage.channels, stage.scale, number)


def _in_words(boxes: Sequence[Box], name: str) -> str:
    scales = [box.scale for box in boxes if box.scale > 0]
    widest = max(box.channels for box in boxes)
    lowest = f", down to {_ratio(min(scales))} of the resolution" if scales and min(scales) < 1 else ""
    return f"{len(boxes)} {name}, at most {widest:,} channels wide{lowest}."


@dataclass(frozen=True, slots=True)
class Box:
    """Block of the chain.

    Args:
        words: Words of its key, one per line of the label.
        channels: Number of channels.
        scale: Resolution relative to the input of the network; 0 for a layer without axes.
        number: Number in the label, so that others can refer to it; 0 for none.
    """

    words: tuple[str, ...]
    channels: int
    scale: float
    number: int = 0

    @property
    def label(self) -> tuple[str, ...]:
        """Lines of the label."""
        return (f"({self.number})", *self.words) if self.number else self.words

    @property
    def height(self) -> float:
        """Height in px, proportional to the resolution."""
        return max(MIN_HEIGHT, MAX_HEIGHT * self.scale)

    @property
    def width(self) -> float:
        """Width in px, logarithmic in the number of channels."""
        return 5.0 + 4.5 * math.log2(1 + self.channels)

    @property
    def depth(self) -> float:
        """Offset in px between front and rear face."""
        return 0.16 * self.height

    @property
    def pitch(self) -> float:
        """Horizontal space in px, label and gap included."""
        return max(self.width + self.depth, *map(_length, self.words)) + GAP


def chain_of(
    space: SearchSpace, arch: Architecture, task: TaskSpec | None = None, input_size: tuple[int, ...] | None = None
) -> list[Box] | None:
    """Return the blocks of an architecture in order.

    Args:
        space: Space of the architecture.
        arch: Architecture to draw.
        task: Task that the network is built for. If None, the space's own.
        input_size: (D, H, W). If None, 64 voxels per axis.

    Returns:
        The boxes, or None if the space does not offer its blocks at this input size.
    """
    size = input_size or (SIDE,) * (task.dims if task else 3)
    try:
        offered = space.blocks(space.encode([arch]), size, task)
    except NASError:
        return None
    if offered is None:
        return None
    vocabulary, ids_NK = offered
    return [_box(vocabulary[number], size) for number in ids_NK[0] if number >= 0]


def _box(block: Block, size: Sequence[int]) -> Box:
    scale = block.input_shape[-1] / size[-1]
    words = [word for word in block.key.split() if not word.startswith("@")]  # the height shows the resolution
    return Box(tuple(words) or (block.key,), block.input_shape[0], scale)


def _rows(boxes: Sequence[Box]) -> list[list[Box]]:
    """Split the chain into rows of similar width, at most the page width."""
    pitches = [box.pitch for box in boxes]
    target = sum(pitches) / math.ceil(sum(pitches) / PAGE)
    rows: list[list[Box]] = [[]]
    filled = 0.0
    for box, pitch in zip(boxes, pitches, strict=True):
        if rows[-1] and (filled + pitch / 2 > target or filled + pitch > PAGE):
            rows.append([])
            filled = 0.0
        rows[-1].append(box)
        filled += pitch
    return rows


def _length(word: str) -> float:
    """Width of a word in px; digits, capitals and signs are wider than lower-case letters."""
    return FONT * sum(0.57 if letter.islower() else 0.66 for letter in word)


def _draw_chain(boxes: Sequence[Box]) -> str:
    kinds = list(dict.fromkeys(box.words[0] for box in boxes))
    tone = {kind: TONES[number % len(TONES)] for number, kind in enumerate(kinds)}
    elements: list[str] = []
    top, width = 0.0, 0.0
    rows = _rows(boxes)
    for number, row in enumerate(rows):
        drawn, height = _draw_row(row, tone, top, last=number == len(rows) - 1)
        elements += drawn
        width = max(width, sum(box.pitch for box in row))
        top += height
    return _svg(width + GAP / 2, top, elements, "chain of blocks: " + ", ".join(" ".join(box.words) for box in boxes))


def _draw_row(row: Sequence[Box], tone: dict[str, str], top: float, last: bool) -> tuple[list[str], float]:
    """Elements and height of a row: channel numbers, vertically centred boxes, labels, brackets of resolution."""
    tallest = max(box.height + box.depth for box in row)
    middle = top + LINE + 6 + tallest / 2
    labels = middle + tallest / 2 + LINE + 2
    brackets = labels + LINE * max(len(box.label) for box in row) - 2
    elements, x = [], 0.0
    ends: list[tuple[float, float]] = []  # left and right of each box
    for box in row:
        centre = x + box.pitch / 2
        left = centre - (box.width + box.depth) / 2
        elements += _cuboid(box, left, middle, tone[box.words[0]])
        elements.append(_words(centre, middle - (box.height + box.depth) / 2 - 5, [str(box.channels)], faint=True))
        elements.append(_words(centre, labels, box.label))
        ends.append((left, left + box.width + box.depth))
        x += box.pitch
    for (_, start), (end, _) in pairwise(ends):
        elements.append(_arrow(start + 2, end - 2, middle))
    if not last:
        elements.append(_arrow(ends[-1][1] + 2, ends[-1][1] + 2 + GAP, middle))
    x = 0.0
    for scale, group in groupby(row, key=lambda box: box.scale):
        span = sum(box.pitch for box in group)
        text = _ratio(scale)
        elements.append(_bracket(x + 5, x + span - 5, brackets, text if 0.8 * _length(text) < span else "1/1"))
        x += span
    return elements, brackets + 32 - top


def _cuboid(box: Box, left: float, middle: float, tone: str) -> list[str]:
    """Top, right and front face of a box."""
    w, h, d = box.width, box.height, box.depth
    bottom, front = middle + (h + d) / 2, middle + (h + d) / 2 - h
    top = f"M{left:.1f} {front:.1f}l{d:.1f} {-d:.1f}h{w:.1f}l{-d:.1f} {d:.1f}z"
    side = f"M{left + w:.1f} {front:.1f}l{d:.1f} {-d:.1f}v{h:.1f}l{-d:.1f} {d:.1f}z"
    face = f"M{left:.1f} {bottom:.1f}v{-h:.1f}h{w:.1f}v{h:.1f}z"
    shades = ((top, 0.18), (side, 0.5), (face, 0.32))
    return [
        f'<path d="{path}" fill="{tone}" fill-opacity="{shade}" stroke="{tone}" stroke-linejoin="round"/>'
        for path, shade in shades
    ]


def _words(x: float, y: float, words: Sequence[str], faint: bool = False) -> str:
    spans = "".join(
        f'<tspan x="{x:.1f}" y="{y + LINE * line:.1f}">{escape(word)}</tspan>' for line, word in enumerate(words)
    )
    opacity = ' fill-opacity="0.6"' if faint else ""
    return f'<text text-anchor="middle" fill="currentColor"{opacity}>{spans}</text>'


def _arrow(start: float, end: float, y: float) -> str:
    path = f"M{start:.1f} {y:.1f}H{end:.1f}m-4 -3l4 3l-4 3"
    return f'<path d="{path}" fill="none" stroke="currentColor" stroke-opacity="0.45"/>'


def _bracket(left: float, right: float, y: float, text: str) -> str:
    line = f'<path d="M{left:.1f} {y:.1f}v4H{right:.1f}v-4" fill="none" stroke="currentColor" stroke-opacity="0.3"/>'
    return line + _words((left + right) / 2, y + 17, [text], faint=True)


def _ratio(scale: float) -> str:
    if scale == 1:
        return "full resolution"
    if not scale:
        return "vector"
    ratio = Fraction(scale).limit_denominator(64)
    return f"{ratio.numerator}/{ratio.denominator}"


def _draw_text(text: str) -> str:
    lines = text.splitlines() or [""]
    letter, line = 7.9, 18.0  # px, monospace letter and line at font size 13
    rows = "".join(
        f'<tspan x="8" y="{20 + line * number:.0f}">{escape(row)}</tspan>' for number, row in enumerate(lines)
    )
    body = f'<text font-family="monospace" font-size="13" xml:space="preserve" fill="currentColor">{rows}</text>'
    return _svg(16 + letter * max(map(len, lines)), 14 + line * len(lines), [body], "description of the architecture")


def _svg(width: float, height: float, elements: Sequence[str], label: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" aria-label="{escape(label)}" '
        f'font-family="system-ui, sans-serif" font-size="{FONT:g}">{"".join(elements)}</svg>'
    )
