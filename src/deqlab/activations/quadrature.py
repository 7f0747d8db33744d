"""Means of functions of two Gaussians, E[f(u) f(v)], by product rules that are right for every rho.

With independent p, q ~ N(0, 1), for rho >= 0 (for rho < 0, take -v),

    u = sqrt(a) (alpha p + beta q),    alpha = sqrt((1 + rho) / 2),
    v = sqrt(b) (alpha p - beta q),    beta  = sqrt((1 - rho) / 2).

alpha is at least sqrt(1/2): nothing degenerates as rho goes to 1. With kinks k of f, the integrand
has kinks in p at

    (k / sqrt(a) - beta q) / alpha    and    (k / sqrt(b) + beta q) / alpha,

and the integral over p is an analytic function of q but where two of them cross, at
q* = (k / sqrt(a) - k' / sqrt(b)) / (2 beta). So: Gauss-Legendre between the q*, and for each q
between the kinks in p. Derived for this library.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from deqlab.activations.covariance import Covariance
from deqlab.activations.expectation import PIECE_COUNTS, TINY, roughly
from deqlab.activations.rules import Function, piecewise, reach_of, settled
from deqlab.activations.series import pair_series

CHUNK = 2**15
"""Values of u held at once: with a few temporaries they fit a cache (measured)."""

Rule = Callable[["Coordinates", int], Tensor]
"""The integral for every pair by a rule of so many nodes in one direction (between two kinks)."""


@dataclass(frozen=True)
class Coordinates:
    """What a pair of Gaussians is in p and q; all (N, 1).

    Attributes:
        u: sqrt(a).
        v: sqrt(b), with the sign of rho.
        alpha: The share of p.
        beta: The share of q.
    """

    u: Float[Tensor, "N 1"]
    v: Float[Tensor, "N 1"]
    alpha: Float[Tensor, "N 1"]
    beta: Float[Tensor, "N 1"]

    @classmethod
    def of(cls, pair: Covariance) -> "Coordinates":
        """Flatten the pairs."""
        a, b, c, size, root = (
            part.flatten()[:, None]
            for part in torch.broadcast_tensors(pair.a, pair.b, pair.c, pair.size, pair.root)
        )
        inner, whole = c.abs(), torch.where(size > 0, 2 * size, 1.0)
        return cls(
            u=torch.sqrt(a).clamp(min=TINY),
            v=torch.where(c < 0, -1.0, 1.0) * torch.sqrt(b).clamp(min=TINY),
            alpha=torch.where(size > 0, torch.sqrt((size + inner) / whole), 0.5**0.5),
            beta=torch.where(
                size > 0, root / (torch.sqrt(whole) * torch.sqrt(size + inner)), 0.5**0.5
            ),
        )

    def __getitem__(self, rows: Tensor | slice) -> "Coordinates":
        return Coordinates(self.u[rows], self.v[rows], self.alpha[rows], self.beta[rows])


def pair_expectation(
    f: Function, kinks: tuple[float, ...], pair: Covariance, name: str
) -> Float[Tensor, "*S"]:
    """Return E[f(u) f(v)] for every pair.

    Args:
        f: Analytic but for the kinks.
        kinks: Where it is not.
        pair: The covariances of (u, v).
        name: The name of the activation, for messages.

    Raises:
        RuntimeError: f is too steep, or grows too fast, for these variances.
    """
    if not kinks:
        return pair_series(f, pair, name)
    everywhere = Coordinates.of(pair)
    if not len(everywhere.u):
        return pair.c.new_zeros(pair.shape)
    sigmas = torch.cat([everywhere.u, everywhere.v.abs()])
    reach = reach_of(f, float(sigmas.max()) ** 2, float(sigmas.min()) ** 2, name)
    rule = _kinked(f, kinks, reach)
    few = everywhere[_extremes(everywhere)]
    sizes = [torch.sqrt(roughly(lambda w, _: f(w) ** 2, w, reach)) for w in (few.u, few.v)]
    count = settled(lambda count: rule(few, count), PIECE_COUNTS, sizes[0] * sizes[1], name)
    return rule(everywhere, count).view(pair.shape)


def _kinked(f: Function, kinks: tuple[float, ...], reach: float) -> Rule:
    k = torch.tensor(kinks, dtype=torch.float64)

    def part(at: Coordinates, count: int) -> Float[Tensor, " N"]:
        in_u, in_v = k.to(at.u.device) / at.u, k.to(at.u.device) / at.v  # (N, K)
        crossings = (in_u[:, :, None] - in_v[:, None, :]) / (2 * at.beta[..., None])
        q, outer = piecewise(crossings.nan_to_num(0.0).flatten(1), count, reach)  # (N, Q)
        alpha, shift = at.alpha[..., None], (at.beta * q)[..., None]
        breaks = torch.cat([in_u[:, None] - shift, in_v[:, None] + shift], dim=-1) / alpha
        p, inner = piecewise(breaks, count, reach)  # (N, Q, P)
        weight = (inner * outer[..., None]).flatten(1)
        return _sum(f, at, p.flatten(1), q.repeat_interleave(p.shape[-1], dim=1), weight)

    def rule(at: Coordinates, count: int) -> Float[Tensor, " N"]:
        nodes = (len(kinks) ** 2 + 1) * (2 * len(kinks) + 1) * count**2
        return _by_chunks(at, nodes, lambda some: part(some, count))

    return rule


def _sum(f: Function, at: Coordinates, p: Tensor, q: Tensor, weight: Tensor) -> Tensor:
    """Return the sum of f(u) f(v); p, q and the weights are (M,) or (N, M)."""
    along, across = at.alpha * p, at.beta * q
    values: Tensor = f(at.u * (along + across)) * f(at.v * (along - across))
    return (values * weight).sum(dim=1)


def _by_chunks(
    at: Coordinates, nodes: int, function: Callable[[Coordinates], Tensor]
) -> Float[Tensor, " N"]:
    step = max(1, CHUNK // nodes)
    return torch.cat(
        [function(at[slice(start, start + step)]) for start in range(0, len(at.u), step)]
    )


def _extremes(at: Coordinates) -> Int[Tensor, " n"]:
    """Return the rows that are hardest on a rule, and a few others.

    Those are the steepest in p and in q; and the least steep, whose kinks are out of reach, so
    that a piece is as long as it gets.
    """
    u, v, alpha, beta = at.u, at.v.abs(), at.alpha, at.beta
    steepest = [part.argmax() for part in (u * alpha, v * alpha, u * beta, v * beta, u * v, beta)]
    gentlest = [part.argmin() for part in (u, v, u * v, beta)]
    others = torch.linspace(0, len(u) - 1, 5, device=u.device).long()
    rows: Tensor = torch.cat([torch.stack(steepest + gentlest), others]).unique()
    return rows
