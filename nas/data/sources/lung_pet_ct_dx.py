"""Slices of chest CT with boxes around tumours: DICOM series and PASCAL VOC files, as TCIA's Lung-PET-CT-Dx gives them.

Source: Li et al. 2020, doi 10.7937/TCIA.2020.NNC2-0461, CC BY 4.0. An annotation's file name is the SOPInstanceUID of
its slice; its classes are letters: A adenocarcinoma, B small cell, E large cell, G squamous cell carcinoma.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le, Len

from nas.data.io.csv_table import stamp
from nas.data.io.dicom import DicomSeries, find_series, open_series
from nas.data.io.images import medical, to_array
from nas.data.io.voc_boxes import labels_of, read_voc
from nas.data.sample import Sample
from nas.data.source import Source
from nas.data.splits import OFFICIAL
from nas.data.transforms.ct_slices import WINDOWS_HU, check_windows, fitted, windowed
from nas.errors import NASError
from nas.utils.checked import NonNegativeFloat, OneOf, PathName, PositiveFloat, Rule, Seed, SomeOf, checked

MERGED = "tumour"


SUM_OF_ONE = Rule(lambda shares: abs(sum(shares) - 1) < 1e-6, "three shares above 0 whose sum is 1")


@checked("data")
class LungPetCtDx(Source):
    """Annotated slices and some without annotation, as windows of HU (nas/data/transforms/ct_slices.py), `size` pixels
    a side.

    root: folder with CT series and XML files, in any folders below it. windows: lung, mediastinum, a channel each.
    negatives: slices without a box per slice with one, drawn in each series by `seed`; null: all there are. merge: one
    class "tumour" instead of every class of the files. unknown: what happens with the annotation of a slice that is not
    there, and with a series that is no CT: "refuse" or "skip" (the data set has PET too).
    parts: shares of patients for training, validation and test, drawn by `seed` and at least one each, as the given
    split; with fewer than three patients there is none.
    Nothing that is stored tells the patient: names, identifiers, dates and paths are replaced by numbers, in the order
    of the folders. Boxes take xmin and ymin as first, xmax and ymax as last edge.
    Raises NASError for a folder with two series, uneven or doubled slices, another modality than CT, and whatever
    `read_voc` refuses.
    """

    name = "lung_pet_ct_dx"
    scale = 1 / 255

    def __init__(
        self,
        root: PathName | None,
        cache_dir: PathName,
        windows: Annotated[Sequence[str], SomeOf(*WINDOWS_HU)] = ("lung",),
        size: Annotated[int, Ge(16), Le(4096)] = 512,
        negatives: NonNegativeFloat | None = 1.0,
        merge: bool = False,
        unknown: Annotated[str, OneOf("refuse", "skip")] = "refuse",
        parts: Annotated[Sequence[PositiveFloat], Len(3, 3), SUM_OF_ONE] = (0.7, 0.15, 0.15),
        seed: Seed = 0,
    ) -> None:
        self.root, self.cache_dir, self.windows, self.size = root, cache_dir, check_windows(windows), size
        self.negatives, self.merge, self.unknown, self.seed = negatives, merge, unknown, seed
        self.parts = tuple(parts)

    def provenance(self) -> Mapping[str, Any]:
        arguments = {name: value for name, value in self.arguments().items() if name != "root"}  # a path may tell names
        return {
            "source": "data in the form of Lung-PET-CT-Dx (Li et al. 2020, doi 10.7937/TCIA.2020.NNC2-0461, CC BY 4.0)",
            "arguments": arguments,
        }

    def content_key(self) -> str:
        return stamp("", [*self._folders, *self._annotations.values()])

    @property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]
        return (MERGED,) if self.merge else self._labels

    def samples(self) -> Iterator[Sample]:
        series = [(one, uids) for one in map(open_series, self._folders) if (uids := self._uids(one))]
        self._check_uids([uid for _, uids in series for uid in uids])
        patients = list(dict.fromkeys(one.patient for one, _ in series))
        folds = self._folds(len(patients))
        count: Counter[str] = Counter()
        for one, uids in series:
            number = patients.index(one.patient)
            count[one.patient] += 1
            name = f"patient-{number + 1:04}-series-{count[one.patient]}"
            yield from self._of_series(one, uids, name, f"patient-{number + 1:04}", folds[number])

    def _of_series(self, series: DicomSeries, uids: list[str], name: str, group: str, fold: str) -> Iterator[Sample]:
        image = series.read()
        hu_DHW = to_array(image)[0]
        height, width = hu_DHW.shape[1:]
        for number in self._chosen(uids):
            path = self._annotations.get(uids[number])
            objects = [] if path is None else read_voc(path, width, height)
            slice_CHW, factor = fitted(windowed(hu_DHW[number], self.windows), self.size)
            boxes = [
                [0, one.y0 * factor, one.x0 * factor, 1, one.y1 * factor, one.x1 * factor, self._class(one.label)]
                for one in objects
            ]
            column_mm, row_mm, between_mm = image.GetSpacing()
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
        """Positions of the annotated slices and of the drawn others, in order."""
        annotated = [number for number, uid in enumerate(uids) if uid in self._annotations]
        others = [number for number, uid in enumerate(uids) if uid not in self._annotations]
        if self.negatives is not None:
            wanted = min(len(others), round(self.negatives * len(annotated)))
            others = np.random.default_rng(self.seed).choice(others, wanted, replace=False).tolist() if wanted else []
        return sorted(annotated + others)

    def _class(self, label: str) -> int:
        return 0 if self.merge else self.classes.index(label)

    def _folds(self, patients: int) -> list[str]:
        """The part of each patient."""
        if patients < 3:
            return [""] * patients
        order = np.random.default_rng(self.seed).permutation(patients)
        valid = min(max(1, round(self.parts[1] * patients)), patients - 2)
        test = min(max(1, round(self.parts[2] * patients)), patients - 1 - valid)
        part = np.full(patients, OFFICIAL[0], dtype=object)
        part[order[:valid]], part[order[valid : valid + test]] = OFFICIAL[1], OFFICIAL[2]
        return part.tolist()

    def _uids(self, series: DicomSeries) -> list[str]:
        """SOPInstanceUID of each slice; none of a series that is passed over."""
        pydicom = medical("pydicom")
        tags = ["SOPInstanceUID", "Modality"]
        headers = [pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags) for path in series.files]
        modalities = sorted({str(header.get("Modality", "none")) for header in headers})
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
        return [str(header.SOPInstanceUID) for header in headers]

    def _check_uids(self, uids: Sequence[str]) -> None:
        if not uids:
            raise NASError(f"no CT series below {self.root}", "at least one", "mend data.root")
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
        if self.root is None or not Path(self.root).is_dir():
            raise NASError(
                f"no folder {self.root}" if self.root else "no folder of CT series with annotations",
                "a folder with DICOM series and PASCAL VOC files below it",
                "data.root=/path/to/Lung-PET-CT-Dx",
            )
        folders = sorted(set(find_series(self.root).values()))
        if not folders:
            raise NASError(f"no DICOM series below {self.root}", "folders with one CT series each", "mend data.root")
        return folders

    @cached_property
    def _annotations(self) -> dict[str, Path]:
        """SOPInstanceUID -> file."""
        assert self._folders  # a missing root is told first
        found: dict[str, Path] = {}
        for path in sorted(Path(str(self.root)).rglob("*.xml")):
            if path.stem in found:
                raise NASError(f"{path} and {found[path.stem]}", "one annotation a slice", "remove one of them")
            found[path.stem] = path
        if not found:
            raise NASError(f"no XML file below {self.root}", "annotations beside the series", "mend data.root")
        return found

    @cached_property
    def _labels(self) -> tuple[str, ...]:
        return tuple(sorted({label for path in self._annotations.values() for label in labels_of(path)}))
