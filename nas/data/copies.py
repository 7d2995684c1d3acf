"""Copies of a volume: one image under two patients would stand on both sides of a split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nas.data.io.limits import Limit
from nas.data.sample import Sample, content_digest
from nas.errors import NASError

LIMITS = (
    Limit(
        "Folders and tables",
        "one volume, or one channel of it, under two patients: a copy, another format, compression or type, the same "
        "path written otherwise",
        "refused",
        "compared by voxels where whole volumes are read, else by the content of files; correct the patient",
    ),
    Limit("Folders and tables", "one sample with two labels, one nodule of LUNA16 with both", "refused", "remove one"),
)


def without_copies(samples: Iterable[Sample]) -> Iterator[Sample]:
    """Check that no volume belongs to two patients, and that no sample has two labels.

    Volumes are compared by content: by the digest of their files, and by that of their voxels (`Sample.image`), which
    finds a copy under another name, in another format or with another compression, also of a single channel. If the
    source does not know the voxels of a volume, those of the sample are compared; samples with one value only are not.

    Args:
        samples: The samples of a data set.

    Yields:
        The samples.

    Raises:
        NASError: If a volume belongs to two patients or a sample has two labels.
    """
    volumes: dict[str, Sample] = {}
    drawn: dict[tuple[str, str], Sample] = {}
    for sample in samples:
        same = content_digest(sample)
        constant = sample.volume_CDHW.min() == sample.volume_CDHW.max()
        keys = [sample.content, sample.image or ("" if constant else same), *sample.channels]
        bare = Sample(sample.name, sample.volume_CDHW[:0], sample.label, sample.group, value=sample.value)
        for key in filter(None, keys):
            first = volumes.setdefault(key, bare)
            if first.group != sample.group:
                raise NASError(
                    f"one volume under two patients: {first.name} of {first.group} and {sample.name} of {sample.group}",
                    "each volume once, or both under one patient",
                    "remove the copy, or correct the patient",
                )
        first = bare if constant else drawn.setdefault((sample.image, same), bare)
        if (first.label, first.value) != (sample.label, sample.value):
            raise NASError(
                f"one sample with two labels: {first.name} and {sample.name}",
                "one label for each sample",
                "remove one of them",
            )
        yield sample
