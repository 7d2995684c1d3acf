"""Explanations of files by an ensemble: one map for each input, and the correlation with networks of random weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from nas.data.transforms.preparation import Prepared, placed
from nas.errors import NASError
from nas.explanation.maps import explain
from nas.explanation.sanity import mean_correlation, random_networks
from nas.export.torch_network import BundleNetwork
from nas.inference.cases import Case
from nas.inference.predict import answer, decision_of


@dataclass(frozen=True)
class Explanation:
    """The explanation of one input.

    Attributes:
        number: The explained class.
        probability_K: Class probabilities of the ensemble (K,).
        heat: Map (D, H, W) on the input of the networks: mean over the networks, each divided by its largest value.
        correlation: Mean rank correlation with the maps of networks with random weights; NaN if it is undefined.
        ready: The prepared input with its place in the image.
    """

    number: int
    probability_K: np.ndarray
    heat: np.ndarray
    correlation: float
    ready: Prepared


class Explainer:
    """Explains inputs by the networks of one training.

    Args:
        networks: The networks of a classification.
        method: "gradcam" or "cbam".
        layer: Name of a module. If None, the last feature map, or the last attention layer.

    Raises:
        NASError: If the networks are not for classification.
    """

    def __init__(self, networks: Sequence[BundleNetwork], method: str = "gradcam", layer: str | None = None) -> None:
        kind = networks[0].task.spec.kind
        if kind != "classification":
            raise NASError(f"{networks[0].path} for a task of {kind}", "a classification", "explain a classifier")
        self.networks, self.method, self.layer = networks, method, layer
        self._random: list[list[nn.Module]] = [
            [model.to(network.device) for model in random_networks(network.artifact, seed=number)]
            for number, network in enumerate(networks)
        ]

    def __call__(self, case: Case, number: int | None = None) -> Explanation:
        """Explain one input.

        Args:
            case: The input.
            number: Class to be explained. If None, the one that the ensemble answers, by its decision threshold if it
                has one.

        Returns:
            The explanation.

        Raises:
            NASError: If the file cannot be read, is no input of these networks, or a layer has no map.
        """
        found, ready = [], None
        for network in self.networks:
            ready = placed(case.paths, network.spec.preparation, case.point_mm, network.task.spec.dims)
            found.append(network.probabilities(ready.x_CDHW[None])[0])
        assert ready is not None
        probability_K = np.mean(found, axis=0)
        chosen = answer(probability_K, *decision_of(self.networks)) if number is None else number
        x_BCDHW = torch.from_numpy(np.ascontiguousarray(ready.x_CDHW[None], dtype=np.float32))
        own = self._mean([network.model for network in self.networks], x_BCDHW, chosen)
        random = [self._mean(models, x_BCDHW, chosen) for models in zip(*self._random, strict=True)]
        return Explanation(chosen, probability_K, own, mean_correlation(own, random), ready)

    def _mean(self, models: Sequence[nn.Module], x_BCDHW: torch.Tensor, number: int) -> np.ndarray:
        maps = []
        for network, model in zip(self.networks, models, strict=True):
            heat = explain(model, x_BCDHW.to(network.device), number, self.method, self.layer)
            maps.append(heat / heat.max() if heat.max() > 0 else heat)
        return np.asarray(np.mean(maps, axis=0))


def class_number(name: str | None, classes: Sequence[str]) -> int | None:
    """Find the class to be explained.

    Args:
        name: Its name; None for the one that is answered.
        classes: Names of the classes.

    Returns:
        Its number, or None.

    Raises:
        NASError: If there is no such class.
    """
    if name is None:
        return None
    if name not in classes:
        raise NASError(f"--class {name}", f"one of {', '.join(classes)}", "correct --class")
    return list(classes).index(name)


def map_file(folder: Path, case: Case, explanation: Explanation, method: str) -> Path:
    """Return the file of a map.

    Args:
        folder: Folder of the maps.
        case: The input.
        explanation: Its explanation.
        method: Method of the map.

    Returns:
        A NIfTI file; a .npy file for an array, which has no place in an image.
    """
    ending = ".npy" if explanation.ready.grid is None else ".nii.gz"
    return folder / f"{case.name}_{method}{ending}"
