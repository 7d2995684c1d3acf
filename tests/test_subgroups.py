"""Metrics by subgroup: from a column of the csv through the store to result.json, table, report and model card."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from nas.api.training import retrain
from nas.artifact import Artifact
from nas.data.sample import Sample
from nas.data.sources.manifest import Manifest
from nas.data.splits import Split
from nas.data.store_writer import write_store
from nas.errors import NASError
from nas.inference.model_card import MODEL_CARD, model_card
from nas.inference.model_spec import ModelSpec
from nas.metrics.bootstrap import GroupBootstrap
from nas.retraining.result import TrainResult
from nas.retraining.subgroups import FEW_PATIENTS, split_by, subgroup_rows, subgroup_scores
from nas.retraining.tables import terminal_of
from nas.task_spec import TaskSpec
from nas.tasks.classification import METRICS, Classification
from nas.training.settings import TrainingSettings
from search_spaces.resnet3d import ResNet3DSpace
from tests.data.written_decathlon import write_nifti

HEADER = "path,label,patient,sex,scanner,age"


def write_csv(folder: Path, count: int = 60, changed: str = "") -> Path:
    """Volumes whose brightness shows the class; scanner C has one class only."""
    lines = []
    for number in range(count):
        path = folder / f"{number}.nii.gz"
        label, scanner = number % 2, "ABC"[number % 3]
        label = 0 if scanner == "C" else label
        if not path.is_file():
            write_nifti(path, np.random.default_rng(number).normal(label, 2, (8, 8, 8)).astype(np.float32))
        sex = changed or ("F" if number % 5 < 3 else "M" if number % 10 != 9 else "m")
        lines.append(f"{path.name},{'ab'[label]},p{number},{'' if number == 7 else sex},{scanner},{20 + number}")
    (folder / "my.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    return folder / "my.csv"


def source(folder: Path, **arguments: object) -> Manifest:
    return Manifest(str(folder / "my.csv"), str(folder / "cache"), size=8, window=[-6, 7], **arguments)  # type: ignore[arg-type]


# ---- store


def test_the_values_travel_in_the_store(tmp_path: Path) -> None:
    write_csv(tmp_path, 12)
    store = source(tmp_path, subgroups=["sex", "age"]).prepare()
    assert list(store.subgroups) == ["sex", "age"]
    assert store.subgroups["sex"].tolist() == ["F", "F", "F", "M", "M", "F", "F", "", "M", "M", "F", "F"]  # m is M
    assert store.subgroups["age"][3] == "23"
    assert list(source(tmp_path).prepare().subgroups) == ["sex", "scanner"]  # columns of usual names
    assert source(tmp_path, subgroups=[]).prepare().subgroups == {}


def test_identity_of_a_store(tmp_path: Path) -> None:
    write_csv(tmp_path, 12)
    plain, by_sex, by_scanner = (source(tmp_path, subgroups=names) for names in ([], ["sex"], ["scanner"]))
    paths = {one.store_path() for one in (plain, by_sex, by_scanner)}
    assert len(paths) == 3
    hashes = {one.prepare().sha256 for one in (plain, by_sex, by_scanner)}
    assert len(hashes) == 3
    before = by_sex.store_path()
    write_csv(tmp_path, 12, changed="F")
    again = source(tmp_path, subgroups=["sex"])
    assert again.store_path() != before
    assert again.prepare().sha256 not in hashes


def test_samples_without_subgroups_have_the_hash_of_earlier_versions(tmp_path: Path) -> None:
    def sample(name: str, **more: object) -> Sample:
        return Sample(name, np.full((1, 4, 4, 4), 3, np.uint8), 0, name, **more)  # type: ignore[arg-type]

    def written(file: str, *samples: Sample) -> str:
        return write_store(tmp_path / file, samples, name="n", classes=["a"], provenance={}).sha256

    assert written("plain.h5", sample("p")) == written("again.h5", sample("p", subgroups={}))
    assert written("one.h5", sample("p", subgroups={"sex": "F"})) != written("two.h5", sample("p"))
    with pytest.raises(NASError, match="subgroups"):
        written("three.h5", sample("p", subgroups={"sex": "F"}), sample("q"))


@pytest.mark.parametrize(
    ("names", "message"), [(["sexx"], "no column sexx"), (["label"], "subgroup label"), (["path"], "subgroup path")]
)
def test_wrong_columns_are_refused(tmp_path: Path, names: list[str], message: str) -> None:
    write_csv(tmp_path, 12)
    with pytest.raises(NASError, match=message):
        source(tmp_path, subgroups=names).prepare()


# ---- metrics


def test_metrics_and_differences_by_hand() -> None:
    rng = np.random.default_rng(0)
    label, sex = rng.integers(0, 2, 200), np.array(["F", "M"])[rng.integers(0, 2, 200)]
    score = np.clip(0.5 + (label - 0.5) * np.where(sex == "F", 0.6, 0.1) + rng.normal(0, 0.2, 200), 0, 1)
    patients = np.array([f"p{n // 2}" for n in range(200)])
    scores = Classification().score(np.column_stack([1 - score, score]), label)
    draws = GroupBootstrap(patients, label, 200, 0).rows
    shown = [metric for metric in METRICS if metric.in_tables]
    female, male = subgroup_scores(scores, {"sex": sex}, patients, label, draws, shown)
    own = {name: roc_auc_score(label[sex == name], score[sex == name]) for name in "FM"}
    assert female["metrics"]["auc"] == pytest.approx(own["F"])
    assert female["difference"]["auc"]["value"] == pytest.approx(own["F"] - own["M"])
    assert male["difference"]["auc"]["value"] == pytest.approx(own["M"] - own["F"])
    low, high = female["difference"]["auc"]["ci95"]
    assert 0 < low < own["F"] - own["M"] < high
    apart = [
        roc_auc_score(label[rows][sex[rows] == "F"], score[rows][sex[rows] == "F"])
        - roc_auc_score(label[rows][sex[rows] == "M"], score[rows][sex[rows] == "M"])
        for rows in draws
    ]
    assert (low, high) == pytest.approx(np.percentile(apart, (2.5, 97.5)))
    assert (female["cases"], female["patients"]) == ((sex == "F").sum(), len(set(patients[sex == "F"])))
    assert not female["small"]


def test_small_and_undefined_groups_are_named() -> None:
    label = np.array([0, 1] * 30)
    site = np.array(["big"] * 50 + ["tiny"] * 6 + [""] * 4)
    site[label == 0] = np.where(site[label == 0] == "tiny", "big", site[label == 0])
    prob = np.column_stack([1 - label, label]) * 0.6 + 0.2
    patients = np.arange(60).astype(str)
    draws = GroupBootstrap(patients, label, 50, 0).rows
    scores = Classification().score(prob, label)
    found = subgroup_scores(scores, {"site": site}, patients, label, draws, METRICS[:2])
    big, tiny = found
    assert not big["small"]
    assert tiny["patients"] < FEW_PATIENTS
    assert tiny["small"]
    assert tiny["metrics"] == {}  # one class only
    assert subgroup_rows(found, METRICS[:2])[2][:4] == ["site: tiny (small)", "3", "3", "–"]


def test_columns_of_many_numbers_are_sorted_into_quarters() -> None:
    ages = np.array([str(age) for age in range(20, 60)] + [""])
    parts = split_by({"age": ages, "same": np.array(["x"] * 41), "dose": np.array(["10", "2"] * 20 + ["2"])})
    assert list(parts) == ["age", "dose"]
    assert list(parts["age"]) == ["20 to 29", "30 to 39", "40 to 49", "50 to 59"]
    assert sum(member.sum() for member in parts["age"].values()) == 40
    assert list(parts["dose"]) == ["2", "10"]


# ---- a training


def test_a_training_reports_them(tmp_path: Path) -> None:
    write_csv(tmp_path)
    store = source(tmp_path, subgroups=["sex", "scanner"]).prepare()
    space = ResNet3DSpace(widths=(4,), depths=((1,), (1,)), in_channels=1)
    network = Artifact(space, space.sample(np.random.default_rng(0)), TaskSpec("classification", 3, 1, 2))
    folder = tmp_path / "out"
    training = TrainingSettings(epochs=2, batch_size=8)
    retrain(network, Split(store, folds=3), folder=folder, training=training, resamples=60)
    result = TrainResult.load(folder / "result.json")
    named = [(entry["column"], entry["value"]) for entry in result.subgroups]
    assert named == [("sex", "F"), ("sex", "M"), ("scanner", "A"), ("scanner", "B"), ("scanner", "C")]
    assert result.subgroups[-1]["metrics"] == {}
    assert all(entry["small"] for entry in result.subgroups[2:])
    text = (folder / "table.md").read_text()
    assert "| scanner: C (small) |" in text
    assert "scanner: C (small)" in terminal_of(text)
    page = (folder / "report.html").read_text()
    assert "<h2>Subgroups</h2>" in page
    assert "<h2>Confidence and accuracy</h2>" in page
    calibration = json.loads((folder / "result.json").read_text())["calibration"]
    assert set(calibration["temperatures"]) == {fold["fold"] for fold in result.folds}
    for name in ("before", "after"):
        low, high = calibration[name]["ci95"]
        assert 0 <= low <= high <= 1
    cards = sorted(folder.glob(f"bundles/*/*/{MODEL_CARD}"))
    assert len(cards) == len(result.folds)
    for path in cards:
        card = path.read_text()
        spec = ModelSpec.load(path.with_name("model.json"))
        temperature = spec.inference["temperature"]
        assert temperature == calibration["temperatures"][path.parent.name]
        assert f"temperature: {temperature:.6g}" in card
        for words in ("## Intended use", "## Not tested", "scanner: C (small)", "95 % interval", "calibration error"):
            assert words in card
        assert "No test yet." in model_card(spec)
