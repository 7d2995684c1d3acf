"""Read shuffled batches from the HDF5 store, compared with separate .npy and .nii.gz files.

    python -m benchmarks.bench_data [--size 32] [--samples 600] [--batch 32] [--epochs 5]

Two contents are measured: outlines of LIDC-IDRI (uint8, mostly empty, with high compression), and the same outlines as
CT-like values with noise (int16, with low compression). Files are read by one process without threads from a warm disk
cache, so that the result depends on the format only. One warm-up pass is not counted.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import nibabel as nib
import numpy as np

from benchmarks.common import write_results
from experiments.argument_types import count_type, number_type
from experiments.cli import run_command
from nas.data.loading import plan_batches
from nas.data.sample import Sample
from nas.data.sources.lidc_shapes import LidcShapes
from nas.data.store_writer import write_store

Reader = Callable[[np.ndarray], np.ndarray]


def contents(size: int, samples: int, folder: Path, seed: int) -> dict[str, list[Sample]]:
    """Return the two contents by name."""
    outlines = list(islice(LidcShapes(str(folder), size=size, spacing_mm=32 / size).samples(), samples))
    rng = np.random.default_rng(seed)
    grey = []
    for sample in outlines:
        hu = -850 + 880 * (sample.volume_CDHW / 255) + rng.normal(0, 30, sample.volume_CDHW.shape)
        grey.append(replace(sample, volume_CDHW=np.rint(hu).astype(np.int16)))
    return {"outlines uint8": outlines, "CT-like int16": grey}


def as_store(samples: list[Sample], folder: Path) -> Reader:
    classes = LidcShapes.classes
    return write_store(folder / "store.h5", samples, name="bench", classes=classes, provenance={}).read


def as_npy(samples: list[Sample], folder: Path) -> Reader:
    paths = [folder / f"{row}.npy" for row in range(len(samples))]
    for path, sample in zip(paths, samples, strict=True):
        np.save(path, sample.volume_CDHW)
    return lambda rows: np.stack([np.load(paths[row]) for row in rows])


def as_nifti(samples: list[Sample], folder: Path) -> Reader:
    paths = [folder / f"{row}.nii.gz" for row in range(len(samples))]
    for path, sample in zip(paths, samples, strict=True):
        nib.save(nib.Nifti1Image(sample.volume_CDHW[0], np.eye(4)), path)
    return lambda rows: np.stack(
        [np.asanyarray(nib.Nifti1Image.from_filename(paths[row]).dataobj)[None] for row in rows]
    )


FORMATS = {"store (.h5)": as_store, ".npy files": as_npy, ".nii.gz files": as_nifti}


def passes(read: Reader, samples: list[Sample], batch: int, epochs: int, seed: int) -> list[float]:
    """Measure samples per second of every pass, and check that the volumes are those written."""
    rng, speeds = np.random.default_rng(seed), []
    for epoch in range(epochs + 1):
        order = rng.permutation(len(samples))
        batches = [order[rows] for rows in plan_batches(len(samples), batch)]
        start = time.perf_counter()
        volumes = [read(rows) for rows in batches]
        seconds = time.perf_counter() - start
        if epoch == 0:
            for rows, volumes_BCDHW in zip(batches, volumes, strict=True):
                np.testing.assert_array_equal(volumes_BCDHW, [samples[row].volume_CDHW for row in rows])
        else:
            speeds.append(len(samples) / seconds)
    return speeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=count_type, default=32, help="voxels along an axis; the cube stays 32 mm")
    parser.add_argument("--samples", type=count_type, default=600)
    parser.add_argument("--batch", type=count_type, default=32)
    parser.add_argument("--epochs", type=count_type, default=5)
    parser.add_argument("--seed", type=number_type(int, 0), default=0)
    parser.add_argument("--out", type=Path, default=None, help="folder of the JSON (default: benchmarks/results)")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for content, samples in contents(options.size, options.samples, Path(name), options.seed).items():
            for number, (form, write) in enumerate(FORMATS.items()):
                folder = Path(name) / content / str(number)
                folder.mkdir(parents=True)
                speeds = passes(write(samples, folder), samples, options.batch, options.epochs, options.seed)
                files = [path.stat().st_size for path in folder.iterdir()]
                rows.append(
                    {
                        "content": content,
                        "format": form,
                        "size": options.size,
                        "samples": len(samples),
                        "batch": options.batch,
                        "files": len(files),
                        "mb": sum(files) / 1e6,
                        "samples_per_s": float(np.median(speeds)),
                        "slowest": min(speeds),
                        "fastest": max(speeds),
                    }
                )
    write_results("bench_data", rows, options.out, options.seed)


if __name__ == "__main__":
    sys.exit(run_command(main))
