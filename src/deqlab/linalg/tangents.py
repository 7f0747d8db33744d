"""Products J v with the Jacobian of a map, whatever derivatives its operations have.

u -> J'u is linear, and J v is the derivative of v'(J'u) by u. So one evaluation of f, recorded, and
one walk over it, recorded as well, serve all products at a point, each for the price of one more
walk. Some operations have no second derivative: fused attention, `torch.cdist`, functions marked
`once_differentiable`, whatever AOTAutograd compiled. The ways to a product, in order:

    double backward         as said;
    plain attention         the same, where matrix products stand for fused attention;
    forward mode            one evaluation of f for each product;
    central differences     (f(z + h v) - f(z - h v)) / 2h, two evaluations for each product.

The first three are exact. With eps the rounding of the arithmetic of f, the last has a relative
error of the order of eps^(2/3) where f is smooth: 4e-11 in float64, 2e-5 in float32, 4e-2 in
bfloat16. A Newton step needs no better: the direction is inexact anyway, and whether it led
anywhere is judged by f itself. Source: Knoll & Keyes (2004), "Jacobian-free Newton-Krylov methods",
J. Comput. Phys. 193(2), sec. 2.3.
"""

from collections.abc import Callable

import torch
import torch.autograd.forward_ad as forward_ad
from jaxtyping import Float, Float64
from torch import Tensor

from deqlab.linalg.attention import plain_attention, uses_fused_attention
from deqlab.linalg.products import Product, has_holes, plain, pull, taped, unpacked


class NoProductError(RuntimeError):
    """What was recorded leads to no product."""


def jvp(f: Callable[[Tensor], Tensor], z: Float[Tensor, "B D"]) -> tuple[Tensor, Product]:
    """Return f(z), and the product v -> J v at z.

    f is evaluated once, unless one of its operations has no second derivative. Whether that is so
    shows in the first product, which then finds another way. Works under no_grad and
    inference_mode.
    """
    with torch.inference_mode(mode=False), unpacked():
        leaf, out = taped(f, z)
    return out.detach(), pushforward(f, leaf, out)


def pushforward(f: Callable[[Tensor], Tensor], leaf: Tensor, out: Tensor) -> Product:
    """Return the product v -> J v, given a tape of f from `leaf` to `out`."""
    if not out.requires_grad:
        return torch.zeros_like
    point, image = leaf.detach(), out.detach()

    def by_plain_attention() -> Product:
        if not uses_fused_attention(out):
            raise NoProductError
        with unpacked(), plain_attention():
            return _double_backward(*taped(f, point))

    ways = [
        lambda: _differences(f, point, image),
        lambda: _forward_mode(f, point),
        by_plain_attention,
        lambda: _double_backward(leaf, out),
    ]
    chosen: list[Product] = []

    def product(v: Tensor) -> Tensor:
        with torch.inference_mode(mode=False):
            while True:
                try:
                    if not chosen:
                        chosen.append(ways.pop()())
                    return chosen[0](plain(v))
                except RuntimeError:
                    if not ways:
                        raise
                    chosen.clear()

    return product


def _double_backward(leaf: Tensor, out: Tensor) -> Product:
    """Return v -> J v, given a tape from `leaf` to `out`."""
    u = torch.zeros_like(out, requires_grad=True)
    with torch.enable_grad(), unpacked():
        pulled = pull(out, leaf, u, create_graph=True)
    if pulled is None:
        return torch.zeros_like
    if not pulled.requires_grad or has_holes(pulled):
        raise NoProductError

    def product(v: Tensor) -> Tensor:
        result = pull(pulled, u, v)
        if result is None:
            raise NoProductError
        return result

    return product


def _forward_mode(f: Callable[[Tensor], Tensor], z: Tensor) -> Product:
    """Return v -> J v by dual numbers.

    A tape is recorded beside them, and thrown away: without one, a compiled f and the fast paths of
    torch.nn lose the tangent on the way and say nothing.
    """

    def product(v: Tensor) -> Tensor:
        with torch.enable_grad(), unpacked(), forward_ad.dual_level():
            out = f(forward_ad.make_dual(z.detach().requires_grad_(), v.detach()))
            tangent: Tensor | None = forward_ad.unpack_dual(out).tangent
        if tangent is None:
            raise NoProductError
        return tangent.detach()

    return product


def _differences(
    f: Callable[[Tensor], Tensor], z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"]
) -> Product:
    """Return v -> J v by central differences, given f(z) = fz.

    The step is eps^(1/3) of the size of each row, where truncation and rounding balance.
    """
    eps = torch.finfo(z.dtype).eps
    if torch.is_autocast_enabled(z.device.type):
        eps = max(eps, torch.finfo(torch.get_autocast_dtype(z.device.type)).eps)
    size = torch.maximum(_sizes(z), _sizes(fz))
    size = torch.where(size > 0, size, 1.0)

    def product(v: Tensor) -> Tensor:
        length = _sizes(v)
        # A direction of zero, or not finite: the step is then of no account.
        usable = (length > 0) & length.isfinite()
        h = torch.where(usable, eps ** (1 / 3) * size / length, 1.0)
        with torch.no_grad():
            change = f((z + h * v).to(z.dtype)).double() - f((z - h * v).to(z.dtype)).double()
        return (change / (2 * h)).to(v.dtype)

    return product


def _sizes(matrix: Float[Tensor, "B D"]) -> Float64[Tensor, "B 1"]:
    sizes: Tensor = torch.linalg.vector_norm(matrix, dim=1, keepdim=True, dtype=torch.float64)
    return sizes
