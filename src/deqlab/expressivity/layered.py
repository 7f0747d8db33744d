"""The pieces of a feed-forward ReLU network of one input, exactly.

Before the first layer there is one piece. A linear layer maps slopes and values and keeps the
edges; a ReLU cuts a piece wherever one of its units changes sign, and then sets to zero the units
that are negative on a piece. All pieces of a layer are cut at once, in float64. Each keeps the
values at its left edge: rounding stays relative to what the units are there.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from deqlab.expressivity.pieces import Pieces, check_interval, narrowest


@dataclass(frozen=True)
class _Layer:
    """What the units of one layer are on each piece: value + slope (x - left edge)."""

    edges: Float64[Tensor, " E"]
    value: Float64[Tensor, "P m"]
    slope: Float64[Tensor, "P m"]


@torch.no_grad()
def layered_pieces(network: nn.Sequential, low: float, high: float) -> Pieces:
    """Return the pieces of a network of `nn.Linear` and `nn.ReLU` on [low, high].

    The cost is that of evaluating the network at as many points as there are pieces.

    Args:
        network: From one input to one output, each layer of it linear or ReLU; see `nn.mlp`.
        low: Start of the interval.
        high: Its end.

    Raises:
        ValueError: The network holds another kind of layer, has more than one input or output, or
            the interval is empty.

    Example:
        >>> from deqlab.nn import mlp
        >>> layered_pieces(mlp([1, 8, 1]), -1.0, 1.0).num_regions <= 9
        True
    """
    check_interval(low, high)
    one = torch.ones(1, 1, dtype=torch.float64)
    layer = _Layer(torch.tensor([low, high], dtype=torch.float64), low * one, one)
    for index, module in enumerate(network):
        if isinstance(module, nn.Linear):
            layer = _linear(layer, module, index)
        elif isinstance(module, nn.ReLU):
            layer = _relu(layer)
        else:
            raise ValueError(
                f"layer {index} is {type(module).__name__}, where regions are counted exactly for "
                "Linear and ReLU alone; use sampled_regions"
            )
    if layer.slope.shape[1] != 1:
        raise ValueError(f"the network must have one output, got {layer.slope.shape[1]}")
    return Pieces(layer.edges, layer.slope[:, 0])


def _linear(layer: _Layer, module: nn.Linear, index: int) -> _Layer:
    if module.in_features != layer.slope.shape[1]:
        raise ValueError(
            f"layer {index} takes {module.in_features} numbers and gets {layer.slope.shape[1]}; "
            "the network must have one input"
        )
    weight = module.weight.double().cpu()
    value = layer.value @ weight.mT
    if module.bias is not None:
        value = value + module.bias.double().cpu()
    return _Layer(layer.edges, value, layer.slope @ weight.mT)


def _relu(layer: _Layer) -> _Layer:
    left, right = layer.edges[:-1, None], layer.edges[1:, None]
    least = narrowest(layer.edges[0].item(), layer.edges[-1].item())
    roots = left - layer.value / layer.slope  # inf or nan where there is none
    inside = (roots > left + least) & (roots < right - least)
    edges = torch.cat([layer.edges, roots[inside]]).sort().values
    # Units that change sign together cut once. The two ends stay what they are.
    apart = edges.diff() > least
    keep = torch.cat([apart.new_ones(1), apart])
    edges = edges[keep]
    edges[-1] = layer.edges[-1]
    middle = (edges[:-1] + edges[1:]) / 2
    parent = torch.searchsorted(layer.edges, middle) - 1
    slope = layer.slope[parent]
    value = layer.value[parent] + slope * (edges[:-1] - layer.edges[parent])[:, None]
    active = value + slope * (middle - edges[:-1])[:, None] > 0
    return _Layer(edges, value * active, slope * active)
