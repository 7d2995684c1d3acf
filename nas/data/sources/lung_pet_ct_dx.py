"""Slices of chest CT with boxes around tumours: DICOM series and PASCAL VOC files, as TCIA's Lung-PET-CT-Dx gives them.

Source: Li et al. 2020, doi 10.7937/TCIA.2020.NNC2-0461, CC BY 4.0. An annotation's file name is the SOPInstanceUID of
its slice; its classes are letters: A adenocarcinoma, B small cell, E large cell, G squamous cell carcinoma.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Le, Len

from nas.data.io.axial import series_slices
from nas.data.io.dicom import DicomSeries, find_series, open_series
from nas.data.io.files import existing_folder, named_files
from nas.data.io.voc_boxes import labels_of, read_voc
from nas.data.sample import Sample
from nas.data.source import CACHE, Source
from nas.data.splits import OFFICIAL
from nas.data.transforms.ct_slices import WINDOWS_HU, fitted, windowed
from nas.errors import NASError
from nas.utils.annotations import NonNegativeFloat, OneOf, PathName, PositiveFloat, Rule, Seed, SomeOf
from nas.utils.checked import checked

MERGED = "tumour"


SUM_OF_ONE = Rule(lambda shares: abs(sum(shares) - 1) < 1e-6, "three shares above 0 whose sum is 1")


@checked("data")
class LungPetCtDx(Source):
    """Annotated slices and some without annotation, as windows of HU (nas/data/transforms/ct_slices.py).

    Nothing that is stored identifies a patient: names, identifiers, dates and paths are replaced by numbers, in the
    order of the folders. Boxes take xmin and ymin as first, xmax and ymax as last edge. Reading raises NASError for a
    folder with two series, uneven or doubled slices, another modality than CT, and annotations that `read_voc` refuses.

    Args:
        root: Folder with CT series and XML files, in any folders below it.
        cache_dir: Folder of the prepared stores.
        windows: "lung" and "mediastinum", one channel per window.
        size: Pixels per side, at least 16.
        negatives: Slices without a box per slice with boxes, drawn in each series by `seed`. If None, all slices.
        merge: Whether to use the one class "tumour" instead of the classes of the files.
        unknown: "refuse" or "skip" annotations of missing slices, and series that are no CT (the data set has PET too).
        parts: Shares of the patients for training, validation and test, drawn by `seed`, at least one patient each.
            With fewer than three patients there is no given split.
        seed: Seed of both drawings.
        values_in_hu: Whether stored values of CT and PET slices (DICOM) without RescaleSlope and RescaleIntercept are
            in HU (PET: activity) already. If False, such series are refused.

    Raises:
        NASError: If an argument is out of range.
    """

    name = "lung_pet_ct_dx"
    scale = 1 / 255
    UNIDENTIFYING: ClassVar[Mapping[str, str]] = {**Source.UNIDENTIFYING, "root": "its files count by content and path"}

    def __init__(
        self,
        root: PathName | None,
        cache_dir: PathName = CACHE,
        windows: Annotated[Sequence[str], SomeOf(*WINDOWS_HU)] = ("lung",),
        size: Annotated[int, Ge(16), Le(4096)] = 512,
        negatives: NonNegativeFloat | None = 1.0,
        merge: bool = False,
        unknown: Annotated[str, OneOf("refuse", "skip")] = "refuse",
        parts: Annotated[Sequence[PositiveFloat], Len(3, 3), SUM_OF_ONE] = (0.7, 0.15, 0.15),
        seed: Seed = 0,
        values_in_hu: bool = False,
    ) -> None:
        self.root, self.cache_dir, self.windows, self.size = root, cache_dir, tuple(windows), size
        self.negatives, self.merge, self.unknown, self.seed = negatives, merge, unknown, seed
        self.parts, self.values_in_hu = tuple(parts), values_in_hu

    def provenance(self) -> Mapping[str, Any]:
        """Return the source, without the folder, whose name may be that of a patient."""
        return {
            "source": "data in the form of Lung-PET-CT-Dx (Li et al. 2020, doi 10.7937/TCIA.2020.NNC2-0461, CC BY 4.0)",
        }

    def preparation(self) -> Mapping[str, Any]:
        """Return the arguments of `ct_slices.windowed` and `ct_slices.fitted`, see `Source.preparation`."""
        hu = {"values_in_hu": self.values_in_hu}
        return {**super().preparation(), "windows": list(self.windows), "size": self.size, **hu}

    def files(self) -> Mapping[str, Path]:
        """List all files of the series and all annotations, by their paths below the root."""
        paths = (*self._folders, *self._annotations.values())
        return named_files((str(path.relative_to(str(self.root))), path) for path in paths)

    @property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]
        """ "tumour", or the sorted classes of the annotations."""
        return (MERGED,) if self.merge else self._labels

    def samples(self) -> Iterator[Sample]:
        """Read every sample, see `Source.samples`."""
        readable = [(series, uids) for series in map(open_series, self._folders) if (uids := self._uids(series))]
        self._check_uids([uid for _, uids in readable for uid in uids])
        patients = list(dict.fromkeys(series.patient for series, _ in readable))
        folds = self._folds(len(patients))
        count: Counter[str] = Counter()
        for series, uids in readable:
            number = patients.index(series.patient)
            count[series.patient] += 1
            name = f"patient-{number + 1:04}-series-{count[series.patient]}"
            yield from self._of_series(series, uids, name, f"patient-{number + 1:04}", folds[number])

    def _of_series(self, series: DicomSeries, uids: list[str], name: str, group: str, fold: str) -> Iterator[Sample]:
        slices = series_slices(series, self.values_in_hu)  # boxes count the pixels of the files
        hu_DHW = slices.values_DHW
        height, width = hu_DHW.shape[1:]
        for number in self._chosen(uids):
            path = self._annotations.get(uids[number])
            objects = [] if path is None else read_voc(path, width, height)
            slice_CHW, factor = fitted(windowed(hu_DHW[number], self.windows), self.size)
            boxes = [
                [0, box.y0 * factor, box.x0 * factor, 1, box.y1 * factor, box.x1 * factor, self._class(box.label)]
                for box in objects
            ]
            between_mm, row_mm, column_mm = slices.spacing_mm
            yield Sample(
                name=f"{name}-slice-{number + 1:03}",
                volume_CDHW=slice_CHW[:, None],
                label=0,
                group=group,
                spacing_mm=(between_mm, row_mm / factor, column_mm / factor),
                fold=fold,
                boxes_M7=np.array(boxes, dtype=np.float32).reshape(-1, 7),
            )

    def _chosen(self, uids: Sequence[str]) -> list[int]:
        """Return the positions of annotated slices and of the drawn negatives, in order."""
        annotated = [number for number, uid in enumerate(uids) if uid in self._annotations]
        others = [number for number, uid in enumerate(uids) if uid not in self._annotations]
        if self.negatives is not None:
            wanted = min(len(others), round(self.negatives * len(annotated)))
            others = np.random.default_rng(self.seed).choice(others, wanted, replace=False).tolist() if wanted else []
        return sorted(annotated + others)

    def _class(self, label: str) -> int:
        return 0 if self.merge else self.classes.index(label)

    def _folds(self, patients: int) -> list[str]:
        """Draw the fold of each patient."""
        if patients < 3:
            return [""] * patients
        order = np.random.default_rng(self.seed).permutation(patients)
        valid = min(max(1, round(self.parts[1] * patients)), patients - 2)
        test = min(max(1, round(self.parts[2] * patients)), patients - 1 - valid)
        fold = np.full(patients, OFFICIAL[0], dtype=object)
        fold[order[:valid]], fold[order[valid : valid + test]] = OFFICIAL[1], OFFICIAL[2]
        return fold.tolist()

    def _uids(self, series: DicomSeries) -> list[str]:
        """Return the SOPInstanceUID of each slice; none for a series that is skipped."""
        modalities = sorted({slice_.modality for slice_ in series.slices})
        if modalities != ["CT"]:
            if self.unknown == "skip":
                return []
            raise NASError(
                f"modality {', '.join(modalities)} in {series.folder}",
                "CT, whose values are HU",
                "leave the folder out, or data.unknown=skip",
            )
        if not series.patient:
            raise NASError(f"no PatientID in {series.folder}", "a patient to split by", "give each patient a PatientID")
        return [slice_.uid for slice_ in series.slices]

    def _check_uids(self, uids: Sequence[str]) -> None:
        if not uids:
            raise NASError(f"no CT series below {self.root}", "at least one series", "set data.root to their folder")
        uid, times = Counter(uids).most_common(1)[0]
        if times > 1:
            raise NASError(f"{times} files of slice {uid}", "each slice once", "remove the copies")
        unknown = sorted(self._annotations.keys() - set(uids))
        if unknown and self.unknown == "refuse":
            raise NASError(
                f"{len(unknown)} annotations of slices that are not there, among them {self._annotations[unknown[0]]}",
                "a slice with the SOPInstanceUID that each file is named after",
                "add the series, or data.unknown=skip",
            )

    @cached_property
    def _folders(self) -> list[Path]:
        expected = "a folder with DICOM series and PASCAL VOC files below it"
        root = existing_folder(self.root, expected, "/path/to/Lung-PET-CT-Dx")
        folders = sorted(set(find_series(root).values()))
        if not folders:
            raise NASError(f"no DICOM series below {self.root}", "folders with one CT series each", "set data.root")
        return folders

    @cached_property
    def _annotations(self) -> dict[str, Path]:
        """SOPInstanceUID -> file."""
        assert self._folders  # raises NASError if the root is missing
        by_uid: dict[str, Path] = {}
        for path in sorted(Path(str(self.root)).rglob("*.xml")):
            if path.stem in by_uid:
                raise NASError(f"{path} and {by_uid[path.stem]}", "one annotation per slice", "remove one of them")
            by_uid[path.stem] = path
        if not by_uid:
            raise NASError(f"no XML file below {self.root}", "annotations beside the series", "set data.root")
        return by_uid

    @cached_property
    def _labels(self) -> tuple[str, ...]:
        return tuple(sorted({label for path in self._annotations.values() for label in labels_of(path)}))
