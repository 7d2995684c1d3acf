"""Reading of trained supernets."""

from __future__ import annotations

from pathlib import Path

from nas.data.loading import VolumeSet
from nas.errors import NASError
from nas.space import SearchSpace
from nas.supernets.base import SharedWeights
from nas.supernets.elastic import ElasticSupernet
from nas.supernets.shared import supernet_of
from nas.task_spec import TaskSpec
from nas.training.loop import describe_subset
from nas.training.tensor_file import UNREADABLE, load_verified

PICTURE = "picture.html"  # file of a training, for its report
FOLDER = "supernet"  # folder of a supernet, beside the checkpoints of the evaluations


def network_name(space: SearchSpace) -> str:
    """Return the name of a space's supernet in checkpoints.

    Args:
        space: Space of the supernet.

    Returns:
        A name with the fingerprint of the space.
    """
    return f"supernet of {space.fingerprint}"


def elastic_name(space: SearchSpace) -> str:
    """Return the name of a space's elastic supernet in checkpoints.

    Args:
        space: Space of the supernet.

    Returns:
        A name with the fingerprint of the space.
    """
    return f"elastic supernet of {space.fingerprint}"


def load_supernet(path: Path, space: SearchSpace, task: TaskSpec, train: VolumeSet | None = None) -> SharedWeights:
    """Load a trained supernet.

    Args:
        path: last.pt of its training.
        space: Space of the supernet.
        task: Task that it was trained for.
        train: Training samples. If None, the samples that it was trained on are not checked.

    Returns:
        The supernet on the CPU.

    Raises:
        NASError: If there is no checkpoint, or it is damaged or belongs to another space, task or training samples.
    """
    try:
        state = load_verified(path)
        network, trained_on = str(state["identity"]["network"]), str(state["identity"]["train"])
    except UNREADABLE as error:
        raise NASError(
            f"no supernet that can be read at {path} ({type(error).__name__})",
            "last.pt of a trained supernet",
            "set supernet to outputs/<study>/checkpoints/supernet/last.pt of a search with strategy=differentiable or "
            "strategy=elastic",
        ) from error
    elastic = network.startswith(f"{elastic_name(space)},")
    if not elastic and not network.startswith(f"{network_name(space)},"):
        raise NASError(
            f"a {network} in {path}",
            f"a {network_name(space)}",
            "set supernet to the checkpoint of a search on this space",
        )
    if train is not None and trained_on != describe_subset(train):
        raise NASError(
            f"a supernet trained on samples={trained_on}",
            f"samples={describe_subset(train)}",
            "set data and split as in the search",
        )
    supernet = ElasticSupernet(space, task) if elastic else supernet_of(space, task)
    try:
        supernet.load_state_dict(state["supernet"])
    except RuntimeError as error:
        raise NASError(
            f"a supernet in {path} with weights of other sizes",
            f"a supernet for {task}",
            "set supernet to the checkpoint of a search with the same numbers of channels and classes",
        ) from error
    return supernet
