"""The temperature of a task: fitted on the validation part, applied to every later prediction."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Annotated, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from annotated_types import Ge, Le

from nas.metrics.calibration import LEAST, around_foreground, fit_temperature
from nas.task_spec import COLDEST, HOTTEST
from nas.tasks.base import Task
from nas.utils.annotations import OneOf

ON_VALIDATION = "validation"
MOST_VOXELS = 300_000  # of the validation part that a temperature is fitted on
Temperature = Annotated[float, Ge(COLDEST), Le(HOTTEST)] | Annotated[str, OneOf(ON_VALIDATION)] | None
AnyTask = TypeVar("AnyTask", bound=Task)


@runtime_checkable
class HasTemperature(Protocol):
    """A task whose predictions have a temperature.

    Attributes:
        temperature: The temperature, the setting that it is fitted, or None.
    """

    temperature: float | str | None


def at_temperature(task: AnyTask, temperature: float | None) -> AnyTask:
    """Return a task with another temperature.

    Args:
        task: The task.
        temperature: The temperature of its predictions. If None, they are not scaled.

    Returns:
        A copy; the task itself if it has no temperature.
    """
    if not isinstance(task, HasTemperature):
        return task
    found = copy.copy(task)
    found.temperature = temperature
    return found


def scaled(prob_BK: torch.Tensor, temperature: float | str | None) -> torch.Tensor:
    """Divide the logits behind probabilities by a temperature, as `nas.metrics.calibration.tempered` does.

    Args:
        prob_BK: Probabilities (B, K, ...), fp32.
        temperature: The temperature; nothing is scaled by None or by one that is not fitted yet.

    Returns:
        Probabilities of the same shape.
    """
    if not isinstance(temperature, float) or temperature == 1:
        return prob_BK
    return (prob_BK.clamp(min=float(LEAST)).log() / temperature).softmax(dim=1)


def fitted(temperature: float | str | None, predict: Callable[[], np.ndarray], target: np.ndarray) -> float | None:
    """Resolve the setting `temperature` of a task after a training.

    Args:
        temperature: The setting.
        predict: Called for the predictions (N, K, ...) of the validation part.
        target: Their targets (N, ...).

    Returns:
        The temperature; None if predictions are not scaled.
    """
    if isinstance(temperature, str):
        return fit_temperature(*_answers(predict(), target))
    return None if temperature is None else float(temperature)


def _answers(prob: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (M, K) and classes (M,) of cases, or of evenly spread voxels around the foreground."""
    if prob.ndim == 2:
        return prob, target
    found_prob, found_label = [], []
    for prob_K, mask in zip(prob, target, strict=True):
        region = around_foreground(mask)
        flat_VK = prob_K[(slice(None), *region)].reshape(len(prob_K), -1).T
        step = max(1, -(-len(flat_VK) * len(target) // MOST_VOXELS))
        found_prob.append(flat_VK[::step])
        found_label.append(mask[region].ravel()[::step])
    return np.concatenate(found_prob), np.concatenate(found_label).astype(np.int64)
