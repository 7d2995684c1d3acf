"""The lung screening from end to end: trained on a LUNA16 folder, then a CT is screened with three networks."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from experiments.cli import run_parser, with_options
from experiments.lung_screening import phantoms
from experiments.lung_screening.command import parser
from experiments.lung_screening.malignancy import require_malignancy
from experiments.lung_screening.networks import StageNetworks
from experiments.lung_screening.phantoms import Nodule, chest, with_nodules, write_luna16
from experiments.lung_screening.scan import Scan
from experiments.train.job import run_train_experiment
from nas.artifact import Artifact
from nas.cost.profile import profile
from nas.data.io.images import read_image, to_array
from nas.data.sources.lidc_shapes import LidcShapes
from nas.data.sources.luna16 import Luna16
from nas.data.transforms.preparation import stored_crop
from nas.errors import NASError
from nas.metrics.surface import dice
from nas.task_spec import TaskSpec
from search_spaces.naslung import NASLungSpace
from search_spaces.nodule_patch import NodulePatchSpace
from search_spaces.unet import UNetSpace
from tests.conftest import MakeOnce
from tests.test_conformance import composed

pytestmark = pytest.mark.slow  # networks for lungs, candidates and malignancy are trained first

SIZE, SPACING_MM = (20, 96, 96), (12.0, 3.7, 3.7)
QUICK = ("split.given=false", "split.folds=3", "device=cpu", "resamples=20", "training.precision=fp32", "seed=0")
COARSE = "stride_mm=8"
PLAIN = (
    "baselines.volume=false",
    "baselines.features=false",
    "baselines.intensity=false",
    "baselines.plain_unet=null",
    "baselines.published=null",
)


@dataclass
class Trainings:
    folder: Path
    arch: Path  # of the third stage
    scan: Scan
    lungs_DHW: np.ndarray
    nodules: list[Nodule]
    ct: Path

    def __getitem__(self, stage: str) -> str:
        return str(self.folder / stage)


@pytest.fixture(scope="module")
def trained(made_once: MakeOnce) -> Trainings:
    """Three trainings by the body of run_train.py on synthetic chests, and a chest that none of them has seen."""
    folder = made_once("screening", train_all)
    rng = np.random.default_rng(99)
    drawn, lungs_DHW = chest(rng, SIZE, SPACING_MM)
    scan, nodules = with_nodules(drawn, lungs_DHW, rng, 3, (18.0, 24.0))
    return Trainings(folder, folder / "malignancy.json", scan, lungs_DHW, nodules, folder / "unseen.nii.gz")


def train_all(folder: Path) -> Path:
    luna, scans = folder / "luna16", []
    for number in range(6):
        rng = np.random.default_rng(number)
        drawn, lungs_DHW = chest(rng, SIZE, SPACING_MM)
        scans.append((f"phantom.{number}", *with_nodules(drawn, lungs_DHW, rng, 4, (16.0, 24.0))))
    write_luna16(luna, scans)
    lines = (luna / "annotations.csv").read_text().splitlines()
    labelled = [f"{lines[0]},malignancy", *(f"{line},{number % 2}" for number, line in enumerate(lines[1:]))]
    (luna / "labels.csv").write_text("\n".join(labelled) + "\n")

    unet = UNetSpace((3,), (4,), (1,), (3,), ("batch",), ("resize",), spatial_dims=2)
    patch = NodulePatchSpace((2,), (8,), (16,), (3,), (30,), ("batch",), dropout=0.1)
    small = NASLungSpace(widths=(4, 8), max_depth=4)
    networks = {
        "lungs": Artifact(unet, unet.architecture((0,) * 6), TaskSpec("segmentation", 2)),
        "patches": Artifact(patch, patch.architecture((0,) * 6), TaskSpec(dims=2)),
        "malignancy": Artifact(small, small.sample(np.random.default_rng(0)), TaskSpec()),
    }
    settings = {
        "lungs": "data=luna16_lungs task=segmentation data.size=64 data.per_scan=10",
        "patches": "data=luna16_patches data.size=32 data.spacing_mm=1.5 data.per_scan=90",
        "malignancy": "data=luna16 data.annotations=labels.csv data.size=16",
    }
    training = {
        "lungs": "training.epochs=20 training.lr=0.02 training.batch_size=4",
        "patches": "training.epochs=10 training.lr=0.01 training.batch_size=16",
        "malignancy": "training.epochs=1 training.batch_size=16",
    }
    for name, words in settings.items():
        networks[name].save(folder / f"{name}.json")
        where = [f"data.root={luna}", f"data_cache={folder / 'stores'}", f"arch={folder / name}.json"]
        more = [*where, *training[name].split(), "training.augment=null"]
        cfg = composed(*words.split(), *more, *QUICK, *PLAIN, config="train")
        run_train_experiment(cfg, folder / name)
    rng = np.random.default_rng(99)
    drawn, lungs_DHW = chest(rng, SIZE, SPACING_MM)
    scan, _ = with_nodules(drawn, lungs_DHW, rng, 3, (18.0, 24.0))
    sitk.WriteImage(sitk.DICOMOrient(scan.image, "RAI"), folder / "unseen.nii.gz")
    return folder


def run(words: list[str]) -> None:
    """`voxnas screen` with the settings key=value of earlier versions, without the handling of errors."""
    options = parser().parse_args(with_options(words))
    options.run(options)


def test_a_ct_screened_with_three_networks(trained: Trainings, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    third = [f"stage3={trained.arch}", f"stage3_training={trained['malignancy']}"]
    run(
        [
            str(trained.ct),
            f"stage1={trained['lungs']}",
            f"stage2={trained['patches']}",
            *third,
            COARSE,
            f"out={tmp_path}",
        ]
    )
    folder = tmp_path / "unseen"
    assert {path.name for path in folder.iterdir()} == {"screening.json", "mask.nii.gz", "overlays", "report.html"}
    content = json.loads((folder / "screening.json").read_text())

    mask = read_image(folder / "mask.nii.gz")
    ct = read_image(trained.ct)
    assert mask.GetSize() == ct.GetSize()
    assert mask.GetDirection() == pytest.approx(ct.GetDirection())
    assert mask.GetOrigin() == pytest.approx(ct.GetOrigin())
    labels_DHW = sitk.GetArrayFromImage(sitk.DICOMOrient(mask, "LPS"))
    assert set(np.unique(labels_DHW)) <= {0, 1, 2}
    assert dice((labels_DHW > 0)[None], trained.lungs_DHW[None], 2)[0, 0] >= 0.97
    assert content["lungs_ml"] == pytest.approx(trained.lungs_DHW.sum() * np.prod(SPACING_MM) / 1000, rel=0.05)

    points = np.array([[one["x_mm"], one["y_mm"], one["z_mm"]] for one in content["candidates"]])
    hits = [np.linalg.norm(points - one.centre_mm, axis=1).min() < one.diameter_mm / 2 for one in trained.nodules]
    assert sum(hits) >= 2
    for one in content["candidates"]:
        assert one["probability"] == one["score"] >= 0.5
        assert 0 <= one["malignancy"] <= 1
    assert content["patches"] > 0
    network = StageNetworks.load(trained["patches"], most=1)
    assert content["patch_macs"] == content["patches"] * profile(network.models[0], (1, 1, 32, 32)).macs
    assert set(content["seconds"]) == {"lungs", "nodules", "malignancy", "pictures", "total"}
    assert content["peak_memory_mb"] > 0
    assert content["stages"]["malignancy"]["networks"] == 2
    assert len(list((folder / "overlays").glob("*.png"))) == (labels_DHW > 0).any(axis=(1, 2)).sum()
    page = (folder / "report.html").read_text()
    assert "probability of malignancy" in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "peak memory" in capsys.readouterr().out


def test_malignancy_is_of_crops_on_the_grid_of_its_training(trained: Trainings) -> None:
    network = StageNetworks.load(trained["malignancy"])
    crop = stored_crop(trained.scan.image, trained.nodules[0].centre_mm, network.preparation(), "scan")
    source = Luna16(trained["luna16"], ".", annotations="labels.csv", size=16)
    np.testing.assert_array_equal(crop, source.cut(trained.scan.image, trained.nodules[0].centre_mm, "scan"))
    assert crop.shape == (1, 16, 16, 16)
    assert crop[0, 7:9, 7:9, 7:9].mean() > -350  # the nodule is in the middle, in lung of -860 HU
    assert StageNetworks.load(trained["malignancy"], most=1).models[0].state_dict().keys()


def test_a_network_trained_on_outlines_is_refused_before_anything_is_computed(trained: Trainings) -> None:
    source = LidcShapes(str(trained.folder))
    network = StageNetworks.load(trained["malignancy"], most=1)
    trained_on = {**network.bundles[0].spec.facts["trained"], "data": {"name": source.name}}
    facts = {**network.bundles[0].spec.facts, "trained": trained_on}
    spec = replace(network.bundles[0].spec, preparation=source.preparation(), facts=facts)
    outlines = replace(network, bundles=[replace(network.bundles[0], spec=spec)])
    with pytest.raises(NASError, match="stage3 trained on lidc_shapes, whose samples are not cut out of CTs"):
        require_malignancy(outlines)
    with pytest.raises(NASError, match="lidc_shapes, whose samples are not cut out of scans"):
        source.cut(trained.scan.image, trained.nodules[0].centre_mm, "scan")


def test_weights_that_are_broken_or_a_class_that_is_not_trusted(trained: Trainings, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(trained["patches"], folder)
    weights = next(folder.glob("bundles/*/*/weights.pt"))
    whole = weights.read_bytes()
    weights.write_bytes(whole[:200])
    with pytest.raises(NASError, match="which is damaged"):
        StageNetworks.load(folder)
    weights.write_bytes(whole)
    spec = weights.with_name("model.json")
    spec.write_text(spec.read_text().replace("nas.tasks.classification.Classification", "os.getcwd"))
    with pytest.raises(NASError, match=r"the class 'os\.getcwd'"):
        StageNetworks.load(folder)
    with pytest.raises(NASError, match=r"'os\.getcwd'; expected a subclass of nas\.tasks"):
        run([str(trained.ct), f"stage2={weights.parent}", f"out={tmp_path}", "--allow-package", "os"])


def test_the_same_command_without_a_network_and_again(trained: Trainings, tmp_path: Path) -> None:
    ct = shutil.copy(trained.ct, tmp_path / "unseen.1.NII.GZ")
    words = [str(ct), "--no-network", f"out={tmp_path / 'out'}", "least=0.1"]
    run(words)
    first = json.loads((tmp_path / "out/unseen.1/screening.json").read_text())
    run(words)
    again = json.loads((tmp_path / "out/unseen.1/screening.json").read_text())
    assert first["candidates"] == again["candidates"]
    assert first["candidates"]
    assert all(one["probability"] is None and one["malignancy"] is None for one in first["candidates"])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["unseen.1"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no network"),
        (["--no-network", "stage2=x"], "--no-network with --stage2"),
        (["stage2=nowhere"], "nowhere, which holds no finished training"),
        (["stage2={lungs}"], "stage2 trained on luna16_lungs"),
        (["stage1={patches}"], "stage1 trained on luna16_patches"),
        (["stage2={patches}", "stage3={arch}"], "without its weights"),
        (["stage2={patches}", "stage3={arch}", "stage3_training={patches}"], "no network"),
        (["stage2={patches}", "stage3={lungs}"], "stage3 trained for segmentation"),
        (["--no-network", "least=2"], "--least '2'"),
        (["--no-network", "--most 'many'"], "--most 'many'"),
        (["--no-network", "colour=red"], "the unknown argument --colour=red"),
        (["--no-network", "{ct}"], "CTs of different names"),
    ],
    ids=str,
)
def test_mistakes_are_one_line(
    trained: Trainings, words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    names = {"lungs": trained["lungs"], "patches": trained["patches"], "arch": trained.arch, "ct": trained.ct}
    filled = [word.format(**names) for word in words]
    assert run_parser(parser(), with_options([str(trained.ct), f"out={tmp_path / 'out'}", *filled])) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("error: got ")
    assert message in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["no lungs", "no HU", "cut short", "missing"])
def test_a_ct_that_cannot_be_screened_leaves_nothing(trained: Trainings, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "ct.nrrd"
    image = trained.scan.image
    if kind == "no lungs":
        hu = to_array(image)[0].clip(-200)
        hu[0, :4] = -1000
        image = trained.scan.with_hu(hu, "abdomen").image
    elif kind == "no HU":
        image = image + 1024
    if kind != "missing":
        sitk.WriteImage(image, path)
    if kind == "cut short":
        path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(NASError):
        run([str(path), "--no-network", f"out={tmp_path / 'out'}"])
    assert not (tmp_path / "out").exists()


def test_phantoms_are_written_as_luna16_has_them(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run_parser(phantoms.parser(), with_options([f"out={tmp_path}", "scans=2", "nodules=3"])) == 0
    assert sorted(path.name for path in tmp_path.glob("subset*/*.mhd")) == ["phantom.0.mhd", "phantom.1.mhd"]
    assert len((tmp_path / "annotations.csv").read_text().splitlines()) == 7
    assert "2 scans with 3 nodules each" in capsys.readouterr().out
    assert run_parser(phantoms.parser(), ["--scans", "2"]) == 2
    assert "no --out" in capsys.readouterr().err
