"""What a search space has to know of a task to build networks for it; free of torch."""

from __future__ import annotations

from dataclasses import dataclass

from nas.errors import NASError


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """What a search space must know to build a network.

    kind: "classification", "segmentation" or "detection". dims: spatial dimensions (2 or 3). in_channels: image
    channels. outputs: classes, of a segmentation with the background.
    """

    kind: str = "classification"
    dims: int = 3
    in_channels: int = 1
    outputs: int = 2

    @property
    def channels(self) -> int:
        """Of a network's output (B, channels, ...): classes, of a detection what nas/tasks/detection.py lists."""
        return self.outputs + 3 * self.dims + 2 if self.kind == "detection" else self.outputs

    def require_dims(self, dims: int) -> None:
        """Raises NASError where a space makes networks for images of other dimensions."""
        if self.dims != dims:
            raise NASError(
                f"a task of {self.dims} dimensions for a space of {dims}",
                "the same number of both",
                f"space.spatial_dims={self.dims}, or other data",
            )
