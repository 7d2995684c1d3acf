"""`voxnas screen CT...`: lungs, nodule candidates and malignancy of CTs.

A CT is a DICOM folder or a NIfTI, NRRD or MetaImage file; results are written into OUT/<its name>/. A stage without a
network is done by the classical method.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.argument_types import count_type, number_type
from experiments.cli import Parser
from nas.errors import NASError

if TYPE_CHECKING:
    from experiments.lung_screening.networks import StageNetworks
    from experiments.lung_screening.screening import Screening, Stages

EXAMPLES = (
    "voxnas screen /path/to/ct --no-network",
    "voxnas screen /path/to/ct --stage1 outputs/train/lungs --stage2 outputs/train/patches",
)


def parser() -> Parser:
    """Return the parser of `voxnas screen`.

    Returns:
        The parser.
    """
    screen = Parser(
        "voxnas screen", "Screen CTs: lungs, nodule candidates, malignancy. Not a medical device.", EXAMPLES
    )
    add = screen.add_argument
    add("ct", metavar="CT", nargs="+", help="a DICOM folder, or a NIfTI, NRRD or MetaImage file")
    add("--stage1", metavar="FOLDER", help="training on data=luna16_lungs (default: classical method)")
    add("--stage2", metavar="FOLDER", help="training on data=luna16_patches (default: classical method)")
    add("--stage3", metavar="PATH", help="training for malignancy, or its arch.json (default: no malignancy)")
    add("--stage3-training", metavar="FOLDER", help="training of the arch.json of --stage3")
    add("--no-network", action="store_true", help="use the classical methods only")
    add("--out", type=Path, default=Path("outputs/screening"), help="folder of the results (default: %(default)s)")
    add("--least", type=number_type(float, 0, 1), help="lowest score of a reported candidate (default: 0.5)")
    add("--most", type=count_type, help="largest number of reported candidates (default: 20)")
    add("--radius-mm", type=number_type(float, 0.05, 1000), help="radius of the non-maximum suppression")
    add("--stride-mm", type=number_type(float, 0.05, 1000), help="distance between patches")
    add("--batch", type=count_type, help="patches at once")
    screen.add_argument("--values-in-hu", action="store_true", help="CT without rescale tags holds HU already")
    screen.add_allow_package()
    add("--device", default="auto", help="auto, cpu, cuda, ... (default: auto)")
    screen.set_defaults(run=run)
    return screen


def run(options: argparse.Namespace) -> None:
    """Screen every CT and write what was found.

    Args:
        options: Parsed arguments.

    Raises:
        NASError: If two CTs have one name.
    """
    from experiments.lung_screening.output import write
    from experiments.lung_screening.scan import Scan
    from experiments.lung_screening.screening import Settings, screen
    from nas.data.io.files import split_name
    from nas.utils.files import exclusive

    names = [split_name(path)[0] for path in options.ct]
    if len(set(names)) < len(names):
        raise NASError(f"{len(names)} CTs named {', '.join(names)}", "CTs of different names", "screen them one by one")
    for path in options.ct:
        if not Path(path).exists():
            raise NASError(f"no file or folder {path}", "a CT that exists", "check the path")
    given = ("least", "most", "radius_mm", "stride_mm", "batch")
    settings = Settings(**{name: getattr(options, name) for name in given if getattr(options, name) is not None})
    stages = _stages(options)
    with exclusive(options.out):
        for path, name in zip(options.ct, names, strict=True):
            found = screen(Scan.read(path, options.values_in_hu), stages, settings)
            folder = options.out / name
            _print(name, write(found, folder, path), found, folder)


def _stages(options: argparse.Namespace) -> Stages:
    from experiments.devices import pick_device
    from experiments.lung_screening.networks import StageNetworks
    from experiments.lung_screening.screening import Stages

    given = [name for name in ("stage1", "stage2", "stage3") if getattr(options, name)]
    if options.no_network and given:
        raise NASError(f"--no-network with --{given[0]}", "one of the two", "leave out --no-network")
    if not options.no_network and not {"stage1", "stage2"} & set(given):
        raise NASError(
            "no network", "--stage1 or --stage2, folders of run_train.py", "add one of them, or --no-network"
        )
    device = str(pick_device(options.device))
    lungs, nodules = (
        StageNetworks.load(training, device=device, most=1, allow=options.allow_package) if training else None
        for training in (options.stage1, options.stage2)
    )
    malignancy = _malignancy(options, device) if options.stage3 else None
    return Stages(lungs, nodules, malignancy)


def _malignancy(options: argparse.Namespace, device: str) -> StageNetworks:
    from experiments.lung_screening.malignancy import require_malignancy
    from experiments.lung_screening.networks import StageNetworks
    from nas.artifact import load as load_artifact
    from nas.inference.model_spec import MODEL_JSON

    path, allow = Path(options.stage3), options.allow_package
    folder = path if path.is_dir() else options.stage3_training
    if not folder and (path.parent / MODEL_JSON).is_file():  # the arch.json of a bundle
        folder = path.parent
    if not folder:
        raise NASError(
            f"--stage3 {path} without its weights",
            "--stage3-training, the folder of run_train.py that trained this architecture",
            f"python run_train.py arch={path} data_root=<the CTs of its search>, then --stage3-training",
        )
    arch = None if path.is_dir() else load_artifact(path, allow).arch.id
    network = StageNetworks.load(folder, arch, device, allow=allow)
    require_malignancy(network)
    return network


def _print(name: str, content: dict[str, Any], found: Screening, folder: Path) -> None:
    print(
        f"{name}: lungs {content['lungs_ml']:.0f} ml, {len(found.candidates)} candidates, "
        f"{content['seconds']['total']:.1f} s, peak memory {content['peak_memory_mb']:.0f} MB"
    )
    for row in content["candidates"]:
        place = f"({row['x_mm']:.1f}, {row['y_mm']:.1f}, {row['z_mm']:.1f}) mm, slice {row['slice']}"
        malignancy = "" if row["malignancy"] is None else f", malignancy {row['malignancy']:.3f}"
        print(f"  {row['number']:>2}  {row['score']:.3f}  {place}{malignancy}")
    print(f"wrote {folder}")
