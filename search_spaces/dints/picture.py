"""Drawing of a supernet's probabilities: a lattice of feature maps, with probable edges wide and opaque."""

from __future__ import annotations

import numpy as np

from search_spaces.dints.topology import Lattice

STEP_X, STEP_Y, MARGIN, TITLE = 84.0, 66.0, 34.0, 46.0  # px
LEGEND = 96.0  # px per operation in the legend
COLOURS = ("#8a94a0", "#c8643c", "#2f78b7", "#4c9a6a", "#8a6bb8")  # of the operations, readable on white and on black
MIN_PROBABILITY = 0.03  # of an edge that is drawn


def picture(
    lattice: Lattice,
    edges_BE: np.ndarray,
    operations_BEK: np.ndarray,
    names: tuple[str, ...],
    chosen_BE: np.ndarray | None = None,
) -> str:
    """Draw the probabilities of edges and operations.

    Levels are drawn from top (finest) to bottom, blocks from left to right. Width and opacity of a line show the
    probability of the edge, its colour the most probable operation, and a dot in the middle that the edge is on in the
    decoded architecture.

    Args:
        lattice: Tables of a block.
        edges_BE: Probability of each edge, in [0, 1].
        operations_BEK: Probability of each operation given that the edge is on, in [0, 1].
        names: Names of the K operations, at most 5.
        chosen_BE: Edges that are on in the decoded architecture, or None.

    Returns:
        An SVG element.
    """
    blocks, depths = len(edges_BE), lattice.depths
    chosen_BE = np.zeros(edges_BE.shape, dtype=bool) if chosen_BE is None else chosen_BE
    width, height = (
        max(2 * MARGIN + blocks * STEP_X, MARGIN + LEGEND * len(names)),
        TITLE + MARGIN + (depths - 1) * STEP_Y,
    )
    elements = [_legend_entry(k, name) for k, name in enumerate(names)]
    for block, e in np.ndindex(edges_BE.shape):
        probability = float(edges_BE[block, e])
        if probability < MIN_PROBABILITY and not chosen_BE[block, e]:
            continue
        ends = _centre(block, int(lattice.sources_E[e])), _centre(block + 1, int(lattice.targets_E[e]))
        best = int(operations_BEK[block, e].argmax())
        title = f"on {probability:.2f}, {names[best]} {float(operations_BEK[block, e, best]):.2f}"
        elements.append(_line(*ends, probability, COLOURS[best], title))
        if chosen_BE[block, e]:
            (x1, y1), (x2, y2) = ends
            middle = f'cx="{(x1 + x2) / 2:.0f}" cy="{(y1 + y2) / 2:.0f}"'
            elements.append(f'<circle {middle} r="4" fill="{COLOURS[best]}"/>')
    for block, level in np.ndindex(blocks + 1, depths):
        x, y = _centre(block, level)
        style = 'fill="none" stroke="currentColor" stroke-width="1.2"'
        elements.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="7" {style}/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:100%" '
        f'width="{width:.0f}" role="img" aria-label="edges by probability">{"".join(elements)}</svg>'
    )


def _legend_entry(k: int, name: str) -> str:
    x = MARGIN + LEGEND * k
    line = f'<line x1="{x}" y1="14" x2="{x + 22}" y2="14" stroke="{COLOURS[k]}" stroke-width="4"/>'
    return f'{line}<text x="{x + 28}" y="18" fill="currentColor" font-size="12">{name}</text>'


def _line(start: tuple[float, float], end: tuple[float, float], probability: float, colour: str, title: str) -> str:
    """Draw an edge, wide and opaque in proportion to its probability."""
    return (
        f'<line x1="{start[0]:.0f}" y1="{start[1]:.0f}" x2="{end[0]:.0f}" y2="{end[1]:.0f}" stroke="{colour}" '
        f'stroke-width="{0.6 + 5 * probability:.1f}" stroke-opacity="{max(probability, 0.12):.2f}">'
        f"<title>{title}</title></line>"
    )


def _centre(row: int, level: int) -> tuple[float, float]:
    """Return the position of a feature map in px."""
    return MARGIN + row * STEP_X, TITLE + level * STEP_Y
