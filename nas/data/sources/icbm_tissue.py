"""Brain tissue of the ICBM-152 template: T1 with grey and white matter, from files that the package nilearn ships.

Source: Fonov et al., NeuroImage 54 (2011) 313-327, doi 10.1016/j.neuroimage.2010.07.033: the symmetric non-linear
average (2009a) of 152 healthy adults at 1 mm, brain extracted, with maps of the probability of either tissue.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le

from nas.data.sample import Sample
from nas.data.source import CACHE, Source
from nas.errors import NASError
from nas.utils.annotations import Dims, OneOf, PathName
from nas.utils.checked import checked
from nas.utils.optional import medical

KINDS = ("t1", "gm", "wm")
FILE = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
SHAPE_XYZ = (197, 233, 189)
MIDLINE = 98  # x voxel of the plane of symmetry, 0 mm
BRAIN_SHARE = 0.1  # of a block's voxels: emptier blocks are left out


@checked("data")
class IcbmTissue(Source):
    """Blocks of size^3 voxels of `spacing_mm`, labelled background, grey or white matter.

    ONE SUBJECT, and not a person: an average brain, smoother than any scan, whose labels are thresholded maps of
    the same average. It shows that a segmentation works from end to end, and nothing about patients. The labels
    nearly follow from the value of a voxel, so that the baseline `intensity` is hard to beat.
    The template is its own mirror image, voxel by voxel. Only the left half with the midline is used; otherwise each
    block would be in the training set and, mirrored, in the test set.
    Blocks do not overlap. A group is a region of 2 x 2 x 2 neighbouring blocks, so that a split keeps regions together;
    regions touch each other. A voxel is the mean over its extent, and its class is the most probable one. Values are
    uint8 and scaled to [0, 1].

    Args:
        cache_dir: Folder of the prepared stores.
        size: Voxels per side of a block, 1 to 64.
        spacing_mm: Voxel size, 1, 2, 3 or 4 mm.
        dims: 3, or 2 for the middle axial slice of each block.

    Raises:
        NASError: If an argument is out of range.
    """

    name = "icbm_tissue"
    separate_volumes = False  # the groups are regions of one brain
    classes = ("background", "grey matter", "white matter")
    scale = 1 / 255

    def __init__(
        self,
        cache_dir: PathName = CACHE,
        size: Annotated[int, Ge(1), Le(64)] = 24,
        spacing_mm: Annotated[int, OneOf(1, 2, 3, 4)] = 1,
        dims: Dims = 3,
    ) -> None:
        self.cache_dir, self.size, self.spacing_mm, self.dims = cache_dir, size, spacing_mm, dims

    def files(self) -> Mapping[str, Path]:
        """List the three files of the template."""
        return {kind: _path(kind) for kind in KINDS}

    def provenance(self) -> Mapping[str, Any]:
        """Return source and copyright of the template."""
        return {
            "source": "ICBM 152 symmetric non-linear template 2009a (Fonov et al. 2011; copyright Louis Collins, "
            "McConnell Brain Imaging Centre), as the package nilearn ships it",
            "unit": "region",
        }

    def samples(self) -> Iterator[Sample]:
        """Cut the blocks, see `Source.samples`."""
        t1_DHW, labels_DHW = self._grid()
        brain = [np.flatnonzero((labels_DHW > 0).any(axis=other)) for other in ((1, 2), (0, 2), (0, 1))]
        starts = [range(int(planes[0]), int(planes[-1]) + 1, self.size) for planes in brain]
        thickness = (1 if self.dims == 2 else self.size, self.size, self.size)
        for block in product(*map(enumerate, starts)):
            corner = [start for _, start in block]
            if self.dims == 2:
                corner[0] += self.size // 2
            volume, mask = (_cut(whole, corner, thickness) for whole in (t1_DHW, labels_DHW))
            if (volume > 0).mean() < BRAIN_SHARE:
                continue
            yield Sample(
                name="block-" + "-".join(str(number) for number, _ in block),
                volume_CDHW=volume[None],
                label=0,
                group="region-" + "-".join(str(number // 2) for number, _ in block),
                spacing_mm=(float(self.spacing_mm),) * 3,
                mask_DHW=mask,
            )

    def _grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Return T1 and classes of the left half, both uint8; axes run to superior, anterior and right."""
        t1, grey, white = (_coarser(_read(kind), self.spacing_mm) for kind in KINDS)
        likely = np.stack([255 - grey - white, grey, white])
        return np.rint(t1).astype(np.uint8), likely.argmax(axis=0).astype(np.uint8)


def _path(kind: str) -> Path:
    spec = find_spec("nilearn")  # nilearn itself is not imported: that takes seconds
    if spec is None or not spec.submodule_search_locations:
        raise NASError("no package nilearn, which ships the template", "nilearn", "pip install 'voxnas[medical]'")
    return Path(next(iter(spec.submodule_search_locations))) / "datasets" / "data" / FILE.format(kind)


def _read(kind: str) -> np.ndarray:
    """Read (D, H, W) uint8 of the left half, in which the midline is the last plane."""
    path, nibabel = _path(kind), medical("nibabel")
    try:
        volume_XYZ = np.asarray(nibabel.load(path).dataobj)
    except (OSError, EOFError, ValueError, zlib.error, nibabel.filebasedimages.ImageFileError) as error:
        raise NASError(
            f"{path} ({error})", "a file of nilearn 0.14", "pip install --force-reinstall nilearn"
        ) from error
    if volume_XYZ.shape != SHAPE_XYZ:
        raise NASError(f"{path} of shape {volume_XYZ.shape}", f"{SHAPE_XYZ}", "install the nilearn of constraints.txt")
    return volume_XYZ[: MIDLINE + 1].transpose(2, 1, 0)


def _coarser(volume_DHW: np.ndarray, factor: int) -> np.ndarray:
    """Average cubes of `factor` voxels; incomplete cubes at the left, top and front edge are dropped."""
    depth, height, width = (side // factor for side in volume_DHW.shape)
    whole = volume_DHW[: depth * factor, : height * factor, volume_DHW.shape[2] - width * factor :]
    return whole.reshape(depth, factor, height, factor, width, factor).mean(axis=(1, 3, 5))


def _cut(volume_DHW: np.ndarray, corner: list[int], sides: tuple[int, ...]) -> np.ndarray:
    """Cut a block of these sides, filled with 0 beyond the volume."""
    inside = volume_DHW[tuple(slice(start, start + side) for start, side in zip(corner, sides, strict=True))]
    return np.pad(inside, [(0, side - length) for side, length in zip(sides, inside.shape, strict=True)])
