"""Rules of plans: what follows from the facts of a data set, and the file of a plan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.planning import reference_network
from nas.errors import NASError
from nas.planning import Decision, Limits, Plan
from nas.planning.classification import MULTIPLE, grid, plan_classification
from nas.planning.cropping import LEFT_OUT, middle_box_of_labels, reaches_of
from nas.planning.plan import in_grammar, in_yaml
from nas.planning.reading import PER_CASE, _sampled
from nas.planning.rules import flips_for, folds_for
from nas.planning.segmentation import plan_segmentation
from nas.planning.suspicious import pairs_of, suspicious
from nas.planning.topology import LEAST_SIDE, halved, smaller, target_spacing
from tests.plans import MACHINE, Computed, case, classification, segmentation

SIDES = st.tuples(*[st.integers(4, 400)] * 3)
SPACINGS = st.tuples(*[st.floats(0.3, 8.0)] * 3)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(-1e9, 1e9) | TEXTS,
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(SIDES, SPACINGS)
@settings(max_examples=100, deadline=None)
def test_patches_are_the_smallest_multiples_of_the_pooling(sides: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    found = halved(sides, spacing)
    for side, rounded, divisor in zip(sides, found.patch, found.divisors, strict=True):
        assert rounded % divisor == 0
        assert side <= rounded < side + divisor
        assert divisor == 1 or rounded // divisor >= LEAST_SIDE or found.strides == ((2, 2, 2),)
    assert len(found.flat_axes) == found.depth + 1
    assert all(max(stride) == 2 for stride in found.strides)


@given(SIDES, SPACINGS, st.tuples(*[st.integers(1, 30)] * 3))
@settings(max_examples=100, deadline=None)
def test_patches_stay_within_the_stored_volumes(
    sides: tuple[int, ...], spacing: tuple[float, ...], more: tuple[int, ...]
) -> None:
    room = [side + one for side, one in zip(sides, more, strict=True)]
    found = halved(sides, spacing, room)
    for side, largest, divisor in zip(found.patch, room, found.divisors, strict=True):
        assert side <= largest
        assert side % divisor == 0


@given(SIDES, SPACINGS)
@settings(max_examples=20, deadline=None)
def test_a_patch_can_be_shortened_to_an_end(sides: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    found, before = halved(sides, spacing), math.inf
    for _ in range(1000):
        assert math.prod(found.patch) < before
        before = math.prod(found.patch)
        shorter = smaller(found, sides, spacing)
        if shorter is None:
            return
        found = shorter
    raise AssertionError("no end")


def test_tiny_volumes_are_enlarged_and_halved_once() -> None:
    found = halved((3, 5, 6), (1.0, 1.0, 1.0))
    assert (found.patch, found.strides) == ((4, 6, 6), ((2, 2, 2),))


def test_the_coarsest_axis_of_thick_slices_is_refined_and_halved_last() -> None:
    spacings = np.array([[z, 0.8, 0.8] for z in (3.0, 4.0, 5.0, 6.0, 7.0)])
    spacing, refined = target_spacing(spacings, np.full((5, 3), (30, 512, 512)))
    assert refined
    assert spacing == (pytest.approx(3.4), 0.8, 0.8)
    found = halved((28, 256, 256), spacing)
    assert found.strides[0] == (1, 2, 2)
    assert found.flat_axes[0] == (0,)
    assert found.flat_axes[-1] == ()
    many, refined = target_spacing(spacings, np.full((5, 3), (300, 512, 512)))  # as many slices as rows: no thick ones
    assert not refined
    assert many == (5.0, 0.8, 0.8)


def test_classes_that_lie_opposite_forbid_the_flip_of_their_axis() -> None:
    cases = [case(f"case {number}") for number in range(20)]
    fingerprint = segmentation(cases)
    (pair,) = pairs_of(fingerprint)
    assert (pair.axis, pair.first, pair.second) == (1, "one", "two")
    plan = plan_segmentation(fingerprint, MACHINE, Computed())
    assert plan.value("training.augment.flip") == [0, 2]
    assert plan.value("task.flips", "train") == [0, 2]
    turned = segmentation([*cases[:19], case("swapped", centres=((0.5, 0.7, 0.5), (0.5, 0.3, 0.5)))])
    assert pairs_of(turned)[0].reversed == ("swapped",)
    assert "against all others" in suspicious(turned)["swapped"]


def test_classes_without_an_order_or_of_other_sizes_may_be_mirrored() -> None:
    mixed = [
        case(str(n), centres=((0.5, 0.3 + 0.4 * (n % 2), 0.5), (0.5, 0.7 - 0.4 * (n % 2), 0.5))) for n in range(20)
    ]
    assert pairs_of(segmentation(mixed)) == []
    organ = [case(str(n), voxels=(60000, 20000, 300)) for n in range(20)]
    assert pairs_of(segmentation(organ)) == []
    assert flips_for(segmentation(organ), {})[0] == [0, 1, 2]


@pytest.mark.parametrize("voxels", [5, 10_000, 19_999, 29_999, 100_001])
def test_sampled_intensities_are_of_the_whole_volume(voxels: int) -> None:
    found_CV = _sampled(np.arange(voxels)[None])
    assert found_CV.shape[1] <= PER_CASE
    assert found_CV[0, 0] == 0
    assert found_CV[0, -1] >= voxels - voxels / PER_CASE - 1


def test_cases_that_differ_are_named() -> None:
    cases = [case(f"case {number}") for number in range(20)]
    odd = [
        case("coarse", spacing=(1.0, 1.0, 4.0)),
        case("empty", voxels=(60000, 0, 1600)),
        case("huge", voxels=(60000, 1700, 60000)),
    ]
    found = suspicious(segmentation([*cases * 3, *odd]))
    assert set(found) == {"coarse", "empty", "huge"}
    assert "voxels of 1 x 1 x 4 mm" in found["coarse"]
    assert "no one" in found["empty"]


def test_more_time_gives_wider_networks_and_less_memory_smaller_patches() -> None:
    fingerprint = segmentation([case(str(n), (120, 160, 120)) for n in range(50)])
    plans = [plan_segmentation(fingerprint, Limits(hours * 3600, 64 * 10**9), Computed()) for hours in (1, 8, 200)]
    widths = [plan.reference["width0"] for plan in plans]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1] == 32
    tight = plan_segmentation(fingerprint, Limits(200 * 3600, 10**9), Computed())
    assert math.prod(tight.value("data.patch")) < math.prod(plans[-1].value("data.patch"))
    for plan in (*plans, tight):
        assert plan.value("training.batch_size") >= 2
        assert plan.value("training.epochs", "train") >= plan.value("training.epochs", "search") >= 4
        assert plan.value("task.window") == plan.value("data.patch")


def test_short_trials_keep_every_class_in_the_loss() -> None:
    fingerprint = segmentation([case(str(n)) for n in range(208)])
    plans = [plan_segmentation(fingerprint, Limits(hours * 3600, 64 * 10**9), Computed()) for hours in (1 / 6, 8)]
    assert [plan.value("task.class_weights") for plan in plans] == [[0.2, 1.0], None]
    assert [plan.value("task.batch_dice") for plan in plans] == [True, False]


def test_time_is_measured_on_the_network_of_the_plan() -> None:
    machine = Computed()
    plan = plan_segmentation(segmentation([case(str(n)) for n in range(208)]), MACHINE, machine)
    last = machine.timed[-1]
    assert last.genes == plan.reference
    assert list(last.shape) == plan.value("data.patch") == [40, 56, 40]
    assert last.batch == plan.value("training.batch_size")


def test_volumes_of_ct_are_scaled_by_the_training_part() -> None:
    cases = [case(str(n)) for n in range(10)]
    assert plan_segmentation(segmentation(cases, ["CT"]), MACHINE, Computed()).value("data.normalise") == "training"
    assert plan_segmentation(segmentation(cases), MACHINE, Computed()).value("data.normalise") == "volume"


def test_few_cases_have_fewer_folds() -> None:
    assert folds_for(segmentation([case(str(n)) for n in range(50)]))[0] == 5
    assert folds_for(segmentation([case(str(n)) for n in range(7)]))[0] == 3


def test_folds_are_counted_in_patients_of_the_rarest_class() -> None:
    """60 of 100 cases have the class b, but they are of six patients, which five folds could not share."""
    cases = [
        replace(case(str(n), (28, 28, 28), label=int(n < 60)), patient=f"p{n // 10 if n < 60 else n}")
        for n in range(100)
    ]
    fingerprint = classification(cases)
    assert fingerprint.patients_K.tolist() == [40, 6]
    assert folds_for(fingerprint)[0] == 3
    with_one = [replace(case(str(n)), voxels_K=np.array([60000, 1700, 1600 * (n in (2, 3))])) for n in range(20)]
    assert segmentation(with_one).patients_K.tolist() == [20, 20, 2]


@pytest.mark.parametrize(("of_two", "message"), [((), "two in 0 of 20"), ((1, 4), "two in 2 of 20"), (range(20), "")])
def test_classes_that_no_split_can_share_are_refused_before_anything_is_timed(
    of_two: Sequence[int], message: str
) -> None:
    few = segmentation(
        [replace(case(str(n)), voxels_K=np.array([60000, 1700, 1600 * (n in of_two)])) for n in range(20)]
    )
    machine = Computed()
    if not message:
        assert plan_segmentation(few, MACHINE, machine).value("split.folds") == 5
        return
    with pytest.raises(NASError, match=message):
        plan_segmentation(few, MACHINE, machine)
    assert not machine.timed
    labels = [case(str(n), (28, 28, 28), label=int(n in of_two)) for n in range(20)]
    with pytest.raises(NASError, match=message.replace("two", "b")):
        plan_classification(classification(labels), MACHINE, machine)
    plan_classification(classification(labels, folds=3), MACHINE, machine)  # the csv states the parts


def test_a_classification_sees_whole_volumes_or_crops_around_points() -> None:
    cases = [case(str(n), (28, 28, 28), label=int(n % 5 == 0), least=-1000.0) for n in range(100)]
    spacing, size, _ = grid(classification(cases))
    assert spacing == (1.0, 1.0, 1.0)
    assert size == (28, 28, 28)
    plan = plan_classification(classification(cases), MACHINE, Computed())
    assert plan.value("training.sampler") == "balanced"  # 20 against 80
    assert plan.value("task.threshold", "train") == "validation"
    assert plan.value("data.window") is not None  # values of air: CT
    assert plan.value("split") == "by_patient"
    large = [case(str(n), (100, 512, 512), (2.5, 0.7, 0.7), label=n % 2) for n in range(40)]
    spacing, size, _ = grid(classification(large))
    assert max(size) <= 64
    assert all(side % MULTIPLE == 0 for side in size)
    assert all(side * mm >= 0.99 * whole for side, mm, whole in zip(size, spacing, (250, 358.4, 358.4), strict=True))
    stated = plan_classification(classification(cases, folds=3), MACHINE, Computed())
    assert stated.value("space") == "resnet3d"
    assert stated.value("split") == "given"
    assert stated.value("split.folds") is None


def test_crops_around_points_of_a_ct_are_twice_as_large_as_their_objects() -> None:
    cases = [
        replace(case(str(n), (100, 512, 512), (2.5, 0.7, 0.7), label=n % 2, least=-1024.0), object_mm3=4188.8)
        for n in range(60)
    ]
    fingerprint = replace(classification(cases), points=True)
    spacing, size, _ = grid(fingerprint)
    assert spacing == (0.7, 0.7, 0.7)
    assert size == (64, 64, 64)  # at least 40 mm, for balls of 20 mm
    plan = plan_classification(fingerprint, MACHINE, Computed())
    assert plan.value("space") == "naslung"
    assert plan.value("data.centre") == "point"
    assert reference_network(plan).build()(torch.zeros(2, 1, *size)).shape == (2, 2)


def test_volumes_of_one_scale_share_their_window() -> None:
    cases = [replace(case(str(n), (28, 28, 28), label=n % 2), most_C=np.array([255.0])) for n in range(40)]
    assert plan_classification(classification(cases), MACHINE, Computed()).value("data.window") == [0.0, 255.0]
    other = [case("1" * (n + 1), (28, 28, 28), label=n % 2) for n in range(40)]
    assert plan_classification(classification(other), MACHINE, Computed()).value("data.window") is None


@given(VALUES)
@settings(max_examples=100, deadline=None)
def test_values_survive_yaml_and_the_command_line(value: Any) -> None:
    assert yaml.safe_load(f"{{a: {in_yaml(value)}}}") == {"a": value}
    parsed = OverridesParser.create().parse_override(f"key={in_grammar(value)}").value()
    assert _plain(parsed) == _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return str(value) if type(value).__name__ == "QuotedString" else value


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    plan = plan_segmentation(segmentation([case(str(n)) for n in range(20)]), MACHINE, Computed())
    plan.write(tmp_path / "plan.yaml")
    found = Plan.read(tmp_path / "plan.yaml")
    for decisions in (found.decisions, plan.decisions):
        assert len({(one.command, one.key) for one in decisions}) == len(decisions)
    assert set(map(repr, found.decisions)) == set(map(repr, plan.decisions))
    assert dict(found.reference) == dict(plan.reference)
    assert found.fingerprint["cases"] == 20
    for command in ("search", "train"):
        assert found.overrides(command) == plan.overrides(command)
        keys = [one.partition("=")[0] for one in plan.overrides(command)]
        assert keys[: keys.index("data.root")] == ["data", "space", "task"]  # groups come before their settings
    text = (tmp_path / "plan.yaml").read_text()
    assert all(f"  # {one.reason}\n" in text for one in plan.decisions)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("- 1", "which is no plan"),
        ("plan: 2", "which is no plan"),
        ("plan: 1\ndecisons: {}", "decisons"),
        ("plan: 1\ndecisions: 3", "holds no settings"),
        ("plan: 1\ndecisions: {'a b': 3}", "the key"),
        ("plan: 1\ndecisions: {a: [}", "cannot be read"),
        (
            "plan: 1\ndecisions:\n  training.lr: 0.1\n  seed: 1\n  training.lr: 0.2",
            "training.lr twice, again in line 5",
        ),
        ("plan: 1\ndecisions: {}\ndecisions: {}", "decisions twice"),
        ("plan: 1\ndecisions: {}", "task: null"),
        ("plan: 1\ntask: segmentations", "task: segmentations"),
    ],
)
def test_a_file_that_is_no_plan_is_refused(tmp_path: Path, content: str, word: str) -> None:
    (tmp_path / "plan.yaml").write_text(content)
    with pytest.raises(NASError, match=word):
        Plan.read(tmp_path / "plan.yaml")


def test_numbers_are_read_as_in_configurations(tmp_path: Path) -> None:
    lines = ["plan: 1", "task: segmentation", "train:", "  a: 1e-3", "  b: [-1E3, 2.5e+2]", "  c: '1e-3'", "  d: 1e3x"]
    (tmp_path / "plan.yaml").write_text("\n".join(lines))
    found = Plan.read(tmp_path / "plan.yaml")
    assert [one.value for one in found.decisions] == [0.001, [-1000.0, 250.0], "1e-3", "1e3x"]
    found.write(tmp_path / "again.yaml")
    assert Plan.read(tmp_path / "again.yaml") == found


def test_settings_of_one_command_replace_those_of_both() -> None:
    both = [Decision("training.epochs", 50, ""), Decision("data", "msd", "")]
    plan = Plan("segmentation", {}, [*both, Decision("training.epochs", 5, "", "search")])
    assert plan.overrides("search") == ["data=msd", "training.epochs=5"]
    assert plan.overrides("train") == ["data=msd", "training.epochs=50"]


@given(st.integers(0, 10**6), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_the_box_around_the_labels_holds_nearly_all_of_them(seed: int, divisor: int) -> None:
    rng = np.random.default_rng(seed)
    masks, cases = [], []
    for number in range(int(rng.integers(1, 4))):
        shape = tuple(int(side) for side in rng.integers(4, 24, 3))
        mask_DHW = (rng.random(shape) < rng.choice([0.02, 0.3])).astype(np.uint8)
        masks.append(mask_DHW)
        cases.append(replace(case(str(number), shape), reaches_A=reaches_of(mask_DHW)))
    if not any(mask.any() for mask in masks):
        return
    found = middle_box_of_labels(segmentation(cases), (1.0, 1.0, 1.0), (divisor,) * 3)
    assert found is not None
    sides, beyond = found
    inside = 0
    for mask_DHW in masks:
        room = [(max(0, side - whole) + 1) // 2 for side, whole in zip(sides, mask_DHW.shape, strict=True)]
        padded_DHW = np.pad(mask_DHW, [(one, one) for one in room])
        # a box with an odd number of voxels less is half a voxel off: the wider side is what the count is about
        low = [(whole - side) // 2 for side, whole in zip(sides, padded_DHW.shape, strict=True)]
        high = [-(-(whole - side) // 2) for side, whole in zip(sides, padded_DHW.shape, strict=True)]
        counts = [
            np.count_nonzero(padded_DHW[tuple(slice(at, at + side) for at, side in zip(start, sides, strict=True))])
            for start in (low, high)
        ]
        inside += max(counts)
    whole = sum(np.count_nonzero(mask) for mask in masks)
    assert all(side % divisor == 0 for side in sides)
    assert beyond <= 3 * LEFT_OUT
    assert inside >= whole * (1 - beyond) - 1e-6


def test_volumes_are_cropped_to_their_labels_if_the_time_is_short() -> None:
    mask_DHW = np.zeros((40, 64, 40), dtype=np.uint8)
    mask_DHW[12:28, 14:50, 10:30] = 1
    cases = [replace(case(str(n), mask_DHW.shape), reaches_A=reaches_of(mask_DHW)) for n in range(40)]
    long, short = (
        plan_segmentation(segmentation(cases), replace(MACHINE, seconds=seconds), Computed()) for seconds in (1e5, 10)
    )
    assert long.value("data.crop") is None
    assert long.value("data.patch") == [40, 64, 40]
    assert short.value("data.crop") == short.value("data.patch") == short.value("task.window") == [16, 40, 24]
    (crop,) = [one for one in short.decisions if one.key == "data.crop"]
    assert "all but 0 % of the labelled voxels" in crop.reason
    without = plan_segmentation(
        segmentation([replace(one, reaches_A=()) for one in cases]), replace(MACHINE, seconds=10), Computed()
    )
    assert without.value("data.crop") is None
    assert without.value("data.patch") == [40, 64, 40]
