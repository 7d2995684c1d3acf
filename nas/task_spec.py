"""Properties of a task from which search spaces build networks; free of torch."""

from __future__ import annotations

from dataclasses import dataclass

from nas.errors import NASError


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """Properties of a task that a search space needs to build a network.

    Args:
        kind: "classification", "segmentation", "detection" or the kind of another task.
        dims: Spatial dimensions, 2 or 3.
        in_channels: Image channels.
        outputs: Number of classes, in a segmentation with the background.
    """

    kind: str = "classification"
    dims: int = 3
    in_channels: int = 1
    outputs: int = 2

    @property
    def channels(self) -> int:
        """Channels of a network's output (B, channels, ...): the classes; for detection see nas/tasks/detection.py."""
        return self.outputs + 3 * self.dims + 2 if self.kind == "detection" else self.outputs

    def require_dims(self, dims: int) -> None:
        """Check the spatial dimensions.

        Args:
            dims: Dimensions of the images that a space's networks take.

        Raises:
            NASError: If they differ from those of the task.
        """
        if self.dims != dims:
            raise NASError(
                f"a task of {self.dims} dimensions for a space of {dims}",
                "the same number of both",
                f"space.spatial_dims={self.dims}, or other data",
            )
