"""One training: it learns, keeps the best epoch, is reproducible, and fails a candidate for a stated reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nas.data.loading import VolumeSet
from nas.data.transforms.augment import Augment
from nas.errors import NASError, TrialFailed
from nas.tasks.classification import Classification
from nas.tasks.precision import has_fast_bf16
from nas.training.loop import FitResult, fit, predict
from nas.training.optim import make_schedule
from nas.training.settings import TrainingSettings
from tests.training.blobs import Net, blob_store, halves, net

TASK, CPU = Classification(), torch.device("cpu")
SETTINGS = TrainingSettings(epochs=4, batch_size=8, lr=0.01, precision="fp32", augment=Augment(flip=(0, 1), shift=1))
Parts = tuple[VolumeSet, VolumeSet]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    return halves(blob_store(tmp_path_factory.mktemp("store") / "blobs.h5"))


def train(model: nn.Module, parts: Parts, settings: TrainingSettings = SETTINGS, **more: Any) -> FitResult:
    return fit(model, TASK, *parts, settings, device=CPU, **{"seed": 0, **more})


def same(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize(
    "change", [{}, {"optimizer": "sgd", "lr": 0.05}, {"precision": "bf16"}, {"channels_last": False}]
)
def test_it_learns(parts: Parts, change: dict[str, Any]) -> None:
    result = train(net(), parts, replace(SETTINGS, epochs=20, augment=None, **change))
    assert result.history[-1]["loss"] < 0.75 * result.history[0]["loss"]
    assert result.metrics["auc"] > 0.9


def test_the_model_ends_with_the_weights_of_the_best_epoch(parts: Parts) -> None:
    model, seen = net(), []
    settings = replace(SETTINGS, epochs=6, lr=0.03)
    result = train(model, parts, settings, on_epoch=lambda *call: seen.append(call))
    scores = [row["auc"] for row in result.history]
    assert result.best_epoch == int(np.argmax(scores)) + 1  # argmax takes the first of equal scores
    assert TASK.score(predict(model, TASK, parts[1], 8), parts[1].labels, quick=True).over() == result.metrics
    assert [call[:2] for call in seen] == [(epoch, 6) for epoch in range(1, 7)]
    assert [call[2]["auc"] for call in seen] == scores
    assert result.epochs_run == 6
    assert set(result.metrics) == set(result.history[0]) - {"epoch", "loss", "lr"}


def test_a_tie_keeps_the_earlier_epoch(parts: Parts) -> None:
    result = train(net(), parts, replace(SETTINGS, lr=1e-12, grad_clip=0.0, weight_decay=0.0, augment=None))
    scores = [row["auc"] for row in result.history]
    assert result.best_epoch == scores.index(max(scores)) + 1


def test_early_stopping_waits_exactly_so_long(parts: Parts) -> None:
    result = train(net(), parts, replace(SETTINGS, epochs=40, patience=3))
    assert result.epochs_run == result.best_epoch + 3 < 40


@pytest.mark.parametrize("killed", [None, 2, 4])
def test_only_every_nth_epoch_is_validated_and_the_last(parts: Parts, tmp_path: Path, killed: int | None) -> None:
    settings, seen = replace(SETTINGS, epochs=7, lr=0.03, validate_every=3), []
    if killed is not None:

        def stop(epoch: int, *rest: object) -> None:
            if epoch == killed:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(net(), parts, settings, folder=tmp_path, on_epoch=stop)
    model = net()
    result = train(model, parts, settings, folder=tmp_path, on_epoch=lambda *call: seen.append(call))
    assert [epoch for epoch, _, metrics in seen if metrics] == [epoch for epoch in (3, 6, 7) if epoch > (killed or 0)]
    assert [row["epoch"] for row in result.history if "auc" in row] == [3, 6, 7]
    scores = {row["epoch"]: row["auc"] for row in result.history if "auc" in row}
    assert result.best_epoch == max(scores, key=lambda epoch: scores[epoch])
    assert TASK.score(predict(model, TASK, parts[1], 8), parts[1].labels, quick=True).over() == result.metrics
    whole = train(other := net(), parts, replace(settings, validate_every=1))
    assert [row["loss"] for row in whole.history] == [row["loss"] for row in result.history]
    assert whole.best_epoch != result.best_epoch or same(model, other)


def test_the_seed_decides_everything(parts: Parts) -> None:
    first, second, other = net(), net(), net()
    results = [train(first, parts), train(second, parts), train(other, parts, seed=1)]
    assert same(first, second)
    assert results[0].history == results[1].history
    assert results[0].history != results[2].history


def test_the_callers_random_state_is_left_alone(parts: Parts) -> None:
    model = net()
    torch.manual_seed(7)
    before = torch.get_rng_state()
    train(model, parts)
    assert torch.equal(before, torch.get_rng_state())


def test_a_streamed_set_trains_as_a_resident_one(parts: Parts) -> None:
    resident, streamed = net(), net()
    train(resident, parts)
    read = [VolumeSet(part.store, part.indices, "cpu", max_resident_mb=0) for part in parts]
    train(streamed, (read[0], read[1]))
    assert same(resident, streamed)


class Margin(Net):
    """A network that also wants the target in training, and counts how often it got it."""

    needs_target = True

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x_BCDHW: torch.Tensor, y_B: torch.Tensor | None = None) -> torch.Tensor:
        assert (y_B is not None) == self.training
        if y_B is not None:
            assert y_B.shape == x_BCDHW.shape[:1]
            self.calls += 1
        return super().forward(x_BCDHW)


def test_a_network_that_needs_the_target_gets_it(parts: Parts) -> None:
    model = Margin()
    result = train(model, parts)
    assert model.calls == result.best_epoch * 5  # 40 samples in batches of 8


@pytest.mark.parametrize("schedule", ["onecycle", "cosine", "step", "constant"])
def test_schedules(parts: Parts, schedule: str) -> None:
    rates = [row["lr"] for row in train(net(), parts, replace(SETTINGS, epochs=8, schedule=schedule)).history]
    assert max(rates) <= SETTINGS.lr * 1.0001
    if schedule == "constant":
        assert rates == [SETTINGS.lr] * 8
    elif schedule == "step":
        assert rates == pytest.approx([SETTINGS.lr] * 4 + [SETTINGS.lr / 10] * 2 + [SETTINGS.lr / 100] * 2)
    elif schedule == "cosine":
        assert rates == sorted(rates, reverse=True)
        assert rates[-1] < 0.05 * SETTINGS.lr
    else:
        assert rates[0] < 0.1 * SETTINGS.lr
        assert 0 < int(np.argmax(rates)) < 4
        assert rates[-1] < 0.1 * SETTINGS.lr


def test_gradients_are_clipped_to_the_norm(parts: Parts) -> None:
    norms = []

    def watched(model: nn.Module) -> nn.Module:
        model.head.weight.register_post_accumulate_grad_hook(lambda p: norms.append(float(p.grad.norm())))
        return model

    settings = replace(SETTINGS, optimizer="sgd", momentum=0.0, weight_decay=0.0, schedule="constant", augment=None)
    free, bound = watched(net()), net()
    train(free, parts, replace(settings, epochs=1, grad_clip=0.0))
    start = net()
    train(bound, parts, replace(settings, epochs=1, grad_clip=1e-4))
    moved = torch.cat([(a - b).flatten() for a, b in zip(bound.parameters(), start.parameters(), strict=True)]).norm()
    assert max(norms) > 1e-3
    assert moved <= 5 * settings.lr * 1e-4 * 1.01


def test_biases_and_norms_do_not_decay(parts: Parts) -> None:
    model = net()
    settings = replace(SETTINGS, epochs=1, lr=1e-3, weight_decay=100.0, grad_clip=0.0, schedule="constant")
    train(model, parts, settings)
    weights, start = dict(model.named_parameters()), dict(net().named_parameters())
    assert weights["body.0.weight"].norm() < 0.7 * start["body.0.weight"].norm()
    assert weights["body.1.weight"].norm() > 0.95 * start["body.1.weight"].norm()


class Exploding(Net):
    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        return super().forward(x_BCDHW) * (float("nan") if self.training else 1.0)


def test_a_loss_that_is_nan_fails_the_trial(parts: Parts, tmp_path: Path) -> None:
    with pytest.raises(TrialFailed, match="loss became NaN in epoch 1"):
        train(Exploding(), parts, folder=tmp_path / "run")
    assert not (tmp_path / "run" / "last.pt").exists()


class Greedy(Net):
    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        return super().forward(x_BCDHW) + torch.empty(2**50).sum()


def test_running_out_of_memory_fails_the_trial(parts: Parts) -> None:
    with pytest.raises(TrialFailed, match="out of memory"):
        train(Greedy(), parts)


class Broken(Net):
    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("a mistake in the network")


def test_other_errors_are_not_hidden(parts: Parts) -> None:
    with pytest.raises(RuntimeError, match="a mistake in the network"):
        train(Broken(), parts)


@pytest.mark.parametrize("which", [0, 1])
def test_a_part_that_is_too_small_is_reported(parts: Parts, which: int) -> None:
    short = [*parts]
    short[which] = VolumeSet(parts[which].store, [0], "cpu")
    with pytest.raises(NASError, match="at least 2"):
        train(net(), (short[0], short[1]))


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"batch_size": 1},
        {"optimizer": "lion"},
        {"lr": 0.0},
        {"weight_decay": -1.0},
        {"momentum": 1.0},
        {"schedule": "linear"},
        {"precision": "fp16"},
        {"grad_clip": -1.0},
        {"patience": -1},
        {"validate_every": 0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_settings_out_of_range_are_reported(change: dict[str, Any]) -> None:
    with pytest.raises(NASError, match=f"training.{next(iter(change))}"):
        TrainingSettings(**change)


def test_auto_precision_follows_the_device() -> None:
    assert TrainingSettings(precision="auto").uses_bf16(CPU) == has_fast_bf16(CPU)
    assert TrainingSettings(precision="bf16").uses_bf16(CPU)
    assert not TrainingSettings(precision="fp32").uses_bf16(CPU)
    assert not TrainingSettings(precision="auto", compile=True).uses_bf16(CPU)
    with pytest.raises(NASError, match="compile"):
        TrainingSettings(precision="bf16", compile=True).uses_bf16(CPU)


def test_patience_is_counted_in_validated_epochs() -> None:
    with pytest.raises(NASError, match="at least validate_every"):
        TrainingSettings(patience=3, validate_every=5)


def rates(settings: TrainingSettings, epochs: int, steps: int) -> list[float]:
    """The learning rate of every step of a training."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=settings.lr)
    schedule = make_schedule(optimizer, replace(settings, epochs=epochs), epochs * steps)
    found = []
    for _ in range(epochs * steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_warm_restarts_are_those_of_sgdr() -> None:
    """PyTorch's CosineAnnealingWarmRestarts with T_0 = 2 and T_mult = 2: cycles of 2, 4 and 8 epochs."""
    settings = TrainingSettings(schedule="warm_restarts", restarts=(2, 6, 14), lr=0.1)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    theirs, expected = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 2 * 5, 2), []
    for _ in range(14 * 5):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    own = rates(settings, 14, 5)
    assert own == pytest.approx(expected)
    assert own[: 6 * 5] == rates(settings, 6, 5)  # a shorter training is the beginning of a longer one
    assert rates(settings, 22, 5)[70:] == pytest.approx(own[30:])  # later cycles are as long as the last


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schedule": "warm_restarts"}, r"set training\.restarts"),
        ({"restarts": (2, 4)}, r"training\.restarts=\[\]"),
        ({"schedule": "warm_restarts", "restarts": (4, 2)}, "ascending"),
        ({"schedule": "warm_restarts", "restarts": (2, 2)}, "ascending"),
        ({"schedule": "warm_restarts", "restarts": (0, 2)}, "restarts"),
    ],
    ids=str,
)
def test_restarts_that_do_not_fit_the_schedule(change: dict[str, Any], words: str) -> None:
    with pytest.raises(NASError, match=words):
        TrainingSettings(**change)


def test_settings_without_restarts_are_those_of_earlier_versions() -> None:
    assert {"sampler", "restarts"}.isdisjoint(TrainingSettings().identity)
    assert TrainingSettings(schedule="warm_restarts", restarts=[3]).identity["restarts"] == [3]
