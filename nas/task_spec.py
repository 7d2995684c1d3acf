"""Properties of a task from which search spaces build networks; free of torch."""

from __future__ import annotations

from dataclasses import dataclass

from nas.errors import NASError

LONGEST_KIND = 100  # characters
MOST_CHANNELS, MOST_OUTPUTS = 4096, 65536
COLDEST, HOTTEST = 0.05, 20.0  # bounds of the temperature of predictions


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """Properties of a task that a search space needs to build a network.

    Args:
        kind: "classification", "segmentation", "detection" or the kind of another task.
        dims: Spatial dimensions, 2 or 3.
        in_channels: Image channels.
        outputs: Number of classes, in a segmentation with the background.

    Raises:
        NASError: For the first property of the wrong type or size.
    """

    kind: str = "classification"
    dims: int = 3
    in_channels: int = 1
    outputs: int = 2

    def __post_init__(self) -> None:
        """Check types and sizes: they may come from a file, and networks are built from them."""
        if not isinstance(self.kind, str) or not 0 < len(self.kind) <= LONGEST_KIND:
            raise NASError(f"task.kind={self.kind!r:.80}", "the name of a kind of task", "correct the kind")
        for name, least, most in (("dims", 2, 3), ("in_channels", 1, MOST_CHANNELS), ("outputs", 0, MOST_OUTPUTS)):
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise NASError(
                    f"task.{name}={value!r:.40}",
                    f"a whole number from {least} to {most}",
                    f"correct {name} of the task",
                )

    @property
    def text(self) -> str:
        """The properties in words, for messages."""
        channels = f"{self.in_channels} channel{'s' * (self.in_channels != 1)}"
        return f"{self.dims}D {self.kind} of {channels} with {self.outputs} outputs"


def channels_of(task: TaskSpec | None, dims: int, own: tuple[int, int]) -> tuple[int, int]:
    """Return the sizes with which a space builds its networks.

    Args:
        task: Task that the networks are for, or None.
        dims: Spatial dimensions of the space's networks.
        own: The space's own image channels and number of outputs, for networks without a task.

    Returns:
        Image channels and number of outputs.

    Raises:
        NASError: If the task has other spatial dimensions.
    """
    if task is None:
        return own
    if task.dims != dims:
        raise NASError(
            f"a task of {task.dims} dimensions for a space of {dims}",
            "the same number of both",
            f"choose other data, another space, or, if the space has it, space.spatial_dims={task.dims}",
        )
    return task.in_channels, task.outputs
