"""Weights of U-Nets as slices of one set of weights."""

from __future__ import annotations

from nas.supernets.elastic import Share


def share_of(name: str, depth: int, norm: str) -> Share:
    """Return the shared weight of a weight of a U-Net.

    Levels are counted from the finest one, so that a shallower network has the finest levels of a deeper one.
    Normalisations of each kind, transposed convolutions, and shortcuts have weights of their own; the convolutions of
    residual levels are those of plain ones. The first convolution after a concatenation has two parts: the channels of
    the skip connection, and those from below.

    Args:
        name: Name of a parameter or a buffer of the network.
        depth: Halvings of the network.
        norm: Its normalisation.

    Returns:
        Its shared weight.
    """
    side, *rest = name.split(".")
    if side not in ("down", "up", "merge"):
        return Share("/".join([side, *rest]))
    level, *layers, kind = [part for part in rest if part != "body"]
    if side != "down":
        level = str(depth - 1 - int(level))
    after_concatenation = side == "merge" and layers[0] in ("0", "shortcut") and layers[-1] == "0" and kind == "weight"
    if layers and layers[-1] == "1":  # a convolution is followed by its normalisation
        layers.append(norm)
    return Share("/".join([side, f"level{level}", *layers, kind]), 2 if after_concatenation else 1)
