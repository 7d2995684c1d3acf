"""F6 of the faults: the margin of A-softmax, published or relative to the length of the training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.data.loading import VolumeSet
from nas.data.sample import Sample
from nas.data.store_writer import write_store
from nas.errors import NASError
from nas.evaluators.train import Train
from nas.history import Proposal
from nas.network_traits import announce_length, depends_on_length
from nas.supernets.shared import SharedSupernet
from nas.tasks.classification import Classification
from nas.training.loop import fit
from nas.training.settings import TrainingSettings
from search_spaces.layers.sphereface import AngularHead, RelativeAngularHead, annealed_lambda, phi
from search_spaces.naslung import NASLungSpace
from tests.problems import context_in, problem_of

CPU = torch.device("cpu")
SETTINGS = TrainingSettings(epochs=3, batch_size=4, precision="fp32")
STAGES = [[4], [4], [4]]


def share_of(head: AngularHead, step: int) -> float:
    """Share of the margin in the logit of the target at a step, read off the logits."""
    torch.manual_seed(0)
    x, y = torch.randn(1, 8), torch.tensor([1])
    plain = head.eval()(x)[0, 1]
    head.steps.fill_(step - 1)
    logit, length = head.train()(x, y)[0, 1], x.norm()
    cosine = plain / length
    return float(((logit - plain) / length / (phi(cosine) - cosine)).detach())


@pytest.mark.parametrize("length", [70, 1000, 28_000])
def test_F6_the_margin_is_annealed_relative_to_the_length(length: int) -> None:
    head = RelativeAngularHead(8, 3)
    head.set_training_steps(length)
    for part in (0.02, 0.05, 0.2, 1.0):
        step = round(part * length)
        published = 1 / (1 + max(5.0, 1500 / (1 + 0.1 * step / length * 28_000)))  # by hand
        assert share_of(head, step) == pytest.approx(published, rel=1e-3)
    assert share_of(head, length) == pytest.approx(1 / 6, rel=1e-4)


def test_F6_the_published_schedule_is_kept_by_name_and_is_that_of_the_paper() -> None:
    assert NASLungSpace().schedule == "steps"
    head = NASLungSpace(schedule="steps").build(NASLungSpace(schedule="steps").from_stages(STAGES)).head.classifier
    assert type(head) is AngularHead
    shares = [share_of(AngularHead(8, 3), step) for step in (70, 1000, 2990)]
    assert shares == pytest.approx([0.0053, 0.0632, 1 / 6], rel=5e-3)  # as the documentation states them
    assert float(annealed_lambda(torch.tensor(2990.0))) == pytest.approx(5.0)
    with pytest.raises(NASError, match=r"space\.schedule"):
        NASLungSpace(schedule="epochs")


def test_F6_the_schedule_is_part_of_the_identity() -> None:
    published, relative = NASLungSpace(), NASLungSpace(schedule="relative")
    assert "schedule" not in published.arguments  # ids of earlier files hold
    assert published.fingerprint == NASLungSpace(schedule="steps").fingerprint != relative.fingerprint
    assert relative.arguments["schedule"] == "relative"
    assert not depends_on_length(published.build(published.from_stages(STAGES)))
    assert depends_on_length(relative.build(relative.from_stages(STAGES)))


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[VolumeSet, VolumeSet]:
    rng = np.random.default_rng(0)
    samples = [
        Sample(f"s{n}", rng.integers(0, 99, (1, 8, 8, 8)).astype(np.uint8) + 60 * (n % 2), n % 2, f"p{n}")
        for n in range(18)
    ]
    path = tmp_path_factory.mktemp("margin") / "noise.h5"
    store = write_store(path, samples, name="noise", classes=("dark", "bright"), provenance={}, scale=1 / 255)
    return VolumeSet(store, range(12), "cpu"), VolumeSet(store, range(12, 18), "cpu")


def test_F6_a_training_states_its_length_and_resumes_bit_for_bit(
    parts: tuple[VolumeSet, VolumeSet], tmp_path: Path
) -> None:
    def network() -> torch.nn.Module:
        torch.manual_seed(0)
        space = NASLungSpace(schedule="relative")
        return space.build(space.from_stages(STAGES))

    class Stop(Exception):
        pass

    def stop(epoch: int, *rest: object) -> None:
        if epoch == 2:
            raise Stop

    whole, again = network(), network()
    fit(whole, Classification(), *parts, SETTINGS, seed=0, device=CPU)
    assert whole.head.classifier.length == 9  # 3 epochs of 12 samples in batches of 4
    with pytest.raises(Stop):
        fit(network(), Classification(), *parts, SETTINGS, seed=0, device=CPU, folder=tmp_path, on_epoch=stop)
    fit(again, Classification(), *parts, SETTINGS, seed=0, device=CPU, folder=tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_F6_other_lengths_are_other_trainings(parts: tuple[VolumeSet, VolumeSet], tmp_path: Path) -> None:
    """With a constant learning rate more epochs continue a training, unless its margin depends on their number."""
    settings = replace(SETTINGS, schedule="constant")
    for schedule, folders in (("steps", 1), ("relative", 2)):
        space = NASLungSpace(schedule=schedule)
        problem, context = problem_of(space, {"auc": "maximize"}), context_in(tmp_path / schedule, *parts)
        for budget in (1, 2):
            Train(settings).evaluate(Proposal(space.from_stages(STAGES), budget), problem, context)
        assert len(list((tmp_path / schedule).iterdir())) == folders


def test_F6_a_supernet_states_its_length_to_its_networks() -> None:
    space = NASLungSpace(widths=(4,), max_depth=3, schedule="relative")
    supernet = SharedSupernet(space)
    assert supernet.depends_on_length
    announce_length(supernet, 40)
    assert supernet.subnetwork(space.from_stages(STAGES)).head.classifier.length == 40
    assert not SharedSupernet(NASLungSpace(widths=(4,), max_depth=3)).depends_on_length
