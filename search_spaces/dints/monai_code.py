"""Architectures as MONAI's code (`search_code_*.pt`): written as tensors, read as tensors or as its numpy arrays.

A file holds node_a (B + 1, D), arch_code_a (B, E) and arch_code_c (B, E), the operation of each edge, which is used
only if its arch_code_a is 1. Both frameworks number edges and operations alike; in a space with fewer operations they
keep their numbers.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas.architecture import Architecture
from nas.errors import NASError
from search_spaces.dints.cells import OPERATIONS
from search_spaces.dints.space import DiNTSSpace

NUMPY = [np.ndarray, np.dtype, np.int64, np.float64, type(np.dtype(np.int64)), type(np.dtype(np.float64))]


def to_monai(space: DiNTSSpace, arch: Architecture) -> dict[str, torch.Tensor]:
    """Convert an architecture to MONAI's code.

    Args:
        space: Space of the architecture.
        arch: Architecture.

    Returns:
        node_a, arch_code_a (float64) and arch_code_c (int64), the arguments of `TopologyInstance` and `DiNTS`, which
        MONAI up to 1.6 expects as numpy arrays.
    """
    tables, operations_BE = space.lattice, space.table(arch.genes)
    on_BE = operations_BE >= 0
    read_S = tables.state_of(on_BE[:1], tables.sources_E)
    left_S = tables.state_of(on_BE, tables.targets_E)
    node_BD = tables.levels_SD[np.concatenate([read_S, left_S])]
    return {
        "node_a": torch.from_numpy(node_BD.astype(np.int64)),
        "arch_code_a": torch.from_numpy(on_BE.astype(np.float64)),
        "arch_code_c": torch.from_numpy(_numbers(space)[np.maximum(operations_BE, 0)]),
    }


def from_monai(space: DiNTSSpace, code: Mapping[str, Any]) -> Architecture:
    """Convert MONAI's code to an architecture.

    Args:
        space: Space of the architecture.
        code: Mapping with arch_code_a and arch_code_c, tensors or arrays (B, E).

    Returns:
        The architecture.

    Raises:
        NASError: If the code is incomplete, has other sizes, unknown operations, or is not feasible.
    """
    try:
        on_BE, operations_BE = (np.asarray(code[name]) for name in ("arch_code_a", "arch_code_c"))
    except KeyError as error:
        raise NASError(
            f"a code without {error}", "arch_code_a and arch_code_c", "use a file that MONAI's search saved"
        ) from error
    shape = (space.num_blocks, space.lattice.edges)
    if on_BE.shape != shape or operations_BE.shape != shape:
        raise NASError(
            f"codes of shape {on_BE.shape} and {operations_BE.shape}",
            f"{shape}, blocks x edges",
            "set space.num_blocks and space.num_depths as in the search that wrote the code",
        )
    on_BE = on_BE > 0
    numbers_K = _numbers(space)
    known = np.isin(operations_BE[on_BE], numbers_K).all()
    if not known or not space.lattice.is_feasible(on_BE):
        raise NASError(
            "a code that is not feasible" if known else "a code with unknown operations",
            f"blocks that read the levels that the previous one wrote, and operations {', '.join(map(str, numbers_K))}",
            "decode the search again; `space.repair` gives the nearest feasible architecture",
        )
    return space.from_table(np.where(on_BE, np.searchsorted(numbers_K, operations_BE), -1))


def _numbers(space: DiNTSSpace) -> np.ndarray:
    """Return MONAI's numbers (K,) of the space's operations, increasing."""
    return np.flatnonzero([name in space.operations for name in OPERATIONS[space.spatial_dims]])


def save_monai_code(path: str | Path, space: DiNTSSpace, arch: Architecture) -> None:
    """Write MONAI's code as tensors, for `torch.load(path, weights_only=True)`.

    Args:
        path: File to write.
        space: Space of the architecture.
        arch: Architecture.
    """
    torch.save(to_monai(space, arch), path)


def load_monai_code(path: str | Path, space: DiNTSSpace) -> Architecture:
    """Read a file of `save_monai_code` or of MONAI's search.

    Args:
        path: File to read. Pickled objects other than tensors and numpy arrays are refused.
        space: Space of the architecture.

    Returns:
        The architecture.

    Raises:
        NASError: If the file cannot be read or does not hold an architecture of the space.
    """
    try:
        with torch.serialization.safe_globals([*NUMPY, *_reconstructors()]):
            code = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise NASError(f"{path} ({error})", "a search_code_*.pt of tensors or arrays", "check the file") from error
    if not isinstance(code, Mapping):
        raise NASError(f"a {type(code).__name__} in {path}", "a dictionary with arch_code_a", "check the file")
    return from_monai(space, code)


def _reconstructors() -> list[Any]:
    """Return the functions that numpy's pickles refer to, under their names in numpy 1 and 2."""
    functions: list[Any] = [np.zeros(1).__reduce__()[0], np.float64(0).__reduce__()[0]]
    modules = ("numpy.core.multiarray", "numpy._core.multiarray")
    return [(function, f"{module}.{function.__name__}") for function in functions for module in modules]
