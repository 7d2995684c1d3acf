"""Boxes of one image from a PASCAL VOC annotation file (XML)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from nas.errors import NASError

EDGES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True, slots=True)
class VocObject:
    """An object: its class as written, and its edges in pixels (pixel i reaches from i to i + 1)."""

    label: str
    x0: float
    y0: float
    x1: float
    y1: float


def read_voc(path: Path, width: int, height: int) -> list[VocObject]:
    """The objects of an annotation of an image of width x height pixels. Edges are read by name, in whatever order.

    Raises NASError for a file that is no such annotation or is of an image of another size, and for a box that is empty
    or not inside the image.
    """
    try:
        root = ElementTree.parse(path).getroot()
        size = tuple(int(_text(root, f"size/{side}")) for side in ("width", "height"))
        found = [
            VocObject(_text(one, "name"), *(float(_text(one, f"bndbox/{edge}")) for edge in EDGES))
            for one in root.iter("object")
        ]
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise _unreadable(path, error) from error
    if size != (width, height):
        raise NASError(
            f"{path} of an image of {size[0]}x{size[1]} pixels, where the slice has {width}x{height}",
            "the annotation of this slice",
            "leave the file out",
        )
    for one in found:
        edges = (one.x0, one.y0, one.x1, one.y1)
        inside = 0 <= one.x0 < one.x1 <= width and 0 <= one.y0 < one.y1 <= height
        if not inside:
            raise NASError(
                f"the box xmin, ymin, xmax, ymax = {', '.join(f'{edge:g}' for edge in edges)} in {path}",
                f"a box inside the image of {width}x{height} pixels, of at least one pixel",
                "mend the box, or leave the file out",
            )
    return found


def labels_of(path: Path) -> set[str]:
    """The classes of an annotation. Raises NASError where it cannot be read."""
    try:
        return {_text(one, "name") for one in ElementTree.parse(path).getroot().iter("object")}
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> NASError:
    return NASError(f"{path} ({error})", "a PASCAL VOC annotation", "fetch the file again, or leave it out")


def _text(element: ElementTree.Element, path: str) -> str:
    text = (element.findtext(path) or "").strip()
    if not text:
        raise ValueError(f"no {path}")
    return text
