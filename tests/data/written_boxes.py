"""CT series with PASCAL VOC boxes as the tests write them: noise with a bright rectangle where a box is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk

from tests.data.written_scans import write_dicom

SIDE = 48
VOC = """<annotation><size><width>{side}</width><height>{side}</height><depth>1</depth></size>{objects}</annotation>"""
OBJECT = (
    "<object><name>{label}</name><bndbox>"
    "<ymax>{3}</ymax><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax></bndbox></object>"
)
Box = tuple[str, float, float, float, float]  # class, xmin, ymin, xmax, ymax


def write_series(
    root: Path, patient: str, boxes: dict[int, list[Box]], slices: int = 6, seed: int = 0
) -> dict[int, Path]:
    """A series below root with XML files for the slices in `boxes` (0 is the lowest); their paths by slice."""
    rng = np.random.default_rng(seed)
    hu = rng.normal(-800, 30, (slices, SIDE, SIDE))
    for number, objects in boxes.items():
        for _, x0, y0, x1, y1 in objects:
            hu[number, round(y0) : round(y1), round(x0) : round(x1)] = 60
    image = sitk.GetImageFromArray(hu.round().astype(np.int16))
    image.SetSpacing((0.7, 0.7, 5.0))
    folder = root / f"CT-{patient}-{seed}"
    write_dicom(folder, image, patient=patient, slope=1.0)
    uids = uids_of(folder)
    return {
        number: write_voc(root / "Annotation" / f"{uids[number]}.xml", objects) for number, objects in boxes.items()
    }


def uids_of(folder: Path) -> list[str]:
    """SOPInstanceUID of each slice, from below."""
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.glob("*.dcm")]
    return [str(one.SOPInstanceUID) for one in sorted(headers, key=lambda one: float(one.ImagePositionPatient[2]))]


def write_voc(path: Path, objects: list[Box], side: int = SIDE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(OBJECT.format(*edges, label=label) for label, *edges in objects)
    path.write_text(VOC.format(side=side, objects=text))
    return path
