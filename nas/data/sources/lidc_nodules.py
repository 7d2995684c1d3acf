"""882 nodules of LIDC-IDRI cut out of CT along their outlines, as one npz file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from nas.data.io.npz import read_npz
from nas.data.sample import Sample
from nas.data.source import CACHE, Source
from nas.errors import NASError
from nas.utils.annotations import PathName, Side
from nas.utils.checked import checked

FILE = "lidc_nodules_882.npz"
ARRAYS = ("volumes", "depth", "label", "exam", "nodule_id", "spacing_z_xy_mm")


@checked("data")
class LidcNodules(Source):
    """Real grey values: 615 benign nodules (malignancy 1 or 2) and 267 malignant ones (4 or 5), background 0.

    The file holds volumes (882, 43, 64, 64) uint8, depth, label, exam, nodule_id and spacing_z_xy_mm. Voxels keep the
    scanner's size, because the voxel size is known for 688 nodules only. A cube of `size` voxels has the middle of the
    nodule's bounding box in its middle; 41 nodules are wider than 32 pixels and lose their rims. Values are uint8 and
    scaled to [0, 1]. The group is the exam (494; no patient is known to have two). spacing_mm is NaN if unknown, and so
    is size_mm3, which is that of the whole nodule even if the cube does not hold all of it.

    Args:
        root: Folder that holds lidc_nodules_882.npz, itself or in a folder lidc_nodules_882.
        cache_dir: Folder of the prepared stores.
        size: Voxels per side, at least 1.

    Raises:
        NASError: If the size is out of range.
    """

    name = "lidc_nodules"
    classes = ("benign", "malignant")
    scale = 1 / 255
    UNIDENTIFYING: ClassVar[Mapping[str, str]] = {**Source.UNIDENTIFYING, "root": "its one file counts by content"}

    def __init__(self, root: PathName | None, cache_dir: PathName = CACHE, size: Side = 32) -> None:
        self.root, self.cache_dir, self.size = root, cache_dir, size

    def files(self) -> Mapping[str, Path]:
        """List the one file."""
        return {FILE: self._file()}

    def provenance(self) -> Mapping[str, Any]:
        """Return source and licence."""
        return {
            "source": "LIDC-IDRI (TCIA), CC BY 3.0, doi 10.7937/K9/TCIA.2015.LO9QL9SX; "
            "cut out by MaximoDouglas/pulmonary-nodule-classification, commit 12e9a26"
        }

    def samples(self) -> Iterator[Sample]:
        """Read every sample, see `Source.samples`."""
        arrays = read_npz(self._file(), ARRAYS)
        for volume, depth, label, exam, nodule, (z_mm, xy_mm) in zip(*arrays, strict=True):
            voxels = int(np.count_nonzero(volume))
            if voxels == 0 or depth != np.count_nonzero(volume.any(axis=(1, 2))):
                raise NASError(
                    f"nodule {nodule} of exam {exam} with empty slices", "a whole nodule", "fetch the file again"
                )
            yield Sample(
                name=f"{exam}/{nodule}",
                volume_CDHW=centred_cube(volume, self.size)[None],
                label=int(label),
                group=str(exam),
                spacing_mm=(float(z_mm), float(xy_mm), float(xy_mm)),
                size_mm3=voxels * float(z_mm) * float(xy_mm) ** 2,
            )

    def _file(self) -> Path:
        if self.root is not None:
            for path in (Path(self.root) / FILE, Path(self.root) / "lidc_nodules_882" / FILE):
                if path.is_file():
                    return path
        raise NASError(
            f"no {FILE} in {self.root}" if self.root else "data.root=null",
            f"the folder of {FILE}",
            "set data.root, or the environment variable VOXNAS_DATA, to that folder",
        )


def centred_cube(volume_DHW: np.ndarray, size: int) -> np.ndarray:
    """Crop or pad a volume to a cube, with the middle of all voxels that are not 0 in its middle.

    Args:
        volume_DHW: A volume with at least one voxel that is not 0.
        size: Voxels per side.

    Returns:
        (size, size, size), filled up with 0.
    """
    out = np.zeros((size,) * 3, dtype=volume_DHW.dtype)
    source, target = [], []
    for axis, indices in enumerate(np.nonzero(volume_DHW)):
        shift = size // 2 - (int(indices.min()) + int(indices.max()) + 1) // 2
        first, last = max(0, -shift), min(volume_DHW.shape[axis], size - shift)
        source.append(slice(first, last))
        target.append(slice(first + shift, last + shift))
    out[tuple(target)] = volume_DHW[tuple(source)]
    return out
