"""What ships: the network's function with the fewest nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .mlp import Geometry, Network


class Folded(nn.Module):
    """Cast and deslant, then linear layers into which everything else fixed is folded, then softmax.

    In: images uint8[N,1,28,28]. Out: probabilities float32[N,10].
    """

    def __init__(self, geometry: Geometry, weights: Sequence[tuple[Tensor, Tensor]], activation: nn.Module) -> None:
        super().__init__()
        self.geometry = geometry
        steps = [step for weight, bias in weights for step in (_linear(weight, bias), activation)]
        self.steps = nn.Sequential(*steps[:-1])  # no activation after the last

    def forward(self, images: Tensor) -> Tensor:
        """Return probabilities [N,10] of images [N,1,28,28]."""
        return functional.softmax(self.geometry(images, self._logits), dim=1)

    def _logits(self, images: Tensor) -> Tensor:
        logits: Tensor = self.steps(images.flatten(1).to(torch.float32))
        return logits


def fold(network: Network) -> Folded:
    """Return the same function with the fewest nodes, computed in float64.

    Each batch norm, with its learnt statistics, goes into the linear layer before it; scale and normalise, or principal
    components, go into the first linear layer, temperature into the last.
    """
    norms = [*network.norms, nn.Identity()]
    weights = [_fold_norm(layer, norm) for layer, norm in zip(network.layers, norms, strict=True)]
    weights[0] = network.inputs.fold(*weights[0])
    weight, bias = weights[-1]
    weights[-1] = weight / network.temperature, bias / network.temperature
    return Folded(network.geometry, weights, network.activation).eval()


def _fold_norm(layer: nn.Linear, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return the weight and bias, float64, that do what the layer and the norm after it do."""
    weight = layer.weight.detach().double()
    bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach().double()
    if not isinstance(norm, nn.BatchNorm1d):
        return weight, bias
    learnt = {name: tensor.double() for name, tensor in norm.state_dict().items()}
    factor = learnt["weight"] / torch.sqrt(learnt["running_var"] + norm.eps)
    return weight * factor[:, None], (bias - learnt["running_mean"]) * factor + learnt["bias"]


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer
