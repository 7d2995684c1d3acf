"""Label maps and maps of real numbers as files on the grid of an image; the same values give the same bytes."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nas.data.io import formats
from nas.data.io.files import split_name
from nas.data.io.nifti import nifti_header
from nas.utils.files import write_bytes
from nas.utils.optional import medical

if TYPE_CHECKING:
    from SimpleITK import Image

NIFTI = (".nii.gz", ".nii")


def as_nifti(label_DHW: np.ndarray, like: Path, text: str = "labels", compress: bool = True) -> bytes:
    """Return a map as the bytes of a NIfTI file.

    Args:
        label_DHW: (D, H, W) uint8 or float32 in the axes of the file `like`.
        like: NIfTI file whose grid, affine and codes of orientation the result takes. The affine is written as sform
            and as qform, also if the two of `like` differ or one of them is missing.
        text: Description in the header, at most 79 bytes.
        compress: Whether to compress the file.

    Returns:
        Content of the file.
    """
    nibabel = medical("nibabel")
    stored, shape, affine = nifti_header(like)
    header = nibabel.Nifti1Header.from_header(stored, check=False)
    header.set_data_dtype(np.float32 if label_DHW.dtype == np.float32 else np.uint8)
    header["cal_min"], header["cal_max"], header["descrip"] = 0, 0, text.encode()
    image = nibabel.Nifti1Image(label_DHW.transpose(2, 1, 0).reshape(shape[:3]), affine, header)
    s_code, q_code = int(stored["sform_code"]), int(stored["qform_code"])
    if s_code > 0 or q_code > 0:  # else the file states no place, and programs place image and labels alike
        image.header.set_sform(affine, s_code or q_code)
        image.header.set_qform(affine, s_code or q_code, strip_shears=True)
    content = image.to_bytes()
    return gzip.compress(content, mtime=0) if compress else content


def write_label_image(path: Path, label: Image, like: Path | None = None, text: str = "labels") -> None:
    """Write a label map, or a map of real numbers, atomically.

    Args:
        path: The file; its ending decides the format.
        label: The map, uint8 or float32.
        like: File of the image. If both are NIfTI, the map has the affine of this file, bit for bit.
        text: Description in the header of a NIfTI file.
    """
    sitk = medical("SimpleITK")
    is_nifti = like is not None and like.is_file() and formats.format_of(like) is formats.NIFTI
    if like is not None and is_nifti and split_name(path)[1] in NIFTI:
        array_DHW = sitk.GetArrayFromImage(label)
        write_bytes(path, as_nifti(array_DHW, like, text, compress=path.name.lower().endswith(".gz")))
        return
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / path.name
        sitk.WriteImage(label, str(whole), True)
        write_bytes(path, whole.read_bytes())
