"""One-stage detectors without anchors, on a backbone of another search space; in 2D and 3D."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from torch import nn

from nas.architecture import Architecture, Gene
from nas.errors import NASError
from nas.published import Published
from nas.space import ENUMERATE_LIMIT, SearchSpace
from nas.task_spec import TaskSpec, channels_of
from nas.utils.annotations import Channels, SomeOf
from nas.utils.checked import check_arguments, checked
from nas.utils.locate import locate
from search_spaces.arguments import Increasing
from search_spaces.detector_network import Detector, stem_width
from search_spaces.unet_network import GROUPS

STEMS = (1, 2, 4)
BACKBONES = "search_spaces"  # the package whose spaces an arch.json may name as backbone


@checked("space")
class DetectorSpace(SearchSpace):
    """Every network of a backbone's space, with a feature pyramid and a head (search_spaces/detector_network.py).

    The genes of the backbone come first; then stem, pyramid and head, the last two ordered. Sides of an image are
    multiples of the stem's stride and, divided by it, valid sides of the backbone.

    Args:
        backbone: Class path of a space of `search_spaces` whose networks give feature maps (`SearchSpace.features`),
            such as `search_spaces.UNetSpace` or `search_spaces.NASLungSpace`.
        settings: Arguments of that space, or None for its defaults.
        stems: Choices of the stride of the convolutions before the backbone: 1, 2, 4.
        pyramids: Choices of the channels of pyramid and head, increasing multiples of 4.
        heads: Choices of the number of convolutions in the head, increasing, >= 1.
        in_channels: Channels of an image, >= 1.
        outputs: Classes of objects, >= 1.

    Attributes:
        spatial_dims: Spatial dimensions of the backbone.

    Raises:
        NASError: If an argument is out of range, or the backbone is not such a space.
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
            source="the default network of experiments/lung_detector",
            input_shape=(1, 512, 512),
        )
    }

    def __init__(
        self,
        backbone: str = "search_spaces.UNetSpace",
        settings: Mapping[str, Any] | None = None,
        stems: Annotated[Sequence[int], SomeOf(*STEMS)] = (1, 2),
        pyramids: Annotated[Sequence[int], Increasing(GROUPS, 1024, GROUPS)] = (8, 16),
        heads: Annotated[Sequence[int], Increasing(1, 16)] = (1, 2),
        in_channels: Channels = 1,
        outputs: Channels = 1,
    ) -> None:
        self._backbone = _make_backbone(backbone, settings or {})
        self.backbone = self._backbone.class_path  # the same for every name under which the class is exported
        self.settings = self._backbone.arguments
        self.stems, self.pyramids, self.heads = tuple(stems), tuple(pyramids), tuple(heads)
        self.in_channels, self.outputs = in_channels, outputs
        self.spatial_dims = self._backbone.spatial_dims
        self._head_genes = (
            Gene("stem", self.stems),
            Gene("pyramid", self.pyramids, ordered=True),
            Gene("head", self.heads, ordered=True),
        )
        self.genes = (*self._backbone.genes, *self._head_genes)

    def build(self, arch: Architecture, task: TaskSpec | None = None) -> nn.Module:
        """Build the network of an architecture.

        Args:
            arch: Architecture of this space.
            task: Task that sets the numbers of channels and outputs; if None, the space's own are used.

        Returns:
            A `Detector`.

        Raises:
            NASError: If the task has other spatial dimensions or the backbone gives no feature maps.
        """
        channels, outputs = channels_of(task, self.spatial_dims, (self.in_channels, self.outputs))
        stem, pyramid, head = (int(value) for value in self.values(arch)[-3:])
        backbone = self._backbone.features(self._of_backbone(arch.genes), stem_width(stem, channels))
        return Detector(self.spatial_dims, channels, stem, backbone, pyramid, head, outputs)

    def output_channels(self, task: TaskSpec) -> int:
        """Return the rows of a detector's output.

        Args:
            task: Task that the networks are for.

        Returns:
            Classes, centre, edges, and the coordinates and stride of the point, see nas/tasks/detection.py.
        """
        return task.outputs + 1 + 2 * task.dims + task.dims + 1

    def repair(self, genes: Sequence[int]) -> Architecture:
        """Return the nearest valid architecture: the backbone repaired by its space, the other genes clipped.

        Args:
            genes: G integers.

        Returns:
            Valid architecture.
        """
        clipped = [
            min(max(int(index), 0), len(gene.choices) - 1)
            for index, gene in zip(genes[-3:], self._head_genes, strict=True)
        ]
        return self._issue([*self._of_backbone(genes).genes, *clipped])

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw a backbone as its space does, and the other genes uniformly; genes with a prior are drawn by it.

        Args:
            rng: Source of randomness.

        Returns:
            Valid architecture.
        """
        drawn = [int(rng.integers(len(gene.choices))) for gene in self._head_genes]
        return self.follow_prior(self._issue([*self._backbone.sample(rng).genes, *drawn]), rng)

    def enumerate(self) -> np.ndarray | None:
        """Return the genes of all architectures (N, G), or None if there are more than `ENUMERATE_LIMIT`."""
        backbones = self._backbone.enumerate()
        heads = np.array(
            list(itertools.product(*(range(len(gene.choices)) for gene in self._head_genes))), dtype=np.int16
        )
        if backbones is None or len(backbones) * len(heads) > ENUMERATE_LIMIT:
            return None
        return np.hstack(
            [np.repeat(backbones.astype(np.int16), len(heads), axis=0), np.tile(heads, (len(backbones), 1))]
        )

    def describe(self, arch: Architecture) -> str:
        """Describe an architecture in words.

        Args:
            arch: Architecture of this space.

        Returns:
            Lines for stem, backbone, pyramid and head.
        """
        stem, pyramid, head = self.values(arch)[-3:]
        backbone = self._backbone.describe(self._of_backbone(arch.genes))
        lines = [f"stem     stride {stem}", f"backbone {type(self._backbone).__name__}"]
        lines += [f"  {line}" for line in backbone.splitlines()]
        lines += [f"pyramid  {pyramid} channels", f"head     {head} convolution(s): centre, score, box"]
        return "\n".join(lines)

    def _of_backbone(self, genes: Sequence[int]) -> Architecture:
        return self._backbone.repair(genes[:-3])


def _make_backbone(class_path: str, settings: Mapping[str, Any]) -> SearchSpace:
    """Make a space of this package. No other package is imported: an arch.json must not name code to run."""
    try:
        space = locate(class_path, SearchSpace, packages=(BACKBONES,))
    except NASError as error:
        raise _no_backbone(class_path) from error
    if issubclass(space, DetectorSpace):
        raise _no_backbone(class_path)
    return space(**check_arguments(space, settings, "space.settings"))


def _no_backbone(class_path: str) -> NASError:
    return NASError(
        f"space.backbone={class_path}",
        f"the class path of a space of {BACKBONES}",
        "set space.backbone to such a path, for example search_spaces.UNetSpace",
    )
