"""The maps f(z, *tensors) of the workloads, in the form in which people write them."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812, the customary name

GROUPS = 8
HEADS = 8


def tanh(z: Tensor, x: Tensor, w: Tensor) -> Tensor:
    """Return the hyperbolic tangent of x + z w."""
    return torch.tanh(torch.addmm(x, z, w))


def rowwise_tanh(z: Tensor, x: Tensor, w: Tensor, scale: Tensor) -> Tensor:
    """Return the hyperbolic tangent of x + scale z w, with one scale per row."""
    return torch.tanh(scale * (z @ w) + x)


def residual(z: Tensor, x: Tensor, conv1: Tensor, conv2: Tensor, *norms: Tensor) -> Tensor:
    """Return norm(silu(z + norm(x + conv2(norm(silu(conv1(z))))))), with group norms.

    Source: the residual cell of the tutorial of Kolter, Duvenaud & Johnson (2020), "Deep Implicit
    Layers", chapter 4, which has relu.
    """
    return _residual(F.silu, z, x, conv1, conv2, *norms)


def kinked(z: Tensor, x: Tensor, conv1: Tensor, conv2: Tensor, *norms: Tensor) -> Tensor:
    """Return the same with relu: its slope jumps, and the gradient of z* is no longer smooth."""
    return _residual(F.relu, z, x, conv1, conv2, *norms)


def _residual(
    activation: Callable[[Tensor], Tensor], z: Tensor, x: Tensor, *rest: Tensor
) -> Tensor:
    conv1, conv2, weight1, bias1, weight2, bias2, weight3, bias3 = rest
    y = F.group_norm(activation(F.conv2d(z, conv1, padding=1)), GROUPS, weight1, bias1)
    y = F.group_norm(x + F.conv2d(y, conv2, padding=1), GROUPS, weight2, bias2)
    return F.group_norm(activation(z + y), GROUPS, weight3, bias3)


def transformer(z: Tensor, x: Tensor, qkv: Tensor, out: Tensor, *rest: Tensor) -> Tensor:
    """Return one post-norm block; x is added to queries, keys and values.

    Source: the weight-tied cell of Bai, Kolter & Koltun (2019), "Deep Equilibrium Models",
    without its relative positions, and with silu in place of relu.
    """
    up, up_bias, down, down_bias, weight1, bias1, weight2, bias2 = rest
    width = z.shape[-1]
    heads = (F.linear(z, qkv) + x).unflatten(-1, (3, HEADS, width // HEADS))
    q, k, v = heads.permute(2, 0, 3, 1, 4)  # each (batch, heads, tokens, width / heads)
    # Written out: the fused attention of torch has no second derivative on a CPU.
    attention = torch.softmax(q @ k.mT * (width // HEADS) ** -0.5, dim=-1) @ v
    z = z + F.linear(attention.transpose(1, 2).flatten(-2), out)
    z = F.layer_norm(z, (width,), weight1, bias1)
    y = F.linear(F.silu(F.linear(z, up, up_bias)), down, down_bias)
    return F.layer_norm(z + y, (width,), weight2, bias2)
