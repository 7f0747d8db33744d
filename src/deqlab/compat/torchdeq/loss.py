"""The losses of torchdeq: fixed-point correction, and the two that look at the Jacobian."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.arguments import check_count
from deqlab.compat.torchdeq.left_out import found_by
from deqlab.linalg.arnoldi import hessenberg

__getattr__ = found_by(__name__)

WEIGHTS: dict[str, Callable[..., float]] = {
    "exp": lambda n, k, gamma=0.8: float(gamma ** (n - k - 1)),
    "linear": lambda n, k, gamma=0.9, bias=0.0: 1 - (n - k - 1) / n * gamma + bias,
    "const": lambda n, k, c=1.0: c,
}
"""The weight of state k of n, from 0."""


def fp_correction(
    crit: Callable[..., Tensor],
    args: Sequence[Any],
    weight_func: str | Callable[..., float] = "exp",
    return_loss_values: bool = False,
    **settings: float,
) -> Any:  # noqa: ANN401
    """Return a weighted sum of losses on states that lead to the equilibrium.

    Args:
        crit: The loss, of as many arguments as `args` has entries.
        args: Each a list with an entry for every state, or one value for all of them.
        weight_func: "exp" (gamma^(n - k - 1), gamma .8), "linear" (1 - gamma (n - k - 1) / n +
            bias, gamma .9), "const" (c, 1), or a function of n and k.
        return_loss_values: Whether to return the losses, as floats, beside.
        settings: gamma, bias and c.

    Raises:
        ValueError: There is no such weight function, or two entries of `args` differ in length.
    """
    weight = WEIGHTS.get(weight_func) if isinstance(weight_func, str) else weight_func
    if weight is None:
        raise ValueError(f"weight_func is one of {', '.join(WEIGHTS)}, got {weight_func!r}")
    columns = [each if isinstance(each, list | tuple) else [each] for each in args]
    count = max(map(len, columns))
    if any(len(column) not in (1, count) for column in columns):
        lengths = ", ".join(str(len(column)) for column in columns)
        raise ValueError(f"args has lists of {lengths} entries: give one for all, or one a state")
    losses = [crit(*(column[k % len(column)] for column in columns)) for k in range(count)]
    total = sum(weight(count, k, **settings) * loss for k, loss in enumerate(losses))
    return (total, [loss.item() for loss in losses]) if return_loss_values else total


def jac_reg(f0: Tensor, z0: Tensor, vecs: int = 1, create_graph: bool = True) -> Float[Tensor, ""]:
    """Return an unbiased estimate of |J|_F^2 over the numbers of the state, J = df0/dz0.

    `stability.Hutchinson` is the same term of a layer, of less variance for each product;
    `stability.FiniteDifferences` needs no second derivative.

    Args:
        f0: The value of f at z0, with a graph.
        z0: The point.
        vecs: Random vectors, at least 1.
        create_graph: Whether the result can be differentiated.
    """
    check_count("vecs", vecs)
    total = z0.new_zeros(())
    for _ in range(vecs):
        (product,) = torch.autograd.grad(
            f0, z0, torch.randn_like(z0), retain_graph=True, create_graph=create_graph
        )
        total = total + product.square().sum()
    return total / (vecs * z0.numel())


def power_method(f0: Tensor, z0: Tensor, n_iters: int = 100) -> tuple[Tensor, Float[Tensor, " B"]]:
    """Return a vector for each sample, and the spectral radius of J = df0/dz0 there.

    The vector is that of power iteration, as in torchdeq. The radius is not its quotient, which
    reads 0 of a rotation, but the largest Ritz value of an Arnoldi process that starts at it.

    Args:
        f0: The value of f at z0, with a graph; row i from row i.
        z0: The point, (B, *S).
        n_iters: Products of the power iteration, at least 1; the process takes 40 more.
    """
    check_count("n_iters", n_iters)

    def product(v: Tensor) -> Tensor:
        (found,) = torch.autograd.grad(f0, z0, v.reshape(z0.shape), retain_graph=True)
        return found.flatten(1)

    v = torch.randn_like(z0).flatten(1)
    for _ in range(n_iters):
        w = product(v)
        size = torch.linalg.vector_norm(w, dim=1, keepdim=True)
        v = torch.where(size > 0, w / size, v)
    projected, _ = hessenberg(product, v, 40)
    radius = torch.linalg.eigvals(projected.double()).abs().amax(dim=1)
    return v.reshape(z0.shape), radius.to(z0.dtype)
