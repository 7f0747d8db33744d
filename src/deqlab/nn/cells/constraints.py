"""Parametrisations of a weight W that keep z = phi(Wz + q) well-posed, for 1-Lipschitz phi.

A constraint is a module that maps a free matrix V to W, with gradients. It has no state of its
own: the same V gives the same W in training and in evaluation. `theorem` says what is proved at the
W that came out: the weight is looked at, and not the promise.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.arguments import check_number
from deqlab.stability.certificate import Certificate
from deqlab.stability.certificates.norms import infinity_norm, two_norm
from deqlab.stability.certificates.strongest import best_certificate
from deqlab.stability.certificates.triangular import triangular
from deqlab.stability.slopes import Slope


class Unconstrained(nn.Module):
    """W = V: nothing keeps the equation well-posed but training."""

    @override
    def forward(self, free: Float[Tensor, "m m"]) -> Float[Tensor, "m m"]:
        return free

    def theorem(self, weight: Float[Tensor, "m m"], slope: Slope) -> Certificate:
        """Return the strongest of what all theorems prove at W."""
        return best_certificate(weight, slope=slope.lipschitz, nondecreasing=slope.nondecreasing)


class SpectralNorm(nn.Module):
    """W = V min(1, bound / |V|_2): f contracts by at least `bound` if phi is 1-Lipschitz.

    The norm is computed exactly at every call: an estimate carried from step to step would make
    training and evaluation disagree.

    Attributes:
        bound: The largest spectral norm, in (0, 1].
    """

    def __init__(self, bound: float = 0.95) -> None:
        super().__init__()
        _check_bound(bound)
        self.bound = bound

    @override
    def forward(self, free: Float[Tensor, "m m"]) -> Float[Tensor, "m m"]:
        with full_precision(free) as (v,):
            # Not matrix_norm: it takes another routine, and rounds otherwise, if a tape is on.
            norm = torch.linalg.svd(v, full_matrices=False)[1][0]
            # Not min(1, bound / norm): its gradient at norm 0 is 0 * inf.
            w: Tensor = v * (self.bound / norm.clamp_min(self.bound))
        return w.to(free.dtype)

    def theorem(self, weight: Float[Tensor, "m m"], slope: Slope) -> Certificate:
        """Return what the spectral norm of W proves."""
        return two_norm(weight, slope=slope.lipschitz)

    @override
    def extra_repr(self) -> str:
        return f"bound={self.bound}"


class InfinityNorm(nn.Module):
    """W with rows V_i min(1, bound / |V_i|_1): its infinity norm is at most `bound`.

    If phi is 1-Lipschitz entry by entry, f contracts by `bound` in the norm of the largest entry,
    and by the spectral radius of |W| in a weighted one. Source: El Ghaoui, Gu, Travacca, Askari &
    Tsai (2021), "Implicit deep learning"; there each row is projected on the ball of the 1-norm, by
    which entries become zero and stay without a gradient: rows are scaled here.

    Attributes:
        bound: The largest infinity norm, in (0, 1].
    """

    def __init__(self, bound: float = 0.95) -> None:
        super().__init__()
        _check_bound(bound)
        self.bound = bound

    @override
    def forward(self, free: Float[Tensor, "m m"]) -> Float[Tensor, "m m"]:
        with full_precision(free) as (v,):
            norms = v.abs().sum(dim=1, keepdim=True)
            w: Tensor = v * (self.bound / norms.clamp_min(self.bound))
        return w.to(free.dtype)

    def theorem(self, weight: Float[Tensor, "m m"], slope: Slope) -> Certificate:
        """Return what the infinity norm of W proves."""
        return infinity_norm(weight, slope=slope.lipschitz)

    @override
    def extra_repr(self) -> str:
        return f"bound={self.bound}"


class Triangular(nn.Module):
    """W lower triangular, with diagonal bound tanh(diag V): well-posed at any size below it.

    Each coordinate then solves a scalar equation with slope below 1, in order, so that the fixed
    point exists and is unique for monotone 1-Lipschitz phi. The iteration itself may grow by a
    large factor before it converges.

    Attributes:
        bound: The largest diagonal entry, in (0, 1].
    """

    def __init__(self, bound: float = 0.9) -> None:
        super().__init__()
        _check_bound(bound)
        self.bound = bound

    @override
    def forward(self, free: Float[Tensor, "m m"]) -> Float[Tensor, "m m"]:
        return free.tril(-1) + torch.diag(self.bound * free.diagonal().tanh())

    def theorem(self, weight: Float[Tensor, "m m"], slope: Slope) -> Certificate:
        """Return what the diagonal of W proves, for a nondecreasing phi."""
        if not slope.nondecreasing:
            return Certificate.unknown("triangular W: the activation is not nondecreasing")
        return triangular(weight, slope=slope.lipschitz)

    @override
    def extra_repr(self) -> str:
        return f"bound={self.bound}"


@contextmanager
def full_precision(*free: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Give the tensors in float32 at least, and compute with them without autocast.

    What a constraint promises would not survive a product or a norm in half precision, and the
    factorisations of torch.linalg know none.
    """
    device = free[0].device.type
    autocast = device != "meta" and torch.is_autocast_enabled(device)
    with torch.autocast(device, enabled=False) if autocast else nullcontext():
        yield tuple(t.float() if t.dtype in (torch.bfloat16, torch.float16) else t for t in free)


def _check_bound(bound: float) -> None:
    check_number("bound", bound)
    if not 0 < bound <= 1:
        raise ValueError(f"bound must be in (0, 1], got {bound}")
