"""A training that was killed and taken up again is the uninterrupted one, bit for bit."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nas.data.loading import VolumeSet
from nas.data.transforms.augment import Augment
from nas.errors import NASError
from nas.tasks.classification import Classification
from nas.training.loop import FitResult, fit
from nas.training.settings import TrainingSettings
from tests.training.blobs import blob_store, halves, net

SETTINGS = TrainingSettings(
    epochs=6, batch_size=8, lr=0.02, precision="fp32", augment=Augment(flip=(0, 1, 2), shift=1, rotate=5, cutout=2)
)
Parts = tuple[VolumeSet, VolumeSet]


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    return halves(blob_store(tmp_path_factory.mktemp("store") / "blobs.h5"))


def train(
    parts: Parts, settings: TrainingSettings, folder: Path | None, kill_after: int = 0, **more: Any
) -> tuple[FitResult, nn.Module]:
    def on_epoch(epoch: int, epochs: int, metrics: Mapping[str, float]) -> None:
        if epoch == kill_after:
            raise Killed

    model, device = net(), torch.device("cpu")
    arguments = {"seed": 3, "device": device, "folder": folder, "on_epoch": on_epoch, **more}
    return fit(model, Classification(), *parts, settings, **arguments), model


def assert_same(a: tuple[FitResult, nn.Module], b: tuple[FitResult, nn.Module]) -> None:
    assert replace(a[0], seconds=0) == replace(b[0], seconds=0)
    for name, value in a[1].state_dict().items():
        assert torch.equal(value, b[1].state_dict()[name]), name


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"optimizer": "adam", "schedule": "cosine"},
        {"optimizer": "sgd", "schedule": "step"},
        {"schedule": "constant"},
        {"schedule": "warm_restarts", "restarts": (2, 4)},
        {"precision": "bf16", "channels_last": False},
    ],
    ids=str,
)
def test_killed_after_three_of_six_epochs(parts: Parts, tmp_path: Path, change: dict[str, Any]) -> None:
    settings = replace(SETTINGS, **change)
    straight = train(parts, settings, None)
    for kill_after in (3, 5):
        with pytest.raises(Killed):
            train(parts, settings, tmp_path, kill_after)
    assert_same(straight, train(parts, settings, tmp_path))


def test_killed_before_the_first_validation(parts: Parts, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = replace(SETTINGS, validate_every=4)
    straight = train(parts, settings, None)
    with pytest.raises(Killed):
        train(parts, settings, tmp_path, 3)
    with caplog.at_level(logging.WARNING):
        assert_same(straight, train(parts, settings, tmp_path))
    assert "starts over" not in caplog.text


def test_killed_while_early_stopping_waits(parts: Parts, tmp_path: Path) -> None:
    settings = replace(SETTINGS, epochs=40, patience=3, lr=0.05)
    straight = train(parts, settings, None)
    best = straight[0].best_epoch
    assert straight[0].epochs_run == best + 3
    with pytest.raises(Killed):
        train(parts, settings, tmp_path, best + 1)
    assert_same(straight, train(parts, settings, tmp_path))


def test_a_finished_training_is_not_run_again(parts: Parts, tmp_path: Path) -> None:
    first = train(parts, SETTINGS, tmp_path)
    written = (tmp_path / "last.pt").stat().st_mtime_ns
    again = train(parts, SETTINGS, tmp_path, kill_after=1)
    assert_same(first, again)
    assert again[0].seconds == first[0].seconds
    assert (tmp_path / "last.pt").stat().st_mtime_ns == written


def test_killed_between_the_two_files_of_an_epoch(parts: Parts, tmp_path: Path) -> None:
    """last.pt is written first: an old best.pt beside a last.pt whose own epoch is the best one is replaced."""
    with pytest.raises(Killed):
        train(parts, SETTINGS, tmp_path, 1)
    old = (tmp_path / "best.pt").read_bytes()
    straight = train(parts, SETTINGS, None)
    best = straight[0].best_epoch
    assert best > 1
    with pytest.raises(Killed):
        train(parts, SETTINGS, tmp_path, best)
    (tmp_path / "best.pt").write_bytes(old)
    assert_same(straight, train(parts, SETTINGS, tmp_path))


@pytest.mark.parametrize("name", ["last.pt", "best.pt"])
@pytest.mark.parametrize("left", [0.0, 0.5, 0.99])
def test_a_torn_checkpoint_starts_over_with_a_warning(
    parts: Parts, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, left: float
) -> None:
    straight = train(parts, SETTINGS, tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * left)])
    with caplog.at_level(logging.WARNING):
        again = train(parts, SETTINGS, tmp_path)
    assert_same(straight, again)
    replaced = name == "best.pt" and straight[0].best_epoch == SETTINGS.epochs
    assert ("starts over" in caplog.text) != replaced


@pytest.mark.parametrize("change", [{"lr": 0.001}, {"epochs": 7}, {"augment": None}, {"optimizer": "sgd"}], ids=str)
def test_G1_a_checkpoint_of_other_settings_is_refused(parts: Parts, tmp_path: Path, change: dict[str, Any]) -> None:
    train(parts, SETTINGS, tmp_path)
    before = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(NASError, match=f"training.{next(iter(change))}="):
        train(parts, replace(SETTINGS, **change), tmp_path)
    assert (tmp_path / "last.pt").read_bytes() == before


def test_a_checkpoint_of_another_network_seed_or_split_is_refused(parts: Parts, tmp_path: Path) -> None:
    train(parts, SETTINGS, tmp_path, fingerprint="a")
    with pytest.raises(NASError, match="network=a; expected network=b"):
        train(parts, SETTINGS, tmp_path, fingerprint="b")
    with pytest.raises(NASError, match="seed=3; expected seed=4"):
        train(parts, SETTINGS, tmp_path, fingerprint="a", seed=4)
    with pytest.raises(NASError, match="with train="):
        train((VolumeSet(parts[0].store, parts[0].indices[1:], "cpu"), parts[1]), SETTINGS, tmp_path, fingerprint="a")


def test_more_epochs_at_a_constant_rate_continue(parts: Parts, tmp_path: Path) -> None:
    settings = replace(SETTINGS, schedule="constant")
    straight = train(parts, settings, None)
    train(parts, replace(settings, epochs=2), tmp_path)
    seen: list[int] = []
    model = net()
    fit(
        model,
        Classification(),
        *parts,
        settings,
        seed=3,
        device=torch.device("cpu"),
        folder=tmp_path,
        on_epoch=lambda epoch, epochs, metrics: seen.append(epoch),
    )
    assert seen == [3, 4, 5, 6]
    assert_same(straight, train(parts, settings, tmp_path))


def test_fewer_epochs_than_the_checkpoint_holds_start_over(parts: Parts, tmp_path: Path) -> None:
    settings = replace(SETTINGS, schedule="constant")
    train(parts, settings, tmp_path)
    short = replace(settings, epochs=2)
    assert_same(train(parts, short, None), train(parts, short, tmp_path))


def test_checkpoints_hold_no_code(parts: Parts, tmp_path: Path) -> None:
    train(parts, SETTINGS, tmp_path)
    best = torch.load(tmp_path / "best.pt", weights_only=True)
    model = net(seed=9)
    model.load_state_dict(best["model"])
    assert {path.name for path in tmp_path.iterdir()} == {"last.pt", "best.pt"}
