"""Calibration of class probabilities: expected calibration error, reliability diagram and temperature scaling.

Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017 (arXiv 1706.04599), equations 3 and 9.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nas.task_spec import COLDEST, HOTTEST

BINS = 15  # of equal width over [0, 1], as in the paper
MARGIN = 4  # voxels around the box of the true foreground in which a segmentation is measured
LEAST = np.finfo(np.float32).tiny  # of a probability whose logarithm is taken
STEPS = 200  # of the search for a temperature, at most


def tempered(prob: np.ndarray, temperature: float, axis: int = 1) -> np.ndarray:
    """Divide the logits behind probabilities by a temperature.

    Softmax(z / T) is p^(1/T), normalised, for p = softmax(z); the most probable class stays the same.

    Args:
        prob: Probabilities of any shape.
        temperature: T, above 0: above 1 makes probabilities less extreme.
        axis: Axis of the classes.

    Returns:
        Probabilities of the same shape; the array itself if T is 1.
    """
    if temperature == 1:
        return prob
    log_prob = np.log(np.maximum(prob, LEAST)) / temperature
    log_prob -= log_prob.max(axis=axis, keepdims=True)
    grown = np.exp(log_prob)
    return grown / grown.sum(axis=axis, keepdims=True)


def tempered_threshold(threshold: float, temperature: float) -> float:
    """Move a decision threshold as `tempered` moves the probability of one of two classes.

    Args:
        threshold: Probability in (0, 1).
        temperature: T, above 0.

    Returns:
        The threshold that calls the same cases after temperature scaling.
    """
    moved = tempered(np.array([[1 - threshold, threshold]]), temperature)[0, 1]
    return float(np.clip(moved, 1e-9, 1 - 1e-9))


def fit_temperature(prob_NK: np.ndarray, label_N: np.ndarray) -> float:
    """Fit the temperature with the largest likelihood, by Brent's method on its logarithm.

    Args:
        prob_NK: Class probabilities (N, K) of samples that the network was not trained on.
        label_N: Classes (N,).

    Returns:
        The temperature, in [0.05, 20]. If every sample is right, or there is none, the likelihood has no maximum, and
        it is 1.
    """
    from scipy.optimize import minimize_scalar  # here, as it takes long to import

    if (prob_NK.argmax(axis=1) == label_N).all():
        return 1.0
    log_NK = np.log(np.maximum(prob_NK.astype(np.float64), LEAST))
    own_N = np.arange(len(label_N))

    def loss(log_temperature: float) -> float:
        scaled_NK = log_NK / np.exp(log_temperature)
        top_N = scaled_NK.max(axis=1)
        total_N = top_N + np.log(np.exp(scaled_NK - top_N[:, None]).sum(axis=1))
        return float((total_N - scaled_NK[own_N, label_N]).mean())

    bounds = (np.log(COLDEST), np.log(HOTTEST))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6, "maxiter": STEPS})
    return float(np.exp(found.x))


def binned(prob: np.ndarray, label: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Sort the answers of a network into bins by their confidence, the probability of the most probable class.

    Bin b holds confidences in ((b - 1) / bins, b / bins].

    Args:
        prob: Class probabilities (M, K) of cases or voxels.
        label: Their classes (M,).
        bins: Number of bins.

    Returns:
        (bins, 3): number of answers, sum of their confidences, number of right ones.
    """
    confidence, right = prob.max(axis=1).astype(np.float64), prob.argmax(axis=1) == label
    number = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    sums = [np.bincount(number, weights=weights, minlength=bins) for weights in (None, confidence, right)]
    return np.stack(sums, axis=1).astype(np.float64)


def expected_calibration_error(bins_B3: np.ndarray) -> float:
    """Compute the expected calibration error: the mean distance of accuracy and confidence, weighted by the bins.

    Args:
        bins_B3: Bins, as `binned` gives them, or a sum of such.

    Returns:
        The error in [0, 1]; NaN without answers.
    """
    total = bins_B3[:, 0].sum()
    return float(np.abs(bins_B3[:, 2] - bins_B3[:, 1]).sum() / total) if total else float("nan")


def bins_of_case(prob: np.ndarray, target: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Sort the answers for one case into bins: its class, or the voxels around its foreground.

    Args:
        prob: Class probabilities (K,), or (K, D, H, W) of a segmentation.
        target: Its class, or the classes (D, H, W) of its voxels.
        bins: Number of bins.

    Returns:
        (bins, 3), see `binned`.
    """
    if prob.ndim == 1:
        return binned(prob[None], np.atleast_1d(target), bins)
    region = around_foreground(target)
    return binned(prob[(slice(None), *region)].reshape(len(prob), -1).T, target[region].ravel(), bins)


def around_foreground(mask: np.ndarray) -> tuple[slice, ...]:
    """Find the box around the true foreground, `MARGIN` voxels wider on each side.

    Voxels far from any object are right with a probability near 1 and would hide all errors. The box, and not the
    voxels that are truly or predictedly foreground, because these hold of the answers "background" the wrong ones
    only, so that even true probabilities would look overconfident.

    Args:
        mask: Classes (D, H, W), in 2D (H, W).

    Returns:
        One slice for each axis; empty ones if there is no foreground.
    """
    region = []
    for axis in range(mask.ndim):
        found = np.flatnonzero((mask > 0).any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        region.append(slice(max(0, found[0] - MARGIN), found[-1] + 1 + MARGIN) if len(found) else slice(0, 0))
    return tuple(region)


def reliability(bins_B3: np.ndarray) -> Sequence[Mapping[str, float]]:
    """Describe bins for a reliability diagram.

    Args:
        bins_B3: Bins, as `binned` gives them, or a sum of such.

    Returns:
        Number, mean confidence and accuracy of each bin that holds an answer.
    """
    return [
        {"n": int(count), "confidence": float(confidence / count), "accuracy": float(right / count)}
        for count, confidence, right in bins_B3
        if count
    ]
