"""The Pareto front as a picture, for trackers without a scatter plot of their own."""

from __future__ import annotations

import numpy as np

from nas.tracking.base import Front

GREY, BLUE = "#a0a0a0", "#2468a8"


def front_picture(front: Front) -> np.ndarray:
    """Draw the finished networks and the Pareto front.

    Args:
        front: The networks.

    Returns:
        (400, 600, 3) uint8, the first row at the top.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # takes long to import
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), dpi=100, layout="constrained")
    canvas, axes = FigureCanvasAgg(figure), figure.add_subplot()
    for kept_N, colour, label in ((~front.best_N, GREY, "dominated"), (front.best_N, BLUE, "front")):
        x_N, y_N = front.values_N2[kept_N].T
        axes.scatter(x_N, y_N, s=28, color=colour, label=label)
    axes.set_xlabel(front.x)
    axes.set_ylabel(front.y)
    axes.legend()
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
