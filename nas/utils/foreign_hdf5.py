"""Checks of an HDF5 file from elsewhere, before its content is read."""

from __future__ import annotations

import math
from collections.abc import Iterable

import h5py

from nas.utils.foreign import require_size

MOST_OBJECTS = 10_000  # groups and datasets
MOST_TABLE_BYTES = 64 * 2**20  # that a dataset which is read as a whole may have, whatever its size in the file
MOST_ROW_BYTES = 256 * 2**20  # of a sample
MOST_MASK_BYTES = 2**30  # of a mask of a sample; masks with one small object are compressed a thousandfold
FILTERS = {
    h5py.h5z.FILTER_DEFLATE,
    h5py.h5z.FILTER_SHUFFLE,
    h5py.h5z.FILTER_FLETCHER32,
    h5py.h5z.FILTER_SCALEOFFSET,
    h5py.h5z.FILTER_LZF,
}


def require_own_content(file: h5py.File, by_row: Iterable[str] = (), masks: Iterable[str] = ()) -> None:
    """Check that a file holds its data itself and that reading does not take much more memory than the file.

    External storage, virtual datasets, and soft and external links make HDF5 read other files, any of the machine.

    Args:
        file: The open file.
        by_row: Names of datasets of which single rows are read.
        masks: Those of them that hold masks.

    Raises:
        ValueError: If it refers to other files, uses other filters than HDF5's own, or would inflate; also if a group
            is linked twice, as one within itself has no end.
    """
    seen, groups, addresses = 0, [("", file["/"])], {h5py.h5o.get_info(file["/"].id).addr}
    while groups:
        prefix, group = groups.pop()
        for key in group:
            seen += 1
            name = f"{prefix}{key}"
            if seen > MOST_OBJECTS:
                raise ValueError(f"more than {MOST_OBJECTS} datasets")
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise ValueError(f"{name} is a link to another place")
            value = group[key]
            if isinstance(value, h5py.Group):
                address = h5py.h5o.get_info(value.id).addr
                if address in addresses:
                    raise ValueError(f"{name} is a link to a group that has another name")
                addresses.add(address)
                groups.append((f"{name}/", value))
            elif isinstance(value, h5py.Dataset):
                _require_dataset(name, value, name in by_row, name in masks)


def _require_dataset(name: str, dataset: h5py.Dataset, by_row: bool, mask: bool) -> None:
    if dataset.is_virtual or dataset.external:
        raise ValueError(f"{name} is stored in another file")
    settings = dataset.id.get_create_plist()
    filters = {settings.get_filter(number)[0] for number in range(settings.get_nfilters())}
    if not filters <= FILTERS:
        raise ValueError(f"{name} with the filters {sorted(filters - FILTERS)}")
    if dataset.shape is None:
        raise ValueError(f"{name} without values")
    item, stored = dataset.dtype.itemsize, dataset.id.get_storage_size()
    try:
        if not by_row:
            require_size(math.prod(dataset.shape) * item, stored, MOST_TABLE_BYTES)
            return
        rows = max(1, dataset.shape[0]) if dataset.shape else 1
        free = MOST_MASK_BYTES if mask else MOST_ROW_BYTES
        for size in (math.prod(dataset.shape[1:]) * item, math.prod(dataset.chunks or (0,)) * item):
            require_size(size, stored // rows, free)
    except ValueError as error:
        raise ValueError(f"{name} of shape {dataset.shape}: {error}") from error
