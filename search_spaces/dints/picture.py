"""The probabilities of a supernet as a drawing: a lattice of feature maps, each edge as dark as it is probable."""

from __future__ import annotations

import numpy as np

from search_spaces.dints.topology import Lattice

STEP_X, STEP_Y, MARGIN, TITLE = 84.0, 66.0, 34.0, 46.0  # px
LEGEND = 96.0  # px, an operation in the legend
TONES = ("#8a94a0", "#c8643c", "#2f78b7", "#4c9a6a", "#8a6bb8")  # of the operations, readable on white and on black
LEAST = 0.03  # probability below which an edge is not drawn


def picture(
    lattice: Lattice,
    edges_BE: np.ndarray,
    operations_BEK: np.ndarray,
    names: tuple[str, ...],
    chosen_BE: np.ndarray | None = None,
) -> str:
    """An SVG element. Rows: levels, the finest on top; columns: rows of feature maps, the image's side left.

    edges_BE: that an edge is on. operations_BEK: given that. Width and opacity of a line: the edge's probability; its
    colour: its most probable operation; a dot in the middle: it is on in the decoded architecture chosen_BE.
    """
    blocks, depths = len(edges_BE), lattice.depths
    chosen_BE = np.zeros(edges_BE.shape, dtype=bool) if chosen_BE is None else chosen_BE
    width, height = (
        max(2 * MARGIN + blocks * STEP_X, MARGIN + LEGEND * len(names)),
        TITLE + MARGIN + (depths - 1) * STEP_Y,
    )
    parts = []
    for k, name in enumerate(names):
        x = MARGIN + LEGEND * k
        parts.append(f'<line x1="{x}" y1="14" x2="{x + 22}" y2="14" stroke="{TONES[k]}" stroke-width="4"/>')
        parts.append(f'<text x="{x + 28}" y="18" fill="currentColor" font-size="12">{name}</text>')
    for block, e in np.ndindex(edges_BE.shape):
        p = float(edges_BE[block, e])
        if p < LEAST and not chosen_BE[block, e]:
            continue
        (x1, y1), (x2, y2) = _place(block, int(lattice.sources_E[e])), _place(block + 1, int(lattice.targets_E[e]))
        best = int(operations_BEK[block, e].argmax())
        share = float(operations_BEK[block, e, best])
        parts.append(
            f'<line x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}" stroke="{TONES[best]}" '
            f'stroke-width="{0.6 + 5 * p:.1f}" stroke-opacity="{max(p, 0.12):.2f}">'
            f"<title>on {p:.2f}, {names[best]} {share:.2f}</title></line>"
        )
        if chosen_BE[block, e]:
            parts.append(f'<circle cx="{(x1 + x2) / 2:.0f}" cy="{(y1 + y2) / 2:.0f}" r="4" fill="{TONES[best]}"/>')
    for block, level in np.ndindex(blocks + 1, depths):
        x, y = _place(block, level)
        parts.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="7" fill="none" stroke="currentColor" stroke-width="1.2"/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:100%" '
        f'width="{width:.0f}" role="img" aria-label="edges by probability">{"".join(parts)}</svg>'
    )


def _place(row: int, level: int) -> tuple[float, float]:
    return MARGIN + row * STEP_X, TITLE + level * STEP_Y
