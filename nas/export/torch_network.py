"""Bundles run by torch through the interface of exported networks (`nas.inference.runtime`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.utils._pytree import tree_leaves

from nas.bundle import CPU, Bundle
from nas.export.choice import chosen_bundles
from nas.export.sides import free_sides
from nas.inference.runtime import InferenceNetwork
from nas.tasks.base import Task
from nas.tasks.temperature import at_temperature
from nas.tasks.views import one_view


class BundleNetwork(InferenceNetwork):
    """A trained network, run by torch.

    Args:
        bundle: The network with its weights.
        folder: Its folder, for messages.
        device: Device of the network.

    Attributes:
        task: Its task.
        artifact: Its architecture.
        model: The network as a module.
    """

    def __init__(self, bundle: Bundle, folder: Path, device: torch.device = CPU) -> None:
        self.model = bundle.network()
        sides = free_sides(self.model, [int(length) for length in bundle.spec.inputs[0].shape[1:]])
        self.model.to(device)
        self.task, self.artifact, self.device = bundle.task, bundle.artifact, device
        super().__init__(replace(bundle.spec, sides=sides), self._outputs, folder)

    def predict(self, x_BCDHW: np.ndarray) -> np.ndarray:
        """Predict as the task does, for a task of any kind.

        Args:
            x_BCDHW: A batch (B, C, D, H, W), in 2D (B, C, H, W), of sides that the network takes.

        Returns:
            (B, ...), the result of `Task.predict`.

        Raises:
            NASError: If channels are not those of the network.
        """
        return self._predict(self.task, x_BCDHW)

    def _predict(self, task: Task, x_BCDHW: np.ndarray) -> np.ndarray:
        self.require_input(x_BCDHW, self.spec.inputs[0].shape[1])
        self._require_sides(x_BCDHW.shape[2:])
        return self._predicted(task, x_BCDHW)

    def _predicted(self, task: Task, x_BCDHW: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(np.ascontiguousarray(x_BCDHW, dtype=np.float32)).to(self.device)
        return task.predict(self.model, x).float().cpu().numpy()

    def _classes(self, x_BCDHW: np.ndarray) -> np.ndarray:
        # `probabilities` makes the views, and scales their mean
        return self._predicted(at_temperature(one_view(self.task), None), x_BCDHW)

    def _outputs(self, x_BCDHW: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            return [leaf.cpu().numpy() for leaf in tree_leaves(self.model(torch.from_numpy(x_BCDHW).to(self.device)))]


def bundle_networks(
    folder: str | Path,
    threads: int | None = None,
    *,
    network: str | None = None,
    trusted: Sequence[str] = (),
    device: torch.device = CPU,
) -> list[BundleNetwork]:
    """Read the networks of a training for prediction on files.

    Args:
        folder: Folder of run_train.py, whose folds make an ensemble, or of one bundle.
        threads: Threads of torch. If None, its own number.
        network: A network of the training, or "ensemble", see `nas.export.choice.chosen_bundles`.
        trusted: Further packages whose search spaces and tasks may be imported.
        device: Device of the networks.

    Returns:
        One network per bundle, the best validation score of each architecture first.

    Raises:
        NASError: If there is no bundle, or one is damaged.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    return [BundleNetwork(bundle, Path(folder), device) for bundle in chosen_bundles(folder, network, trusted)]
