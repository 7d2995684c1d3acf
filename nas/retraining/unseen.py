"""The test part of a training holds no patient that the search of its network has seen."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from nas.artifact import Artifact
from nas.data.splits import Fold, Split
from nas.errors import NASError

UNKNOWN = "search patients unknown"
log = logging.getLogger(__name__)


def check_unseen(network: Artifact, split: Split, rounds: Sequence[Fold]) -> bool:
    """Check that no test sample of a training was seen by the search of its network.

    Samples are compared by patient and by image content, so that another crop, a patient more, or another name of the
    same image make no difference.

    Args:
        network: A network of a search or of the literature.
        split: The split of the training.
        rounds: The rounds of the training.

    Returns:
        False if the patients of the search are unknown, because its arch.json is of an earlier version.

    Raises:
        NASError: If a test sample was seen.
    """
    search = network.provenance.search
    if search is None or split.overfit:  # the table states that an overfitted network was tested on its training data
        return True
    rows = np.unique(np.concatenate([part.test for part in rounds]))
    store = split.store
    if search.patients is None or search.contents is None:
        same_data = search.data.sha256 == store.sha256
        if same_data and search.split.sha256 != split.sha256:
            raise _seen(f"split {split.sha256[:12]}, another than {search.split.sha256[:12]} of its search")
        log.warning(
            "%s: its arch.json is of an earlier version that does not record the patients of the search",
            network.arch.id,
        )
        return False
    patients = set(store.patient_digests(rows)) & set(search.patients)
    contents = set(store.content_digests(rows)) & set(search.contents)
    if patients or contents:
        what = f"{len(patients)} {split.unit}s" if patients else f"{len(contents)} images"
        raise _seen(f"{what} that its search has seen")
    return True


def _seen(what: str) -> NASError:
    return NASError(
        f"a test part with {what}",
        "the test fold of the search, whose patients it never saw",
        "use the data, split.* and seed of the search, or search anew for each test fold (split.test_fold)",
    )
