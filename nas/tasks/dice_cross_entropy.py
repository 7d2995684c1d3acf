"""Dice and cross entropy with weights of classes, for outputs of any scale."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from nas.tasks.soft_dice import shares
from nas.utils.optional import monai_part


class DiceCrossEntropy:
    """Sum of the Dice loss and cross entropy, as MONAI's DiceCELoss computes it.

    Args:
        include_background: Whether the Dice of the background counts.
        batch_dice: Whether Dice is computed over all voxels of a batch, instead of each image by itself. A class that
            an image lacks then does not make its Dice jump between 0 and 1.
        class_weights: (K,) weights above 0 of the classes in both parts; only their ratios count. If None, all classes
            count equally.
    """

    def __init__(
        self, include_background: bool = True, batch_dice: bool = False, class_weights: Sequence[float] | None = None
    ) -> None:
        losses = monai_part("losses")
        settings = {"softmax": True, "include_background": include_background, "batch": batch_dice}
        if class_weights is None:
            self._weight_K = None
        else:
            weight_K = torch.tensor(class_weights, dtype=torch.float32)
            # MONAI averages weighted Dice losses without the sum of the weights, which are therefore 1 on average
            self._weight_K = weight_K / weight_K[0 if include_background else 1 :].mean()
        dice_weight = self._weight_K if include_background or self._weight_K is None else self._weight_K[1:]
        self._of_classes = losses.DiceCELoss(to_onehot_y=True, weight=self._weight_K, **settings)
        self._of_shares = losses.DiceCELoss(**settings)
        self._dice_of_shares = losses.DiceLoss(weight=dice_weight, **settings)

    def __call__(self, logits_BKDHW: torch.Tensor, y_BDHW: torch.Tensor) -> torch.Tensor:
        """Compute the loss of one output.

        Args:
            logits_BKDHW: float32 logits (B, K, D, H, W), in 2D (B, K, H, W).
            y_BDHW: Classes (B, D, H, W), whose sides are multiples of those of the logits. The target of a coarser
                output is the share of each class among the voxels that each of its voxels covers.

        Returns:
            A scalar.
        """
        classes, sides = logits_BKDHW.shape[1], logits_BKDHW.shape[2:]
        if sides == y_BDHW.shape[1:]:
            return self._of_classes.to(logits_BKDHW.device)(logits_BKDHW, y_BDHW[:, None])
        share_BKDHW = shares(y_BDHW, classes, sides)
        if self._weight_K is None:
            return self._of_shares(logits_BKDHW, share_BKDHW)
        # PyTorch divides by the sum of the weights for classes, by the number of voxels for shares
        weighted_BKDHW = share_BKDHW * self._weight_K.to(logits_BKDHW.device).view(-1, *(1 for _ in sides))
        entropy = -(weighted_BKDHW * logits_BKDHW.log_softmax(dim=1)).sum() / weighted_BKDHW.sum()
        return self._dice_of_shares(logits_BKDHW, share_BKDHW) + entropy
