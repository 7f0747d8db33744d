"""Matrix-free tools on maps: products with a Jacobian, and its Krylov spaces.

J = df/dz at one point. The rows of a batch are independent problems, so that J is block diagonal
and every function here works on all of its blocks at once.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

Product: TypeAlias = Callable[[Tensor], Tensor]
"""v -> J'v, or another linear map on (B, D) matrices, row by row."""


def linearize(
    f: Callable[[Tensor], Tensor], z: Float[Tensor, "B D"]
) -> tuple[Tensor, Tensor, Product]:
    """Return z as a leaf of the tape, f(z), and the product v -> J'v at z.

    f is evaluated once, with the tape on; each product walks the tape once, and leaves it.
    """
    leaf = z.detach().requires_grad_()
    with torch.enable_grad():
        out = f(leaf)
    return leaf, out, vjp(out, leaf)


def vjp(out: Tensor, z: Tensor, *, create_graph: bool = False) -> Product:
    """Return v -> J'v from a tape that leads from `z` to `out`."""

    def product(v: Tensor) -> Tensor:
        if not out.requires_grad:
            return torch.zeros_like(v)
        (result,) = torch.autograd.grad(
            out, z, v, retain_graph=True, create_graph=create_graph, allow_unused=True
        )
        return torch.zeros_like(v) if result is None else result

    return product


def arnoldi(
    product: Product, start: Float[Tensor, "B D"], steps: int
) -> tuple[Float[Tensor, "B K K"], Float[Tensor, " B"]]:
    """Return the Hessenberg matrix of `product` on a Krylov space, one per row.

    The basis is orthogonalised twice against itself, so that it stays orthogonal in floating
    point. A row whose Krylov space is exhausted gets zeros from there on; its eigenvalues are
    exact then. Source: Saad (2011), "Numerical Methods for Large Eigenvalue Problems", ch. 6.

    Args:
        product: The linear map.
        start: The first vector of each row; it must not be zero.
        steps: Products to take, at least 1; no more than D are taken.

    Returns:
        The Hessenberg matrices, and for each row the entry below the last column: zero if the
        space is invariant.
    """
    batch, dim = start.shape
    k = min(steps, dim)
    basis = start.new_zeros(batch, k + 1, dim)
    hessenberg = start.new_zeros(batch, k + 1, k)
    basis[:, 0] = start / torch.linalg.vector_norm(start, dim=1, keepdim=True)
    for j in range(k):
        v = product(basis[:, j])
        size = torch.linalg.vector_norm(v, dim=1)
        for _ in range(2):
            overlap = torch.einsum("bmd,bd->bm", basis[:, : j + 1], v)
            hessenberg[:, : j + 1, j] += overlap
            v = v - torch.einsum("bmd,bm->bd", basis[:, : j + 1], overlap)
        rest = torch.linalg.vector_norm(v, dim=1)
        # What is left after two passes is rounding if it is this small: the space is invariant.
        alive = rest > 10 * dim**0.5 * torch.finfo(v.dtype).eps * size
        hessenberg[:, j + 1, j] = torch.where(alive, rest, 0.0)
        basis[:, j + 1] = torch.where(alive[:, None], v / rest[:, None], 0.0)
    return hessenberg[:, :k], hessenberg[:, k, k - 1]
