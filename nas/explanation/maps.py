"""Grad-CAM and the gates of attention layers, as maps on the input of a network.

Sources: Selvaraju et al., Grad-CAM, ICCV 2017 (arXiv 1610.02391), equations 1 and 2; Woo et al., CBAM, ECCV 2018 (arXiv
1807.06521), equation 3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from nas.errors import NASError
from nas.network_traits import HasSpatialGate
from nas.tasks.base import evaluation_mode

MODES = {2: "bilinear", 3: "trilinear"}


def explain(
    model: nn.Module, x_BCDHW: torch.Tensor, number: int, method: str = "gradcam", layer: str | None = None
) -> np.ndarray:
    """Compute the map of one input.

    Args:
        model: A classifier.
        x_BCDHW: One input (1, C, D, H, W), in 2D (1, C, H, W).
        number: Class whose logit is explained by "gradcam"; the gates of "cbam" are the same for all classes.
        method: "gradcam" or "cbam".
        layer: Name of a module. If None, see `last_features` and `last_gate`.

    Returns:
        (D, H, W), at least 0, interpolated linearly to the sides of the input.

    Raises:
        NASError: If there is no such layer, or it has no map.
    """
    with evaluation_mode(model):
        if method == "gradcam":
            map_BDHW = grad_cam(model, x_BCDHW, number, layer or last_features(model, x_BCDHW))
        else:
            map_BDHW = gate_of(model, x_BCDHW, layer or last_gate(model))
        sides, mode = x_BCDHW.shape[2:], MODES[x_BCDHW.ndim - 2]
        grown = F.interpolate(map_BDHW[:, None].float(), size=sides, mode=mode, align_corners=False)
    return grown[0, 0].cpu().numpy()


def grad_cam(model: nn.Module, x_BCDHW: torch.Tensor, number: int, layer: str) -> torch.Tensor:
    """Compute Grad-CAM: channels of a layer, each weighted by the mean gradient of a logit, summed, above 0.

    Args:
        model: A classifier in evaluation mode.
        x_BCDHW: Inputs (B, C, D, H, W).
        number: Class whose logit is explained.
        layer: Name of the module whose output is explained.

    Returns:
        (B, D', H', W') of the sides of the layer's output.

    Raises:
        NASError: If there is no such layer, or its output is no map.
    """
    found: list[torch.Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> torch.Tensor:
        found.append(_map_of(output, layer, x_BCDHW.ndim))
        return found[-1].clone()  # layers that work in place must not change the one that is kept

    handle = _module(model, layer).register_forward_hook(keep)
    try:
        with torch.enable_grad():
            # with a gradient also where all weights are frozen
            logits = _logits(model(x_BCDHW.detach().clone().requires_grad_()))
            (gradient,) = torch.autograd.grad(logits[:, number].sum(), found[-1])
    except IndexError as error:
        raise NASError(f"--layer {layer}, which does not run", "a layer that runs", "choose another") from error
    finally:
        handle.remove()
    space = tuple(range(2, gradient.ndim))
    weight = gradient.mean(dim=space, keepdim=True)
    return (weight * found[-1]).sum(dim=1).relu().detach()


def gate_of(model: nn.Module, x_BCDHW: torch.Tensor, layer: str) -> torch.Tensor:
    """Compute the spatial gate of an attention layer.

    Args:
        model: A network in evaluation mode.
        x_BCDHW: Inputs (B, C, D, H, W).
        layer: Name of the attention layer.

    Returns:
        (B, D', H', W') in [0, 1], of the sides of the layer's input.

    Raises:
        NASError: If the layer has no spatial gate.
    """
    module, found = _module(model, layer), []
    if not isinstance(module, HasSpatialGate):
        raise NASError(f"--layer {layer} without a spatial gate", _listed(gates_of(model)), "choose another layer")
    handle = module.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    try:
        with torch.no_grad():
            model(x_BCDHW)
            return module.spatial_gate(found[-1])[:, 0]
    finally:
        handle.remove()


def gates_of(model: nn.Module) -> list[str]:
    """List the attention layers of a network.

    Args:
        model: The network.

    Returns:
        Their names.
    """
    return [name for name, module in model.named_modules() if isinstance(module, HasSpatialGate)]


def last_gate(model: nn.Module) -> str:
    """Return the last attention layer.

    Args:
        model: The network.

    Returns:
        Its name.

    Raises:
        NASError: If there is none.
    """
    names = gates_of(model)
    if not names:
        raise NASError(
            "--method cbam for a network without attention layers", "a network with CBAM", "use --method gradcam"
        )
    return names[-1]


def last_features(model: nn.Module, x_BCDHW: torch.Tensor) -> str:
    """Find the last feature map: the last output of a module that still has voxels.

    Args:
        model: A network in evaluation mode.
        x_BCDHW: An input.

    Returns:
        Name of the module.

    Raises:
        NASError: If no module has such an output.
    """
    names: list[str] = []
    handles = [
        module.register_forward_hook(_noting(names, name, x_BCDHW.ndim))
        for name, module in model.named_modules()
        if name
    ]
    try:
        with torch.no_grad():
            model(x_BCDHW)
    finally:
        for handle in handles:
            handle.remove()
    if not names:
        raise NASError("a network without feature maps", "a convolutional classifier", "explain another network")
    return names[-1]


def _noting(names: list[str], name: str, dims: int) -> Callable[[nn.Module, Any, Any], None]:
    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.ndim == dims and output[0, 0].numel() > 1:
            names.append(name)

    return note


def _module(model: nn.Module, layer: str) -> nn.Module:
    try:
        return model.get_submodule(layer)
    except AttributeError as error:
        names = [name for name, module in model.named_modules() if name and "." not in name]
        raise NASError(f"--layer {layer}", f"a layer such as {_listed(names)}", "correct --layer") from error


def _map_of(output: Any, layer: str, dims: int) -> torch.Tensor:
    if not isinstance(output, torch.Tensor) or output.ndim != dims:
        raise NASError(f"--layer {layer}, whose output is no map", "a layer with channels and voxels", "choose another")
    return output


def _logits(output: Any) -> torch.Tensor:
    return output[0] if isinstance(output, list | tuple) else output


def _listed(names: list[str]) -> str:
    return ", ".join(names[:12]) or "none of this network"
