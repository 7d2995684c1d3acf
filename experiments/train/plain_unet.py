"""The plain U-Nets beside a segmentation network: of equal cost, and at their own size.

Source: the rules of nnU-Net for depth and widths, Isensee et al., Nature Methods 18:203, 2021 (arXiv 1904.08128).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from nas.artifact import Artifact
from nas.context import TaskSetup
from nas.cost.profile import profile
from nas.errors import NASError
from nas.retraining.result import TrainResult
from nas.retraining.verdict import PairedDifference
from search_spaces.unet import UNetSpace
from search_spaces.unet_family import UNetFamily

NAMES = {"equal_cost": "plain U-Net, equal cost", "own_size": "plain U-Net, own size"}
SECOND = {"equal_cost": "the plain U-Net of equal cost", "own_size": "the plain U-Net at its own size"}
CHOICES = {"both": tuple(NAMES), "equal_cost": ("equal_cost",), "own_size": ("own_size",), "None": ()}
PLAIN = ("unet/plain-3d", "unet/plain-2d")
SMALLEST_SIDE = 4  # voxels, of the map at the lowest resolution, as in nnU-Net
EQUAL = 0.1  # largest relative difference of MACs that are called equal
CLOSE = 0.01  # relative difference at which the search of a width ends
STEPS = 8  # halvings of the interval of growths
log = logging.getLogger(__name__)


def plain_unets(setting: TaskSetup, networks: Sequence[Artifact], wanted: object) -> list[tuple[Artifact, str]]:
    """Return the plain U-Nets that stand beside networks in a table.

    One that cannot be made for these data is left out with a warning.

    Args:
        setting: Data, task and device.
        networks: The networks; for other tasks than segmentation, and beside a plain U-Net itself, there are none.
        wanted: The setting `baselines.plain_unet`: "both", "equal_cost", "own_size", None or false.

    Returns:
        U-Nets with their names in the table, without any that is among the networks.

    Raises:
        NASError: If the setting is none of these.
    """
    if (choice := str(wanted or None)) not in CHOICES:
        expected = "both, equal_cost, own_size or null"
        raise NASError(f"baselines.plain_unet={choice}", expected, "set baselines.plain_unet to one of these")
    if setting.task.spec.kind != "segmentation" or all(one.provenance.published in PLAIN for one in networks):
        return []
    known, found = {network.arch.id for network in networks}, []
    for key in CHOICES[choice]:
        try:
            unet = PlainUNets(setting, networks).of(key)
        except NASError as error:
            log.warning("no row for the %s: %s", NAMES[key], error)
            continue
        if unet.arch.id not in known:
            known.add(unet.arch.id)
            found.append((unet, NAMES[key]))
    return found


def verdict(result: TrainResult, first: str) -> str:
    """State whether a network is better than the plain U-Nets of its table.

    Args:
        result: The result of the training.
        first: Name of the network within a sentence.

    Returns:
        One sentence on the U-Net of equal cost, with the paired difference and its 95 % interval, and the paired
        difference to the one at its own size; "" without a plain U-Net.
    """
    if not result.columns:
        return ""
    metric = result.columns[0]
    sentences: list[str] = []
    for key, second in SECOND.items():
        if difference := result.differences.get(NAMES[key], {}).get(metric.name):
            found = PairedDifference(metric, difference["value"], difference["ci95"])
            if sentences:
                sentences.append(f"The difference to {second} is {found.text}: {found.verdict.value}.")
            else:
                sentences.append(found.sentence(first, second))
    text = " ".join(sentences)
    return text[:1].upper() + text[1:]


@dataclass(frozen=True)
class PlainUNets:
    """Plain U-Nets for the data of a training.

    They are `unet/plain-3d`, in 2D `unet/plain-2d`, with as many levels as the sides of the images allow. The one of
    equal cost has another width at full resolution and another growth of the widths, so that its MACs are those of the
    networks that it is compared with. They have deep supervision if these have it, and if the task has a weight for
    each of their outputs.

    Args:
        setting: Data, task and device.
        networks: The networks; a list is an ensemble, whose MACs add up.
    """

    setting: TaskSetup
    networks: Sequence[Artifact]

    def of(self, key: str) -> Artifact:
        """Return a plain U-Net.

        Args:
            key: "equal_cost" or "own_size".

        Returns:
            The network.

        Raises:
            NASError: If the sides of the images cannot be halved, or no width gives equal cost.
        """
        return self._of_equal_cost() if key == "equal_cost" else self._artifact({})

    @cached_property
    def depth(self) -> int:
        """Halvings of the resolution, as many as every image in training and inference allows."""
        setting = self.setting
        window = setting.task.inference.get("window")
        shapes = (setting.store.input_shape[1:], window or setting.store.sample_shape[1:])
        sides = [tuple(map(int, shape)) for shape in shapes]
        depth = 0
        while self._halves(sides, depth + 1):
            depth += 1
        if depth == 0:
            raise NASError(
                f"images of {' x '.join(map(str, shapes[0]))} voxels for the plain U-Net",
                "sides that are multiples of 2, at least 8",
                "set baselines.plain_unet=null, or crop or pad the data (data.size, data.patch)",
            )
        return min(depth, 8)

    @cached_property
    def _of_axes(self) -> dict[str, Any]:
        """Strides and flat kernels of the networks, if they halve the axes one by one."""
        every = (network.space.space_of(network.arch) for network in self.networks)
        spaces = [space for space in every if isinstance(space, UNetFamily) and space.strides is not None]
        return {"strides": spaces[0].strides, "flat_axes": spaces[0].flat_axes} if spaces else {}

    def _halves(self, shapes: Sequence[tuple[int, ...]], depth: int) -> bool:
        """Whether every side can be halved so often and keeps some voxels at the bottom."""
        strides = self._of_axes.get("strides")
        if strides is not None and depth > len(strides):
            return False
        for shape in shapes:
            for axis, side in enumerate(shape):
                factor = 2**depth if strides is None else math.prod(stride[axis] for stride in strides[:depth])
                if side % factor or (factor > 1 and side < SMALLEST_SIDE * factor):
                    return False
        return True

    def _of_equal_cost(self) -> Artifact:
        """Search a width near that of equal cost, then the growth of the widths."""
        target = sum(self._macs(network) for network in self.networks)
        own = self.of("own_size")
        its = self._macs(own)
        if abs(its / target - 1) <= CLOSE:
            return own
        widths = own.space.arguments["widths"]
        width = math.floor(widths[0] * math.sqrt(target / its))
        best, least = own, math.inf
        starts = [(self.depth, first) for first in (width, width + 1, width + 2, width - 1)]
        starts += [(self.depth - 1, first) for first in (width, width + 1)] * (
            self.depth > 1
        )  # for very small networks
        for depth, first in starts:
            low, high = 1.0, 3.0
            for _ in range(STEPS if 1 <= first <= 1024 else 0):
                if least <= CLOSE:
                    return best
                growth = (low + high) / 2
                found = self._artifact({"depths": (depth,), "scale": first / widths[0], "growth": growth})
                macs = self._macs(found)
                low, high = (growth, high) if macs < target else (low, growth)
                if abs(macs / target - 1) < least:
                    best, least = found, abs(macs / target - 1)
        if least > EQUAL:
            raise NASError(
                f"no plain U-Net within {EQUAL:.0%} of {target:.3g} MACs",
                "one of 1 to 1024 channels at full resolution",
                "baselines.plain_unet=own_size, or null",
            )
        return best

    def _macs(self, network: Artifact) -> int:
        with torch.device("meta"):
            built = network.build(self.setting.task.spec)
        return profile(built, (1, *self.setting.store.input_shape)).macs

    def _artifact(self, changes: Mapping[str, object]) -> Artifact:
        spec = self.setting.task.spec
        point = UNetSpace.published[f"plain-{spec.dims}d"]
        own = {**point.arguments, "depths": (self.depth,), **changes}
        levels = own["depths"][0]
        for name, count in (("strides", levels), ("flat_axes", levels + 1)):
            if (of_axes := self._of_axes.get(name)) is not None:
                own[name] = of_axes[:count]
        spaces = (network.space.space_of(network.arch) for network in self.networks)
        deep = any(getattr(space, "deep_supervision", False) for space in spaces)
        weights = self.setting.task.settings.get("scale_weights")  # those of the networks, which may have fewer outputs
        own["deep_supervision"] = deep and (weights is None or len(weights) >= own["depths"][0])
        space = UNetSpace(**own)
        return Artifact(space, space.architecture(point.genes), spec)
