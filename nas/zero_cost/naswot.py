"""NASWOT: how differently a network's rectifiers respond to the samples of a minibatch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from nas.errors import TrialFailed
from nas.zero_cost.minibatch import Minibatch

ops = torch.ops.aten
RECTIFIERS = {ops.relu, ops.relu_, ops.leaky_relu, ops.leaky_relu_, ops._prelu_kernel, ops.elu, ops.elu_}
PIECE = 2**22  # columns of a product of zeros and ones that float32 sums exactly


class RectifierCodes(TorchDispatchMode):
    """Context that sums, over the rectifiers that are computed, how many units agree for each pair of samples.

    Args:
        samples: Number B of samples.

    Attributes:
        agreeing_BB: Number of units that both samples switch on, or both off.
        units: Units of all rectifiers, per sample.
    """

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.agreeing_BB, self.units = np.zeros((samples, samples)), 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func.overloadpacket in RECTIFIERS and len(args[0]) % len(self.agreeing_BB) == 0:
            self._add(args[0])
        return func(*args, **(kwargs or {}))

    def _add(self, x: torch.Tensor) -> None:
        code_BU = (x.detach() > 0).reshape(len(self.agreeing_BB), -1)  # samples, also where rows of them are rectified
        self.units += code_BU.shape[1]
        for piece_BU in code_BU.split(PIECE, dim=1):
            on_BU = piece_BU.float()
            off_BU = 1 - on_BU
            agreeing_BB = on_BU @ on_BU.T + off_BU @ off_BU.T
            self.agreeing_BB += agreeing_BB.double().cpu().numpy()


def naswot(network: nn.Module, minibatch: Minibatch) -> float:
    """Compute the log-determinant of the kernel of binary codes.

    Source: Mellor et al., ICML 2021 (arXiv 2006.04647 v3), equation 2: log |K| with K_ij = N - d(c_i, c_j), where c_i
    is the code of sample i, a bit for each rectified unit (its argument is positive), N their number, and d the Hamming
    distance. Computed in training mode.

    Args:
        network: Network with its initial weights.
        minibatch: Samples.

    Returns:
        The score; minus infinity if two samples have the same code.

    Raises:
        TrialFailed: If the network has no rectifiers.
    """
    codes = RectifierCodes(len(minibatch.x_BCDHW))
    with torch.no_grad(), codes:
        minibatch.output(network)
    if codes.units == 0:
        raise TrialFailed("NASWOT of a network without rectifiers")
    return float(np.linalg.slogdet(codes.agreeing_BB)[1])
