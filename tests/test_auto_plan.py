"""Plans that were edited before `voxnas auto` uses them, and between two of its runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import nibabel
import pytest

from experiments.auto.clock import Clock
from experiments.auto.first_steps import FirstSteps
from experiments.auto.request import Request
from experiments.auto.say import Says
from nas.errors import NASError
from nas.planning.plan import Plan
from nas.planning.reading import silent
from tests.commands import refused, voxnas
from tests.plans import Computed
from tests.small_folders import decathlon

Run = Callable[..., FirstSteps]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return decathlon(tmp_path / "Zwölf Bälle", cases=12)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def run(data: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """One run of the command until the plan is there."""
    monkeypatch.setattr("experiments.planning.TimedSteps", lambda device, memory: Computed())
    monkeypatch.setenv("VOXNAS_CACHE", str(out / "cache"))

    def planned(**options: object) -> FirstSteps:
        request = Request(data, 600.0, out, device="cpu", **options)  # type: ignore[arg-type]
        out.mkdir(exist_ok=True)
        with Clock(out, 600.0, request.settings) as clock:
            steps = FirstSteps(request, clock, Says(clock))
            steps.plan(silent)
            return steps

    return planned


def edit(out: Path, pattern: str, by: str) -> None:
    path = out / "plan.yaml"
    text, count = re.subn(pattern, by, path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert count
    path.write_text(text, encoding="utf-8")


def test_a_plan_may_change_until_a_network_was_trained_by_it(run: Run, out: Path) -> None:
    run()
    edit(out, "training.lr: .*", "training.lr: 1e-3")
    steps = run()
    assert steps.planned.value("training.lr") == 0.001
    assert steps.reference_file.is_file()
    run()
    edit(out, "  # .*", "")  # reasons may change
    run()
    before = (out / "plan.yaml").read_text()
    for pattern, by, word in (
        ("training.lr: .*", "training.lr: 0.002", "training.lr: 0.002 in"),
        ("^  training.lr: .*\n", "", "training.lr: no longer there"),
        ("encoder_blocks: 2", "encoder_blocks: 1", "encoder_blocks .reference.: 1"),
        ("^train:", "train:\n  training.ema: 0.9", "training.ema .train.: 0.9"),
    ):
        edit(out, pattern, by)
        with pytest.raises(NASError, match=word):
            run()
        (out / "plan.yaml").write_text(before)
    run()


def test_a_run_is_not_continued_on_changed_data(run: Run, data: Path, out: Path) -> None:
    assert run().reference_file.is_file()
    run()
    volume = sorted((data / "imagesTr").iterdir())[0]
    image = nibabel.load(volume)
    nibabel.save(nibabel.Nifti1Image(image.get_fdata() + 1, image.affine), volume)
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file() and path.suffix != ".json"}
    with pytest.raises(NASError, match="has changed since"):
        run()
    assert {name: (out / name).read_bytes() for name in before} == before


def test_a_refused_command_leaves_nothing_and_can_be_corrected(run: Run, out: Path) -> None:
    for wrong in ({"folds": 13}, {"max_params": 3.0}):
        with pytest.raises(NASError):
            run(**wrong)
        assert [path.name for path in out.iterdir() if path.name in ("plan.yaml", "progress.json")] == []
    run(folds=3)


def test_what_a_plan_does_not_state_is_that_of_the_configuration(run: Run, out: Path) -> None:
    run()
    edit(out, r"^  training\.(epochs|validate_every|batch_size): .*\n", "")
    edit(out, "data.patch: .*", "data.patch: 16")
    steps = run()
    assert steps.planned.value("training.epochs", "train") is None
    assert steps.wanted == 50  # of conf/training/default.yaml
    assert steps.workers >= 1


def test_a_plan_without_its_data_or_their_classes_is_refused(
    run: Run, out: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    text = (out / "plan.yaml").read_text(encoding="utf-8")
    edit(out, "^  data.root: .*\n", "")
    with pytest.raises(NASError, match="the plan of no data"):
        run()
    other = decathlon(tmp_path / "other", cases=3)
    (out / "plan.yaml").write_text(text, encoding="utf-8")
    words = ("--out", out, "--time", "10min", "--device", "cpu", "--dry-run")
    refused(voxnas(capsys, "auto", other, *words), "the plan of", "use another --out")
    refused(voxnas(capsys, "auto", data, *words, "--strategy", "priorbend"), "--strategy priorband")
    assert voxnas(capsys, "auto", data, *words)[0] == 0
    (out / "plan.yaml").write_text(text.partition("fingerprint:")[0], encoding="utf-8")
    assert Plan.read(out / "plan.yaml").fingerprint == {}
    refused(voxnas(capsys, "auto", data, *words), "fingerprint: channels")
    with pytest.raises(NASError, match="fingerprint: channels"):
        _ = run().network
