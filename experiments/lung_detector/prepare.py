"""Conversion of DICOM series with PASCAL VOC boxes into an HDF5 store, and into YOLO and COCO data sets.

python -m experiments.lung_detector.prepare /path/to/Lung-PET-CT-Dx prepared --windows lung mediastinum --size 256
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from experiments.argument_types import count_type, number_type, seed_type
from experiments.cli import Parser, run_parser
from nas.data.sample import Sample
from nas.data.sources.lung_pet_ct_dx import LungPetCtDx
from nas.data.splits import OFFICIAL
from nas.data.store import VolumeStore
from nas.data.store_writer import write_store
from nas.data.transforms.ct_slices import WINDOWS_HU
from nas.errors import NASError
from nas.utils.files import atomic_folder, write_text

PROGRAM = "python -m experiments.lung_detector.prepare"
STORE = "store.h5"


def prepare(source: LungPetCtDx, out: Path) -> VolumeStore:
    """Write a data set into a new folder, which appears when it is complete.

    The folder holds store.h5 (data=prepared data.path=…); images/<part>/*.png with labels/<part>/*.txt and dataset.yaml
    in YOLO's form; coco_<part>.json. With two windows the first is red and the second green. Images without a box have
    an empty label file. The parts are those of the store's given split, or all "train" if there is none.

    Args:
        source: The annotated series.
        out: Folder that is made.

    Returns:
        The store.

    Raises:
        NASError: If `out` exists, the source refuses its files, or `check_export` finds a fault.
    """
    if out.exists():
        raise NASError(f"{out}, which exists", "a new folder", "another name, or remove it first")
    with atomic_folder(out) as temporary:
        coco = {part: _Coco(source.classes) for part in OFFICIAL}
        write_store(
            temporary / STORE,
            _exported(source.samples(), temporary, coco),
            name=source.name,
            classes=source.classes,
            scale=source.scale,
            provenance={"arguments": {"windows": list(source.windows), "size": source.size}, **source.provenance()},
        )
        for part, content in coco.items():
            if content.images:
                write_text(temporary / f"coco_{part}.json", json.dumps(content.as_json()) + "\n")
        write_text(
            temporary / "dataset.yaml", _yolo_yaml(source.classes, [part for part in OFFICIAL if coco[part].images])
        )
        check_export(temporary)
    return VolumeStore(out / STORE)


def part_of(sample_fold: str) -> str:
    """Return the part of a sample.

    Args:
        sample_fold: Its given fold; empty if there is none.

    Returns:
        The given fold, else "train".
    """
    return sample_fold or OFFICIAL[0]


def _exported(samples: Iterator[Sample], out: Path, coco: dict[str, _Coco]) -> Iterator[Sample]:
    """Yield the samples; each is also written as image and label."""
    for sample in samples:
        part = part_of(sample.fold)
        image, label = out / "images" / part / f"{sample.name}.png", out / "labels" / part / f"{sample.name}.txt"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_pixels(sample.volume_CDHW[:, 0])).save(image)  # pixels only: no text chunk is written
        assert sample.boxes_M7 is not None
        height, width = sample.volume_CDHW.shape[2:]
        edges = sample.boxes_M7[:, [2, 1, 5, 4]].astype(float)  # x0, y0, x1, y1
        classes = sample.boxes_M7[:, 6].astype(int)
        write_text(label, "".join(_yolo_line(*pair, width, height) for pair in zip(edges, classes, strict=True)))
        coco[part].add(image.name, width, height, edges, classes)
        yield sample


def _pixels(image_CHW: np.ndarray) -> np.ndarray:
    if len(image_CHW) == 1:
        return image_CHW[0]
    return np.stack([*image_CHW, np.zeros_like(image_CHW[0])], axis=-1)


def _yolo_line(edges: np.ndarray, number: int, width: int, height: int) -> str:
    """Class, centre and size as fractions of the image (the form of darknet, Redmon et al. 2016)."""
    x0, y0, x1, y1 = edges
    numbers = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
    return " ".join([str(number), *(f"{value:.6f}" for value in numbers)]) + "\n"


def _yolo_yaml(classes: Sequence[str], parts: Sequence[str]) -> str:
    lines = ["path: .", *(f"{part}: images/{part}" for part in parts), "names:"]
    return "\n".join([*lines, *(f"  {number}: {name}" for number, name in enumerate(classes))]) + "\n"


class _Coco:
    """One part in the form of COCO's instances (Lin et al., ECCV 2014, arXiv 1405.0312)."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.categories = [{"id": number, "name": name} for number, name in enumerate(classes)]
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []

    def add(self, name: str, width: int, height: int, edges: np.ndarray, classes: np.ndarray) -> None:
        image = {"id": len(self.images) + 1, "file_name": name, "width": width, "height": height}
        self.images.append(image)
        for (x0, y0, x1, y1), number in zip(edges.tolist(), classes.tolist(), strict=True):
            box = [x0, y0, x1 - x0, y1 - y0]
            facts = {"image_id": image["id"], "category_id": number, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            self.annotations.append({"id": len(self.annotations) + 1, **facts})

    def as_json(self) -> dict[str, Any]:
        return {"images": self.images, "annotations": self.annotations, "categories": self.categories}


def check_export(out: Path) -> None:
    """Read the files of a data set again and check them.

    Args:
        out: Folder of the data set.

    Raises:
        NASError: If a patient is in two parts, an image occurs twice, an image has no label file or a label file no
            image, or the numbers of boxes for COCO and YOLO differ.
    """
    part_of_patient: dict[str, str] = {}
    part_of_pixels: dict[str, Path] = {}
    for folder in sorted((out / "images").iterdir()):
        labels = {path.stem: path for path in (out / "labels" / folder.name).iterdir()}
        images = {path.stem: path for path in sorted(folder.iterdir())}
        if labels.keys() != images.keys():
            lone = sorted(labels.keys() ^ images.keys())
            raise _fault(f"{lone[0]} in {folder.name}, of which image or label is missing", "one label per image")
        for name, path in images.items():
            patient = name.partition("-series-")[0]
            if part_of_patient.setdefault(patient, folder.name) != folder.name:
                raise _fault(f"{patient} in {folder.name} and {part_of_patient[patient]}", "each patient in one part")
            with Image.open(path) as image:
                digest = hashlib.sha256(np.asarray(image).tobytes()).hexdigest()
            if digest in part_of_pixels:
                raise _fault(f"the same image as {part_of_pixels[digest].name} and {path.name}", "each image once")
            part_of_pixels[digest] = path
        lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in labels.values())
        boxes = len(json.loads((out / f"coco_{folder.name}.json").read_text(encoding="utf-8"))["annotations"])
        if lines != boxes:
            raise _fault(f"{lines} boxes for YOLO and {boxes} for COCO in {folder.name}", "the same boxes")


def _fault(got: str, expected: str) -> NASError:
    return NASError(
        got, expected, "check the source for a copied slice or series, or one patient under two identifiers"
    )


def summary(store: VolumeStore) -> str:
    """Describe a data set in one line per part.

    Args:
        store: The store of the data set.

    Returns:
        The text.
    """
    assert store.boxes_NM7 is not None
    lines = []
    for part in OFFICIAL:
        rows = np.flatnonzero([part_of(fold) == part for fold in store.folds])
        if not len(rows):
            continue
        numbers = store.boxes_NM7[rows, :, -1]
        count = Counter(store.classes[int(number)] for number in numbers[numbers >= 0])
        boxes = ", ".join(f"{count[name]} {name}" for name in store.classes)
        empty = int((numbers < 0).all(axis=1).sum())
        patients = len(set(store.groups[rows]))
        lines.append(f"{part}: {len(rows)} images of {patients} patients, {empty} without a box; boxes: {boxes}")
    return "\n".join(lines)


def parser() -> Parser:
    """Return the parser of this command.

    Returns:
        The parser.
    """
    examples = (
        f"{PROGRAM} /path/to/Lung-PET-CT-Dx prepared",
        f"{PROGRAM} data prepared --windows lung mediastinum --size 256",
    )
    prepare_parser = Parser(
        PROGRAM, "Write DICOM series with PASCAL VOC boxes as HDF5, YOLO and COCO data sets.", examples
    )
    add = prepare_parser.add_argument
    add("root", metavar="FOLDER", help="folder with CT series and XML files, in any folders below it")
    add("out", metavar="OUT", type=Path, help="new folder")
    add("--windows", nargs="+", default=["lung"], help=f"{', '.join(WINDOWS_HU)}; one channel for each")
    add("--size", type=count_type, default=512, help="sides of the images in pixels (default: 512)")
    add(
        "--negatives",
        type=number_type(float, 0),
        default=1.0,
        help="slices without a box per slice with one (default: 1)",
    )
    add("--all-slices", action="store_true", help="every slice, however many have no box")
    add("--merge", action="store_true", help="one class instead of all")
    add("--skip-unknown", action="store_true", help="skip annotations of missing slices and of series that are no CT")
    add("--parts", nargs=3, type=number_type(float, 0, 1), default=[0.7, 0.15, 0.15], help="shares of patients")
    add("--seed", type=seed_type, default=0, help="of the split and of the drawn slices (default: 0)")
    add("--values-in-hu", action="store_true", help="CT without rescale tags holds HU already")
    prepare_parser.set_defaults(run=run)
    return prepare_parser


def run(options: argparse.Namespace) -> None:
    """Prepare the data set and print what was written.

    Args:
        options: Parsed arguments.
    """
    source = LungPetCtDx(
        options.root,
        cache_dir=".",
        windows=options.windows,
        size=options.size,
        negatives=None if options.all_slices else options.negatives,
        merge=options.merge,
        unknown="skip" if options.skip_unknown else "refuse",
        parts=options.parts,
        seed=options.seed,
        values_in_hu=options.values_in_hu,
    )
    print(summary(prepare(source, options.out)))
    print(f"wrote {options.out}")


if __name__ == "__main__":
    sys.exit(run_parser(parser(), sys.argv[1:]))
