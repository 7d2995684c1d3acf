"""A data set: synthetic balls, small and large ones, with the folds of their split."""

from collections.abc import Iterator

import numpy as np
from nas.data import Sample, Source


class TemplateSource(Source):
    """Balls in noise, one small and one large of each patient.

    The samples are prepared once and stored; the arguments, the files of `files` and this code are part of the store's
    name. Samples read from files: return these from `files`, and read one after the other in `samples`.

    Args:
        patients: Number of patients, at least 5.
        side: Voxels a side.
        dims: 3 for volumes, 2 for slices.
        cache_dir: Folder of the prepared store.
    """

    name = "template_data"
    classes = ("small", "large")
    scale = 1 / 255  # a network is given the stored value times scale

    def __init__(self, patients: int = 20, side: int = 16, dims: int = 3, cache_dir: str = "outputs/data") -> None:
        self.patients, self.side, self.dims, self.cache_dir = patients, side, dims, cache_dir

    def samples(self) -> Iterator[Sample]:
        """Draw the samples, always the same and in the same order."""
        rng = np.random.default_rng(0)
        shape_DHW = (self.side if self.dims == 3 else 1, self.side, self.side)  # a slice has a depth of 1
        centred_3DHW = [axis - (side - 1) / 2 for axis, side in zip(np.indices(shape_DHW), shape_DHW, strict=True)]
        distance_DHW = np.sqrt(sum(axis**2 for axis in centred_3DHW))
        for number in range(2 * self.patients):
            label, patient = number % 2, number // 2
            ball_DHW = distance_DHW < self.side * (0.2 + 0.15 * label) + rng.uniform(-1, 1)
            volume_DHW = 100 * ball_DHW + rng.normal(60, 20, shape_DHW)
            yield Sample(
                name=f"ball{number}",
                volume_CDHW=volume_DHW[None].clip(0, 255).astype(np.uint8),
                label=label,
                group=f"patient{patient}",  # a split keeps the samples of a patient together
                spacing_mm=(1.0, 1.0, 1.0),
                size_mm3=float(ball_DHW.sum()),
                fold=str(patient % 5),  # the split that comes with the data; "" if there is none
            )
