"""Bundles: saved and loaded, refused in one line when damaged, and the folds of a training that leave them."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nas.artifact import Artifact
from nas.bundle import ARCH, WEIGHTS, Bundle, bundle_folder, bundles_of
from nas.errors import NASError
from nas.export.choice import chosen_bundles
from nas.inference.model_card import MODEL_CARD
from nas.inference.model_spec import MODEL_JSON
from nas.task_spec import TaskSpec
from nas.tasks.classification import Classification
from nas.tasks.detection import Detection
from nas.training.curves import CURVES
from nas.training.tensor_file import load_verified
from nas.utils.hashing import file_digest
from search_spaces.naslung import NASLungSpace
from tests.commands import Command, last_line, refused

SPACE = NASLungSpace(widths=(4, 8), max_depth=4)
CURVE = ({"epoch": 1, "loss": 0.5, "lr": 0.1}, {"epoch": 2, "loss": 0.25, "lr": 0.1, "auc": 0.75})


def bundle(seed: int = 0, auc: float = 0.5, genes: int = 0) -> Bundle:
    torch.manual_seed(seed)
    artifact = Artifact(SPACE, SPACE.sample(np.random.default_rng(genes)), TaskSpec())
    facts = {"score": "auc", "validation": {"auc": auc}, "trained": {"round": f"valid{seed}"}}
    how = {"how": "array", "scale": 0.5, "offset": 1.0}
    return Bundle.of(
        artifact.build(),
        artifact,
        Classification(),
        (1, 16, 16, 16),
        classes=("well", "ill"),
        preparation=how,
        facts=facts,
        curves=CURVE,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "b"
    bundle().save(folder)
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def test_what_is_saved_is_loaded(whole: Path) -> None:
    made, found = bundle(), Bundle.load(whole)
    assert sorted(path.name for path in whole.iterdir()) == sorted([ARCH, CURVES, MODEL_CARD, MODEL_JSON, WEIGHTS])
    assert found.artifact.arch == made.artifact.arch
    assert found.curves == CURVE
    assert found.spec.classes == ("well", "ill")
    assert (found.spec.inputs[0].axes, found.spec.inputs[0].shape) == ("BCDHW", ("batch", 1, 16, 16, 16))
    assert (found.spec.outputs[0].axes, found.spec.outputs[0].shape) == ("BK", ("batch", 2))
    assert found.spec.weights == {WEIGHTS: file_digest(whole / WEIGHTS)}
    assert found.spec.facts["network"]["id"] == made.artifact.arch.id
    x_BCDHW = torch.randn(2, 1, 16, 16, 16)
    expected = made.task.predict(made.network(), x_BCDHW)
    torch.testing.assert_close(found.task.predict(found.network(), x_BCDHW), expected, rtol=0, atol=0)
    assert not found.network().training


def test_the_task_of_a_bundle_predicts_as_that_of_the_training(tmp_path: Path) -> None:
    torch.manual_seed(0)
    artifact = Artifact(SPACE, SPACE.sample(np.random.default_rng(0)), TaskSpec("detection", outputs=1))
    task = Detection(detections=7, overlap=0.1, least=0.2)
    network = torch.nn.Identity()
    made = Bundle.of(network, artifact, task, (1, 16, 16, 16), classes=["nodule"], preparation={"how": "array"})
    made.save(tmp_path)
    found = Bundle.load(tmp_path).task
    assert isinstance(found, Detection)
    assert (found.detections, found.overlap, found.least, found.spec) == (7, 0.1, 0.2, task.spec)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_every_damage_of_the_weights_is_one_line(whole: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray((whole / WEIGHTS).read_bytes())
    folder = tmp_path / "damaged"
    shutil.copytree(whole, folder, dirs_exist_ok=True)
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[at] ^= data.draw(st.integers(1, 255))
    else:
        content = content[:at]
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(NASError, match=r"damaged \(weights.pt does not match its checksum\)"):
        Bundle.load(folder)


def with_checksum(folder: Path) -> None:
    """The checksum of a stranger who has written the specification too."""
    spec = json.loads((folder / MODEL_JSON).read_text())
    spec["weights"][WEIGHTS] = file_digest(folder / WEIGHTS)
    (folder / MODEL_JSON).write_text(json.dumps(spec))


def test_weights_of_a_stranger(copy: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), copy / WEIGHTS)
    with_checksum(copy)
    with pytest.raises(NASError, match="damaged"):
        Bundle.load(copy)
    torch.save({"a": 1}, copy / WEIGHTS)
    with_checksum(copy)
    with pytest.raises(NASError, match="no state of a network"):
        Bundle.load(copy)
    with zipfile.ZipFile(copy / WEIGHTS, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(10_000_000))
    with_checksum(copy)
    with pytest.raises(NASError, match="is compressed"):
        Bundle.load(copy)
    bundle(genes=0).save(copy)
    torch.save({"other": torch.zeros(1)}, copy / WEIGHTS)
    with_checksum(copy)
    with pytest.raises(NASError, match="weights that are not those of"):
        Bundle.load(copy).network()


@pytest.mark.parametrize(
    "state",
    [
        {5: torch.zeros(1)},
        {"stem.0.0.weight": torch.full((1,), float("nan"))},
        {"stem.0.0.weight": torch.zeros(1, dtype=torch.complex64)},
    ],
)
def test_C1_weights_that_are_no_real_numbers(copy: Path, state: dict[Any, torch.Tensor]) -> None:
    torch.save(state, copy / WEIGHTS)
    with_checksum(copy)
    with pytest.raises(NASError, match=r"no state of a network|complex or not finite"):
        Bundle.load(copy)


@pytest.mark.parametrize("text", ["a,b\n" + "9" * 200_000 + ",1\n", "a\nx\n"])
def test_C3_curves_of_a_stranger(copy: Path, text: str) -> None:
    (copy / CURVES).write_text(text)
    spec = json.loads((copy / MODEL_JSON).read_text())
    for checksums in ({CURVES: file_digest(copy / CURVES)}, 5):
        spec["facts"]["checksums"] = checksums
        (copy / MODEL_JSON).write_text(json.dumps(spec))
        with pytest.raises(NASError, match="damaged"):
            Bundle.load(copy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task_class": "os.getcwd"}, r"the class 'os\.getcwd'"),
        ({"task_class": "nas.artifact.Artifact"}, "a subclass of nas.tasks.base.Task"),
        ({"task_class": 3}, "without inputs or outputs|complete model specification"),
        ({"facts": []}, "facts="),
        ({"facts": {"network": 3}}, "different networks"),
        ({"inference": {"window": 3}}, "other settings than those of Classification"),
        ({"task": {"kind": "segmentation"}}, "the tasks in model.json and arch.json differ"),
        ({"weights": {}}, "an exported network"),
        ({"schema": 3}, "schema 3"),
        ({"inputs": []}, "complete model specification"),
        ({"sides": {"fixed": None, "multiple_of": 0, "at_least": 1}}, "sides="),
        ({"sides": {"fixed": 3, "multiple_of": 1, "at_least": 1}}, "complete model specification"),
        ({"inputs": [{"name": "image", "axes": "BC", "shape": 3}]}, "complete model specification"),
        ({"preparation": {"size": 10**10}}, r"preparation\.size=10000000000"),
        ({"preparation": {"size": [16, "x", 16]}}, r"preparation\.size="),
        ({"preparation": {"window": [400, -1000]}}, r"preparation\.window="),
        ({"preparation": {"scale": "1"}}, r"preparation\.scale="),
        ({"inputs": [{"name": "image", "axes": "BCDHW", "shape": ["batch", 1, 4096, 4096, 4096]}]}, "at most"),
        ({"inputs": [{"name": "image", "axes": "BCDHW", "shape": ["batch", 1, -3, 1, 1]}]}, "shape="),
    ],
    ids=str,
)
def test_specs_that_do_not_fit(copy: Path, changes: dict[str, object], message: str) -> None:
    spec = json.loads((copy / MODEL_JSON).read_text())
    (copy / MODEL_JSON).write_text(json.dumps({**spec, **changes}))
    with pytest.raises(NASError, match=message):
        Bundle.load(copy)


def test_a_deeply_nested_spec(copy: Path) -> None:
    (copy / MODEL_JSON).write_text("[" * 200_000)
    with pytest.raises(NASError, match="model specification"):
        Bundle.load(copy)


def test_bundles_of_a_training(tmp_path: Path) -> None:
    aucs = {0: 0.6, 1: 0.9, 2: 0.7}
    for seed, auc in aucs.items():
        made = bundle(seed, auc)
        made.save(bundle_folder(tmp_path, made.artifact.arch.id, f"valid{seed}"))
    other = bundle(genes=3)
    other.save(bundle_folder(tmp_path, other.artifact.arch.id, "valid0"))
    with pytest.raises(NASError, match="no finished training"):
        bundles_of(tmp_path)
    (tmp_path / "result.json").write_text(json.dumps({"arch_id": made.artifact.arch.id}))
    rounds = [one.spec.facts["trained"]["round"] for one in bundles_of(tmp_path)]
    assert rounds == ["valid1", "valid2", "valid0"]
    assert len(bundles_of(tmp_path, best=2)) == 2
    assert [one.artifact.arch.id for one in bundles_of(tmp_path, arch=other.artifact.arch.id)] == [
        other.artifact.arch.id
    ]
    content = {
        "arch_id": made.artifact.arch.id,
        "protocol": "holdout",
        "folds": [{"fold": "valid0"}, {"fold": "valid2"}],
    }
    (tmp_path / "result.json").write_text(json.dumps(content))  # of fewer rounds than an earlier training here
    for found in (bundles_of(tmp_path), chosen_bundles(tmp_path), chosen_bundles(tmp_path, "ensemble")):
        assert [one.spec.facts["trained"]["round"] for one in found] == ["valid2", "valid0"]
    (alone,) = bundles_of(bundle_folder(tmp_path, made.artifact.arch.id, "valid2"))
    assert alone.spec.facts["validation"]["auc"] == 0.7
    for wrong in ("../..", "none", "*"):
        with pytest.raises(NASError, match="no network"):
            bundles_of(tmp_path, arch=wrong)


@pytest.mark.parametrize("left", ["checkpoints/a/valid1/best.pt", "system.json", "detector.pt"])
def test_trainings_of_earlier_versions_are_refused(tmp_path: Path, left: str) -> None:
    (tmp_path / left).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / left).write_bytes(b"")
    with pytest.raises(NASError, match=r"without bundles.*train again with run_train\.py"):
        bundles_of(tmp_path)


@pytest.mark.slow
def test_a_training_leaves_bundles_and_makes_damaged_predictions_anew(command: Command) -> None:
    plain = ["baselines.volume=false", "baselines.features=false", "baselines.published=null", "rounds=1"]
    bundle().artifact.save("small.json")
    words = [*plain, "arch=small.json", "seed=1"]
    code, _, err = command.train(*words)
    assert code == 0, err
    folder = command.folder / "outputs/train/t"
    (found,) = bundles_of(folder)
    assert [row["epoch"] for row in found.curves] == [1.0]
    assert found.spec.facts["validation"]["auc"] == found.curves[0]["auc"]
    result = json.loads((folder / "result.json").read_text())
    for missing in ("table.md", "report.html", "predictions.csv"):
        (folder / missing).unlink()
        code, out, _ = command.train(*words)
        assert (code, "finished before" in out) == (0, False)
        assert (folder / missing).is_file()
    assert "finished before" in command.train(*words)[1]
    assert "finished before" not in command.train(*words, "resamples=101")[1]
    assert "finished before" not in command.train(*words)[1]
    assert found.spec.facts["trained"]["data"]["sha256"] == result["data"]["sha256"]
    (prediction,) = folder.rglob("prediction-*.npy")
    (weights,) = folder.glob("bundles/*/*/weights.pt")
    meant, written = prediction.read_bytes(), weights.stat().st_mtime_ns
    for damaged in (meant[:-100], meant[:400] + bytes([meant[400] ^ 1]) + meant[401:]):
        prediction.write_bytes(damaged)
        assert command.train(*words)[0] == 0
        assert prediction.read_bytes() == meant
    another = [*words, "task=classification", "task.score=accuracy"]
    refused(command.train(*another), "the checkpoint", "task.score=accuracy")
    for checkpoint in folder.rglob("last.pt"):
        checkpoint.unlink()  # of a finished fold the bundle is enough
    assert command.train(*words)[0] == 0
    assert weights.stat().st_mtime_ns == written
    assert json.loads((folder / "result.json").read_text())["mean"] == result["mean"]

    refused(command.train(*another), "a bundle of another training")
    content = weights.read_bytes()
    weights.write_bytes(content[:-1])
    answer = command.train(*words)
    refused(answer, "is damaged", "delete it and repeat the training command")
    assert "Traceback" not in last_line(answer[2])
    shutil.rmtree(weights.parent)
    assert command.train(*words)[0] == 0
    assert Bundle.load(weights.parent).spec.facts["validation"] == found.spec.facts["validation"]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_file_of_tensors_never_gives_other_values(tmp_path: Path, data: st.DataObject) -> None:
    """Flipped bits, holes and cut ends raise, unless they lie in padding and change no value."""
    path = tmp_path / "x.pt"
    state = {"w": torch.arange(300.0), "epoch": 3, "history": [{"loss": 0.5}]}
    torch.save(state, path)
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    kind = data.draw(st.sampled_from(["flip", "hole", "cut"]))
    if kind == "flip":
        content[at] ^= data.draw(st.integers(1, 255))
    elif kind == "hole":
        content[at : at + 512] = bytes(len(content[at : at + 512]))
    else:
        content = content[:at]
    path.write_bytes(content)
    try:
        found = load_verified(path)
    except Exception:  # of many types; callers turn them into one line
        return
    assert found.keys() == state.keys()
    assert torch.equal(found["w"], state["w"])
    assert (found["epoch"], found["history"]) == (3, [{"loss": 0.5}])
