"""Options of a training: averaged weights, warm-up and decay of the rate, mixup, and the identity without them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, PolynomialLR, SequentialLR
from torch.optim.swa_utils import AveragedModel

from nas.data.loading import VolumeSet
from nas.data.transforms.augment import Augment
from nas.errors import NASError
from nas.evaluators.train import Train
from nas.tasks.classification import Classification
from nas.training.checkpoint import load_weights
from nas.training.ema import AveragedWeights, decay_after
from nas.training.loop import fit, predict, training_identity
from nas.training.mixup import mixed
from nas.training.optim import make_schedule
from nas.training.requirements import require_supernet_settings
from nas.training.settings import LATER, LATER_CHANGES, TrainingSettings
from nas.training.steps import Steps
from tests.training.blobs import blob_store, halves, net
from tests.training.test_resume import Killed, assert_same, train

CPU = torch.device("cpu")
SETTINGS = TrainingSettings(epochs=4, batch_size=8, lr=0.02, precision="fp32", augment=Augment(flip=(0, 1), shift=1))
Parts = tuple[VolumeSet, VolumeSet]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    return halves(blob_store(tmp_path_factory.mktemp("store") / "blobs.h5"))


@settings(deadline=None)
@given(st.floats(0.5, 0.9999), st.integers(0, 10**6))
def test_the_decay_rises_to_its_limit(decay: float, updates: int) -> None:
    now, later = decay_after(updates, decay), decay_after(updates + 1, decay)
    assert 0 <= now <= later <= decay
    assert decay_after(10**7, decay) == decay


@pytest.mark.parametrize("decay", [0.5, 0.99])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_averaged_weights_are_those_of_pytorch(parts: Parts, decay: float, precision: str) -> None:
    """Parameters and running statistics, after each step of a training; counters are those of the network."""

    def average(means: list[torch.Tensor], new: list[torch.Tensor], count: torch.Tensor | int) -> None:
        if means[0].is_floating_point():
            torch._foreach_lerp_(means, new, 1 - decay_after(int(count), decay))

    steps = Steps(
        net(), Classification(), replace(SETTINGS, ema=decay, precision=precision), parts[0], seed=0, device=CPU
    )
    assert steps.average is not None
    oracle = AveragedModel(net(), multi_avg_fn=average, use_buffers=True)  # type: ignore[arg-type]
    for number, _ in enumerate(steps.epoch(1), start=1):
        oracle.update_parameters(steps.model)
        assert steps.average.updates == number
        for name, value in oracle.module.state_dict().items():
            own = steps.average.model.state_dict()[name]
            if value.is_floating_point():
                assert torch.equal(own, value), name
            else:
                assert torch.equal(own, steps.model.state_dict()[name]), name
    assert not steps.average.model.training
    assert not any(parameter.requires_grad for parameter in steps.average.model.parameters())


def test_averaged_weights_are_validated_kept_and_loaded(parts: Parts, tmp_path: Path) -> None:
    plain, _ = train(parts, SETTINGS, None)
    result, model = train(parts, replace(SETTINGS, ema=0.9), tmp_path)
    assert [row["loss"] for row in result.history] == [row["loss"] for row in plain.history]  # the same steps
    assert result.history != plain.history
    task = Classification()
    scores = task.score(predict(model, task, parts[1], 8), parts[1].labels, quick=True).over()
    assert scores == result.metrics
    weights, _ = load_weights(tmp_path / "best.pt")
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in weights.items())
    last = torch.load(tmp_path / "last.pt", weights_only=True)
    averaged, _ = load_weights(tmp_path / "last.pt")
    assert all(torch.equal(value, last["average"]["model"][name]) for name, value in averaged.items())
    assert not torch.equal(averaged["head.weight"], last["model"]["head.weight"])


@pytest.mark.parametrize(
    "change",
    [
        {"ema": 0.95},
        {"ema": 0.95, "precision": "bf16", "validate_every": 2},
        {"schedule": "poly", "warmup_epochs": 2},
        {"augment": Augment(flip=(0,), turns=("HW", "DW"), mixup=0.4), "ema": 0.9},
    ],
    ids=str,
)
def test_a_killed_training_with_options_is_the_uninterrupted_one(
    parts: Parts, tmp_path: Path, change: dict[str, Any]
) -> None:
    chosen = replace(SETTINGS, **change)
    straight = train(parts, chosen, None)
    for kill_after in (1, 3):
        with pytest.raises(Killed):
            train(parts, chosen, tmp_path, kill_after)
    assert_same(straight, train(parts, chosen, tmp_path))


def test_a_longer_budget_continues_the_average(parts: Parts, tmp_path: Path) -> None:
    chosen = replace(SETTINGS, schedule="constant", ema=0.95, warmup_epochs=2)
    straight = train(parts, chosen, None)
    train(parts, replace(chosen, epochs=1), tmp_path)
    assert_same(straight, train(parts, chosen, tmp_path))


def factors(chosen: TrainingSettings, steps: int) -> list[float]:
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=chosen.lr)
    schedule = make_schedule(optimizer, chosen, steps)
    return _rates(optimizer, schedule, steps)


def _rates(optimizer: torch.optim.Optimizer, schedule: Any, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize("schedule", ["poly", "cosine"])
@pytest.mark.parametrize("warm_up", [0, 2])
def test_the_rate_is_that_of_schedulers_of_pytorch(schedule: str, warm_up: int) -> None:
    epochs, each, lr = 8, 5, 0.3
    chosen = TrainingSettings(epochs=epochs, lr=lr, schedule=schedule, warmup_epochs=warm_up)
    optimizer, first, left = (
        torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=lr),
        warm_up * each,
        (epochs - warm_up) * each,
    )
    after: Any = PolynomialLR(optimizer, left, 0.9) if schedule == "poly" else CosineAnnealingLR(optimizer, left)
    if warm_up:
        rise = LinearLR(optimizer, 1 / (first + 1), 1.0, first)
        after = SequentialLR(optimizer, [rise, after], [first])
    assert factors(chosen, epochs * each) == pytest.approx(_rates(optimizer, after, epochs * each))


@settings(deadline=None)
@given(
    st.sampled_from(["poly", "cosine", "step", "constant"]), st.integers(0, 5), st.integers(1, 10), st.integers(1, 4)
)
def test_the_rate_rises_once_and_stays_in_its_range(schedule: str, warm_up: int, more: int, each: int) -> None:
    assume(schedule != "step" or more * each >= 4)
    rates = factors(
        TrainingSettings(epochs=warm_up + more, lr=1.0, schedule=schedule, warmup_epochs=warm_up),
        (warm_up + more) * each,
    )
    assert all(0 < rate <= 1 for rate in rates)
    top = warm_up * each
    assert rates[top] == pytest.approx(1.0)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.floats(0.05, 4.0), st.integers(0, 99), st.booleans())
def test_the_loss_of_mixed_samples_is_that_of_their_mixed_labels(
    batch: int, alpha: float, seed: int, flat: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand((batch, 1, 3, 3) if flat else (batch, 1, 2, 3, 4), generator=generator)
    y, logits = torch.randint(3, (batch,), generator=generator), torch.randn((batch, 3), generator=generator)
    found, other = mixed(x, alpha, np.random.default_rng(seed))
    assert sorted(other.order_B.tolist()) == list(range(batch))
    assert 0 <= other.share <= 1
    torch.testing.assert_close(found, other.share * x + (1 - other.share) * x[other.order_B])
    task = Classification(outputs=3, dims=2 if flat else 3)
    own = other.share * task.loss(logits, y) + (1 - other.share) * task.loss(logits, y[other.order_B])
    labels = F.one_hot(y, 3).float()
    soft = other.share * labels + (1 - other.share) * labels[other.order_B]
    torch.testing.assert_close(own, F.cross_entropy(logits, soft))


def test_mixup_changes_the_training_and_nothing_else(parts: Parts) -> None:
    plain, mixing = (replace(SETTINGS, augment=Augment(mixup=strength)) for strength in (0.0, 0.4))
    seen = [[x for x, _, _ in _batches(parts, one)] for one in (plain, mixing)]
    assert all(torch.equal(a, b) for a, b in zip(*seen, strict=True))  # batches and augmentation have their own draws
    assert train(parts, plain, None)[0].history[0]["loss"] != train(parts, mixing, None)[0].history[0]["loss"]


def _batches(parts: Parts, chosen: TrainingSettings) -> Any:
    from nas.training.steps import augmented_batches

    return augmented_batches(parts[0], chosen, 0, 1, CPU)


def test_settings_without_the_options_have_the_identity_of_earlier_versions(parts: Parts) -> None:
    later, later_changes = set(LATER) - {"sampler", "restarts"}, set(LATER_CHANGES)
    plain = SETTINGS.identity
    assert not later & plain.keys()
    assert not later_changes & plain["augment"].keys()
    described = training_identity("", Classification(), SETTINGS, False, 0, *parts).parts()["training"]
    assert not later & described.keys()
    assert not later_changes & described["augment"].keys()
    for change in ({"ema": 0.9}, {"warmup_epochs": 1, "schedule": "cosine"}, {"augment": Augment(mixup=0.2)}):
        changed = replace(SETTINGS, **change)  # type: ignore[arg-type]
        assert changed.identity != replace(changed, ema=0.0, warmup_epochs=0, augment=Augment()).identity


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ema": 1.0}, r"got training.ema=1.0"),
        ({"warmup_epochs": 2}, "training.warmup_epochs=2 with training.schedule=onecycle"),
        (
            {"warmup_epochs": 4, "schedule": "cosine"},
            "training.warmup_epochs=4 of 4 epochs.*set training.warmup_epochs to 3",
        ),
        ({"augment": Augment(turns=("HW",)), "schedule": "linear"}, "training.schedule=linear"),
    ],
)
def test_contradictions_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(NASError, match=message):
        replace(SETTINGS, **change)


def test_a_warm_up_as_long_as_the_smallest_budget_is_refused() -> None:
    chosen = replace(SETTINGS, epochs=27, schedule="cosine", warmup_epochs=3)
    with pytest.raises(NASError, match=r"training.warmup_epochs=3 with a budget of 3 epochs"):
        Train(chosen).check_budgets([3, 9, 27])
    Train(replace(chosen, schedule="constant")).check_budgets([3, 9, 27])


def test_a_network_with_a_margin_and_a_supernet_refuse_what_they_cannot_do(parts: Parts) -> None:
    model = net()
    model.needs_target = True  # type: ignore[assignment]
    chosen = replace(SETTINGS, augment=Augment(mixup=0.2))
    with pytest.raises(NASError, match=r"training.augment.mixup=0.2 for a network with a margin"):
        fit(model, Classification(), *parts, chosen, seed=0, device=CPU)
    for one in (chosen, replace(SETTINGS, ema=0.9)):
        with pytest.raises(NASError, match="for a supernet"):
            require_supernet_settings(one)


def test_the_average_survives_a_round_trip() -> None:
    first = AveragedWeights(net(), 0.9)
    first.update(net(1))
    again = AveragedWeights(net(2), 0.9)
    again.load_state_dict(first.state_dict())
    first.update(net(3))
    again.update(net(3))
    assert all(torch.equal(a, b) for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True))
