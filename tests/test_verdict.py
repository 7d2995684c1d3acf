"""The verdict on a paired difference."""

import pytest

from nas.metrics.metric import Metric
from nas.retraining.verdict import PairedDifference, Verdict

DICE = Metric("dice", "Dice")
DISTANCE = Metric("hd95", "HD95", unit="mm", direction="minimize", digits=1)


@pytest.mark.parametrize(
    ("metric", "bounds", "expected"),
    [
        (DICE, (0.01, 0.03), Verdict.BETTER),
        (DICE, (-0.03, -0.01), Verdict.WORSE),
        (DICE, (-0.01, 0.03), Verdict.NOISE),
        (DICE, (0.0, 0.03), Verdict.NOISE),
        (DICE, (float("nan"), float("nan")), Verdict.NOISE),
        (DISTANCE, (0.5, 1.0), Verdict.WORSE),
        (DISTANCE, (-1.0, -0.5), Verdict.BETTER),
    ],
)
def test_an_interval_without_zero_is_a_verdict_in_the_direction_of_the_metric(metric, bounds, expected):
    assert PairedDifference(metric, sum(bounds) / 2, bounds).verdict is expected


def test_sentences_name_both_systems_the_difference_and_its_unit():
    near = PairedDifference(DICE, 0.02, (-0.01, 0.05)).sentence("the ensemble", "the U-Net")
    assert near == "The difference in Dice of the ensemble and the U-Net is within noise (+0.020 [-0.010, +0.050])."
    far = PairedDifference(DISTANCE, -0.8, (-1.0, -0.5)).sentence("The ensemble", "the U-Net")
    assert far == "The ensemble is better than the U-Net in HD95 (-0.8 mm [-1.0, -0.5])."
