"""Changes of intensities: against MONAI's where it has them, and within the ranges that are stated."""

from __future__ import annotations

import pytest
import torch
from monai.transforms.intensity.array import AdjustContrast

from nas.data.transforms.augment import Augment
from nas.data.transforms.intensity_changes import changed_intensities, raised

OFF = {"gamma": 0.0, "contrast": 0.0, "brightness": 0.0, "noise": 0.0}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def volumes() -> torch.Tensor:
    return torch.randn((40, 2, 6, 8, 10), generator=seeded(9)) * 1.5 + 0.3


def changed(x_BCDHW: torch.Tensor, **amounts: float) -> torch.Tensor:
    return changed_intensities(x_BCDHW, **(OFF | amounts), generator=seeded())


@pytest.mark.parametrize("power", [0.5, 1.0, 1.7])
def test_a_power_is_that_of_monai(power: float) -> None:
    x = volumes()[:3]
    out = raised(x, torch.full((3, 2, 1, 1, 1), power))
    for before, after in zip(x.flatten(0, 1), out.flatten(0, 1), strict=True):
        torch.testing.assert_close(after, torch.as_tensor(AdjustContrast(power)(before)), atol=1e-5, rtol=1e-5)


def test_a_channel_of_one_value_stays() -> None:
    x = torch.full((1, 1, 2, 2, 2), 3.0)
    assert torch.equal(raised(x, torch.full((1, 1, 1, 1, 1), 2.0)), x)


def test_gamma_keeps_the_range_and_the_order_of_intensities() -> None:
    x = volumes()
    out = changed(x, gamma=0.5)
    torch.testing.assert_close(out.amin((2, 3, 4)), x.amin((2, 3, 4)))
    torch.testing.assert_close(out.amax((2, 3, 4)), x.amax((2, 3, 4)), atol=1e-5, rtol=1e-5)
    places = x.flatten(2).argsort(-1)
    assert (out.flatten(2).gather(2, places).diff(dim=-1) >= -1e-6).all()
    # the power, read back from the median voxel, lies between 1 / 1.5 and 1.5, on both sides of 1
    low, high, middle = x.amin((2, 3, 4)), x.amax((2, 3, 4)), places[..., 240:241]
    share, became = ((v.flatten(2).gather(2, middle)[..., 0] - low) / (high - low) for v in (x, out))
    powers = became.log() / share.log()
    assert 1 / 1.5 - 1e-3 <= powers.min() < 0.8
    assert 1.2 < powers.max() <= 1.5 + 1e-3


def test_contrast_scales_differences_from_the_mean_of_each_channel() -> None:
    x = volumes()
    out = changed(x, contrast=0.25)
    torch.testing.assert_close(out.mean((2, 3, 4)), x.mean((2, 3, 4)), atol=1e-5, rtol=1e-5)
    factors = out.std((2, 3, 4)) / x.std((2, 3, 4))
    assert 0.75 - 1e-4 <= factors.min() < 0.85
    assert 1.15 < factors.max() <= 1.25 + 1e-4


def test_brightness_adds_one_number_to_each_channel() -> None:
    x = volumes()
    added = (changed(x, brightness=0.2) - x).flatten(2)
    assert (added.amax(-1) - added.amin(-1)).max() < 1e-5
    assert -0.2 - 1e-5 <= added.min() < -0.1
    assert 0.1 < added.max() <= 0.2 + 1e-5


def test_noise_has_at_most_its_deviation() -> None:
    x = volumes()
    deviations = (changed(x, noise=0.1) - x).std((2, 3, 4))
    assert deviations.min() < 0.03
    assert 0.08 < deviations.max() < 0.11


def test_what_is_0_changes_nothing_and_draws_differ_by_channel_and_repeat_with_the_seed() -> None:
    x = volumes()
    everything = {"gamma": 0.5, "contrast": 0.25, "brightness": 0.2, "noise": 0.1}
    assert torch.equal(changed(x), x)
    assert torch.equal(changed(x, **everything), changed(x, **everything))
    alike = changed(x[:1, :1].expand(40, 2, -1, -1, -1), **everything).flatten(0, 1)
    assert len(alike.flatten(1).unique(dim=0)) == 80


def test_in_an_augmentation_masks_and_the_other_draws_stay() -> None:
    x, mask = volumes(), torch.randint(0, 3, (40, 6, 8, 10), generator=seeded(3))
    plain = Augment(flip=(0, 1, 2), shift=2, rotate=10, scale=0.1)
    more = Augment(flip=(0, 1, 2), shift=2, rotate=10, scale=0.1, contrast=0.25)
    (x_plain, y_plain), (x_more, y_more) = (augment.with_mask(x, mask, seeded()) for augment in (plain, more))
    assert torch.equal(y_plain, y_more)
    centred = [v - v.mean((2, 3, 4), keepdim=True) for v in (x_plain, x_more)]
    cosines = torch.cosine_similarity(*(v.flatten(2) for v in centred), dim=-1)
    torch.testing.assert_close(cosines, torch.ones_like(cosines))
    assert not torch.allclose(x_plain, x_more)
    slices = Augment(brightness=0.2)(x[:, :, 0], seeded())
    assert slices.shape == x[:, :, 0].shape
    assert not torch.equal(slices, x[:, :, 0])
