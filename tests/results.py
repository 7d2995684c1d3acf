"""Results that were never computed, in one folder, for tests of files and of refused commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.comparisons import write_search, write_training
from tests.problems import study_of
from tests.tables import OBJECTIVES, SPACE
from tests.test_bundle import bundle
from tests.trainings import write_segmenter


def write_results(folder: Path) -> Path:
    """Fills a folder with the results of a search, of trainings and of a study, a broken scan and one with values."""
    write_search(folder / "s", [0.5, 0.9, 0.6])
    write_training(folder / "t", 1.0)
    write_segmenter(folder / "segmenter", seeds=(0,))
    bundle().save(folder / "bundle")
    study = study_of(f"sqlite:///{folder}/study.db", "one", SPACE, OBJECTIVES, {"data": "d"})
    study.close()
    np.save(folder / "scan.npy", np.zeros((1, 8, 8, 8), dtype=np.float32))
    (folder / "broken.nii.gz").write_bytes(b"broken")
    (folder / "labelled").mkdir()
    return folder
