"""Boxes of one image from a PASCAL VOC annotation file (XML)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from nas.errors import NASError
from nas.utils.foreign import require_regular

MOST_BYTES = 2**24  # of an annotation
EDGES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True, slots=True)
class VocObject:
    """One object of an annotation.

    Args:
        label: Name of the class, as in the file.
        x0: Left edge in pixels; pixel i reaches from i to i + 1.
        y0: Upper edge.
        x1: Right edge.
        y1: Lower edge.
    """

    label: str
    x0: float
    y0: float
    x1: float
    y1: float


def read_voc(path: Path, width: int, height: int) -> list[VocObject]:
    """Read the objects of an annotation; the edges may be in any order.

    Args:
        path: The XML file.
        width: Width of the image in pixels.
        height: Height of the image in pixels.

    Returns:
        The objects, in the order of the file.

    Raises:
        NASError: If the file is no such annotation or belongs to an image of another size, or a box is empty or not
            inside the image.
    """
    try:
        require_regular(path, MOST_BYTES)
        root = ElementTree.parse(path).getroot()
        size = tuple(int(_text(root, f"size/{side}")) for side in ("width", "height"))
        objects = [
            VocObject(_text(element, "name"), *(float(_text(element, f"bndbox/{edge}")) for edge in EDGES))
            for element in root.iter("object")
        ]
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise _unreadable(path, error) from error
    if size != (width, height):
        raise NASError(
            f"{path} of an image of {size[0]}x{size[1]} pixels for a slice of {width}x{height}",
            "the annotation of this slice",
            "leave the file out",
        )
    for box in objects:
        edges = (box.x0, box.y0, box.x1, box.y1)
        inside = 0 <= box.x0 < box.x1 <= width and 0 <= box.y0 < box.y1 <= height
        if not inside:
            raise NASError(
                f"the box xmin, ymin, xmax, ymax = {', '.join(f'{edge:g}' for edge in edges)} in {path}",
                f"a box inside the image of {width}x{height} pixels, of at least one pixel",
                "correct the box, or leave the file out",
            )
    return objects


def labels_of(path: Path) -> set[str]:
    """Read the classes of an annotation.

    Args:
        path: The XML file.

    Returns:
        The distinct classes.

    Raises:
        NASError: If the file cannot be read.
    """
    try:
        require_regular(path, MOST_BYTES)
        return {_text(element, "name") for element in ElementTree.parse(path).getroot().iter("object")}
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> NASError:
    return NASError(f"{path} ({error})", "a PASCAL VOC annotation", "fetch the file again, or leave it out")


def _text(element: ElementTree.Element, path: str) -> str:
    text = (element.findtext(path) or "").strip()
    if not text:
        raise ValueError(f"no {path}")
    return text
