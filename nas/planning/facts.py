"""The facts of a fingerprint as plain values, for `plan.yaml`."""

from __future__ import annotations

from typing import Any

import numpy as np

from nas.planning.fingerprint import AXES, Fingerprint, rounded
from nas.planning.suspicious import pairs_of, suspicious


def facts_of(fingerprint: Fingerprint) -> dict[str, Any]:
    """Return the facts of a data set as plain values.

    Args:
        fingerprint: Facts of every case.

    Returns:
        Name -> value; axes are D, H, W.
    """
    classes = fingerprint.classes
    facts: dict[str, Any] = {
        "cases": len(fingerprint.cases),
        "patients": fingerprint.patients,
        "channels": list(fingerprint.channels),
        "classes": list(classes),
        "shape": _spread(fingerprint.shapes_N3),
        "spacing_mm": _spread(fingerprint.spacings_N3),
        "nonzero_box": _spread(fingerprint.boxes_N3),
        "nonzero_share": rounded(fingerprint.nonzero_share),
        "anisotropy": rounded(fingerprint.anisotropy),
        "ct": fingerprint.is_ct,
        "intensity": fingerprint.intensity(),
        "cases_of_class": dict(zip(classes, map(int, fingerprint.counts_K), strict=True)),
    }
    if fingerprint.kind == "segmentation":
        objects_NK = np.array([case.objects_K for case in fingerprint.cases])
        facts["share_of_voxels"] = dict(zip(classes, map(rounded, fingerprint.shares_K), strict=True))
        facts["objects_of_class"] = {
            name: {"median": rounded(np.median(objects_NK[:, k])), "most": int(objects_NK[:, k].max())}
            for k, name in list(enumerate(classes))[1:]
        }
        sizes = fingerprint.object_sizes_mm3()
        facts["size_mm3"] = {name: [rounded(mm3) for mm3 in three] for name, three in sizes.items()}
        facts["opposite"] = [f"{one.first} and {one.second}, {AXES[one.axis]}" for one in pairs_of(fingerprint)]
    else:
        facts["given_parts"] = fingerprint.given_folds
    facts["suspicious"] = dict(suspicious(fingerprint))
    return facts


def _spread(values_N3: np.ndarray) -> dict[str, list[float]]:
    rows = np.percentile(values_N3, (0, 50, 100), axis=0)
    return {
        name: [rounded(value) for value in row] for name, row in zip(("least", "median", "most"), rows, strict=True)
    }
