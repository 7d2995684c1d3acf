"""One-stage detectors without anchors, on a backbone of another search space; in 2D and 3D."""

from __future__ import annotations

import importlib
import inspect
import itertools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from torch import nn

from nas.architecture import Architecture, Gene
from nas.errors import NASError
from nas.space import ENUMERATE_LIMIT, Published, SearchSpace
from nas.task_spec import TaskSpec
from nas.utils.checked import Channels, SomeOf, check_arguments, checked
from search_spaces.arguments import Increasing
from search_spaces.detector_network import Detector, stem_width
from search_spaces.unet import GROUPS

STEMS = (1, 2, 4)
BACKBONES = "search_spaces"  # the package whose spaces an arch.json may name as backbone


@checked("space")
class DetectorSpace(SearchSpace):
    """Every network of the space `backbone`, under a feature pyramid and a head (search_spaces/detector_network.py).

    backbone: class path of a space of `search_spaces` whose networks give feature maps (`SearchSpace.features`): a
    U-Net, or a classification network of NAS-Lung. settings: its arguments. Its genes come first; then stem (stride of
    the convolutions before it), pyramid (channels of pyramid and head) and head (convolutions), the last two ordered.
    Attributes: spatial_dims, those of the backbone. Sides of an image are multiples of the stem's stride and, divided
    by it, what the backbone takes. Raises NASError for arguments outside these ranges.
    """

    kind: ClassVar[str] = "detection"
    published: ClassVar[Mapping[str, Published]] = {
        "lung-slices": Published(
            genes=(0, 0, 0, 0, 0, 0, 0, 0, 0),
            arguments={
                "settings": {
                    "depths": (3,),
                    "widths": (8,),
                    "block_counts": (2,),
                    "kernels": (3,),
                    "norms": ("group",),
                    "ups": ("resize",),
                    "spatial_dims": 2,
                },
                "stems": (2,),
                "pyramids": (16,),
                "heads": (2,),
            },
            source="the network that experiments/lung_detector trains unless another is named",
        )
    }

    def __init__(
        self,
        backbone: str = "search_spaces.unet.UNetSpace",
        settings: Mapping[str, Any] | None = None,
        stems: Annotated[Sequence[int], SomeOf(*STEMS)] = (1, 2),
        pyramids: Annotated[Sequence[int], Increasing(GROUPS, 1024, GROUPS)] = (8, 16),
        heads: Annotated[Sequence[int], Increasing(1, 16)] = (1, 2),
        in_channels: Channels = 1,
        outputs: Channels = 1,
    ) -> None:
        self.backbone = backbone
        self._backbone = _space(backbone, settings or {})
        self.settings = self._backbone.arguments
        self.stems, self.pyramids, self.heads = tuple(stems), tuple(pyramids), tuple(heads)
        self.in_channels, self.outputs = in_channels, outputs
        self.spatial_dims = int(getattr(self._backbone, "spatial_dims", 3))
        self._own = (
            Gene("stem", self.stems),
            Gene("pyramid", self.pyramids, ordered=True),
            Gene("head", self.heads, ordered=True),
        )
        self.genes = (*self._backbone.genes, *self._own)

    def build(self, arch: Architecture, task: TaskSpec | None = None) -> nn.Module:
        if task is not None:
            task.require_dims(self.spatial_dims)
        channels, outputs = (self.in_channels, self.outputs) if task is None else (task.in_channels, task.outputs)
        stem, pyramid, head = (int(value) for value in self.values(arch)[-3:])
        backbone = self._backbone.features(self._of_backbone(arch.genes), stem_width(stem, channels))
        return Detector(self.spatial_dims, channels, stem, backbone, pyramid, head, outputs)

    def repair(self, genes: Sequence[int]) -> Architecture:
        own = [min(max(int(g), 0), len(gene.choices) - 1) for g, gene in zip(genes[-3:], self._own, strict=True)]
        return self._issue([*self._of_backbone(genes).genes, *own])

    def sample(self, rng: np.random.Generator) -> Architecture:
        own = [int(rng.integers(len(gene.choices))) for gene in self._own]
        return self._issue([*self._backbone.sample(rng).genes, *own])

    def enumerate(self) -> np.ndarray | None:
        backbones = self._backbone.enumerate()
        own = np.array(list(itertools.product(*(range(len(gene.choices)) for gene in self._own))), dtype=np.int16)
        if backbones is None or len(backbones) * len(own) > ENUMERATE_LIMIT:
            return None
        return np.hstack([np.repeat(backbones.astype(np.int16), len(own), axis=0), np.tile(own, (len(backbones), 1))])

    def describe(self, arch: Architecture) -> str:
        stem, pyramid, head = self.values(arch)[-3:]
        backbone = self._backbone.describe(self._of_backbone(arch.genes))
        lines = [f"stem     stride {stem}", f"backbone {type(self._backbone).__name__}"]
        lines += [f"  {line}" for line in backbone.splitlines()]
        lines += [f"pyramid  {pyramid} channels", f"head     {head} convolution(s): centre, score, box"]
        return "\n".join(lines)

    def _of_backbone(self, genes: Sequence[int]) -> Architecture:
        return self._backbone.repair(genes[:-3])


def _space(class_path: str, settings: Mapping[str, Any]) -> SearchSpace:
    """Only this package is imported from: a file must not make VoxNAS import what it names."""
    module, _, name = class_path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name) if module.startswith(f"{BACKBONES}.") else None
    except (ImportError, AttributeError):
        found = None
    if not (inspect.isclass(found) and issubclass(found, SearchSpace) and found is not DetectorSpace):
        raise NASError(
            f"space.backbone={class_path}",
            f"the class path of a space of {BACKBONES}",
            "for example space.backbone=search_spaces.unet.UNetSpace",
        )
    return found(**check_arguments(found, settings, "space.settings"))
