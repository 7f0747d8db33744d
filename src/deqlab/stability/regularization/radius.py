"""The spectral radius of the Jacobian as a loss: what decides whether plain iteration converges.

A simple eigenvalue lambda of J, with J x = lambda x and J'y = lambda y (y' is not conjugated),
changes by

    d lambda = y' dJ x / y'x,    d |lambda| = Re(conj(lambda) / |lambda| d lambda)

(Magnus 1985, "On differentiating eigenvalues and eigenvectors", Econometric Theory 1). x and y are
Ritz vectors of an Arnoldi process on J and on J', whose space is that of power iteration: on a
rotation, where power iteration turns for ever, it has both eigenvalues of the pair. They are held;
a tape records J'y alone, so that the gradient costs two products, however many steps there are.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from typing_extensions import override

from deqlab.arguments import check_count, check_number
from deqlab.linalg.tangents import jvp
from deqlab.maps.flat_map import FlatMap
from deqlab.stability.regularization.base import Regularizer, gaussian
from deqlab.stability.regularization.second_derivatives import Linearized

DEFECTIVE = 1e-3
"""The cosine of x and y below which the eigenvalue is taken for a defective one: it has no
derivative, and that of the Rayleigh quotient of y takes its place."""


@dataclass(frozen=True, kw_only=True)
class RadiusLoss(Regularizer):
    """max(rho(J) - target, 0): how far the spectral radius lies above a target.

    It costs 2 `steps` products with J and J', and needs second derivatives of f. Below the
    dimension of the state the radius is that of Ritz values, as in `spectral_radius`.

    Attributes:
        target: The radius that costs nothing, 0 or more.
        steps: The products of each of the two Arnoldi processes.
    """

    target: float = 0.0
    steps: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("target", self.target)
        if not 0 <= self.target < float("inf"):
            raise ValueError(f"target must be 0 or more, and finite, got {self.target}")
        check_count("steps", self.steps)

    @override
    def penalties(
        self,
        f: FlatMap,
        z: Float[Tensor, "B D"],
        args: tuple[object, ...],
        generator: torch.Generator | None,
    ) -> Float[Tensor, " B"]:
        at = Linearized(f, z, args, type(self).__name__)
        start = gaussian(z, generator)
        at.product(start)  # says at once if f has no second derivative
        value, y = ritz(lambda v: at.product(v, record=False).detach(), start, self.steps)
        _, forward = jvp(lambda s: f(s, *args), z)
        _, x = ritz(lambda v: forward(v).detach(), start, self.steps, near=value)
        radius = value.abs().to(z.dtype)
        change = _rayleigh(value, x, y, at)
        # The value is the radius, and the gradient that of the quotient, which equals it.
        return torch.relu(radius + (change - change.detach()) - self.target)


def _rayleigh(
    value: Complex[Tensor, " B"],
    x: Complex[Tensor, "B D"],
    y: Complex[Tensor, "B D"],
    at: Linearized,
) -> Float[Tensor, " B"]:
    """Return Re(conj(lambda) / |lambda| y'J x / y'x), recorded."""
    cosine = (x * y).sum(dim=1)
    sound = cosine.abs() > DEFECTIVE  # both have length 1
    x = torch.where(sound[:, None], x, y.conj())
    cosine = torch.where(sound, cosine, 1.0)
    size = value.abs()
    turn = torch.where(size > 0, value.conj() / torch.where(size > 0, size, 1.0), 0.0) / cosine
    weight = x * turn[:, None]
    # Re((a + ib)'(c + id)) for J'y = c + id.
    change = (weight.real * at.product(y.real.contiguous())).sum(dim=1)
    return change - (weight.imag * at.product(y.imag.contiguous())).sum(dim=1)


def ritz(
    product: Callable[[Tensor], Tensor],
    start: Float[Tensor, "B D"],
    steps: int,
    *,
    near: Complex[Tensor, " B"] | None = None,
) -> tuple[Complex[Tensor, " B"], Complex[Tensor, "B D"]]:
    """Return a Ritz value and its vector, of length 1, for each row.

    Args:
        product: The linear map v -> A v.
        start: The first vector of each row, not zero.
        steps: Products to take; no more than D are taken.
        near: The value it is to be closest to; None for that of largest modulus.
    """
    count = min(steps, start.shape[1])
    h = start.new_zeros(len(start), count + 1, count)
    basis = [start / torch.linalg.vector_norm(start, dim=1, keepdim=True)]
    for j in range(count):
        w = product(basis[j])
        size = torch.linalg.vector_norm(w, dim=1)
        vectors = torch.stack(basis, dim=1)  # (B, j + 1, D)
        for _ in range(2):  # one pass of Gram-Schmidt loses orthogonality
            overlaps = torch.einsum("bkd,bd->bk", vectors, w)
            w = w - torch.einsum("bk,bkd->bd", overlaps, vectors)
            h[:, : j + 1, j] += overlaps
        rest = torch.linalg.vector_norm(w, dim=1)
        # The space is exhausted where no more than rounding is left.
        rest = torch.where(rest > 10 * torch.finfo(w.dtype).eps * size, rest, 0.0)
        h[:, j + 1, j] = rest
        safe = torch.where(rest > 0, rest, torch.inf)
        basis.append(w / safe[:, None])
    values, vectors = torch.linalg.eig(h[:, :count].double().nan_to_num())
    score = values.abs() if near is None else -(values - near[:, None]).abs()
    best = score.argmax(dim=1)
    coefficients = vectors[torch.arange(len(start)), :, best]
    space = torch.stack(basis[:count], dim=1).double()
    vector = torch.einsum("bk,bkd->bd", coefficients, space.to(coefficients.dtype))
    vector = vector / torch.linalg.vector_norm(vector, dim=1, keepdim=True)
    kind = torch.promote_types(start.dtype, torch.complex64)
    return values[torch.arange(len(start)), best].to(kind), vector.to(kind)
