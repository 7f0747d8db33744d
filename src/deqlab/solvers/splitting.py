"""Operator splitting for z = sigma(W z + q), where I - W is monotone and W may be large.

With A = I - W >= m I, |A| = L, and prox_alpha of sigma's function (see `monotone_map`):

    forward-backward:    z <- prox_alpha(z - alpha (A z - q)),          alpha < 2 m / L^2

    Peaceman-Rachford:   h = (I + alpha A)^-1 (2 z - u + alpha q)
                         u <- 2 h - (2 z - u),    z <- prox_alpha(u),   any alpha > 0
    Douglas-Rachford:    u <- u + h - z,          z <- prox_alpha(u),   any alpha > 0

The loop evaluates f beside, to judge |f(z) - z|. Peaceman-Rachford needs m > 0; Douglas-Rachford
moves half as far, and needs only m = 0. Sources: Winston & Kolter (2020), "Monotone operator
equilibrium networks"; Ryu & Boyd (2016), "A primer on monotone operator methods".
"""

import math
from abc import ABC
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from deqlab.solvers.base import Solver
from deqlab.solvers.loop.evaluation import CountedMap, Iterate
from deqlab.solvers.monotone_map import parts

GOLDEN = (5**0.5 - 1) / 2


class Shared:
    """What all rows share, made at the first step; rows that leave take no part of it along."""

    alpha: float | None = None
    resolvent: Tensor | None = None  # the transpose of (I + alpha A)^-1


@dataclass
class Halves:
    """What a step of Peaceman-Rachford or Douglas-Rachford leaves to the next."""

    shared: Shared
    u: Tensor | None = None  # (B, D), with z = prox_alpha(u)


@dataclass(frozen=True, kw_only=True)
class ForwardBackward(Solver[Shared]):
    """Forward-backward splitting: no system to solve, but it needs a small alpha.

    It needs about (L / m)^2 steps, where `PeacemanRachford` needs L / m: take that one, or raise
    max_steps, where I - W is far from symmetric or m is small.

    Attributes:
        alpha: The step, more than 0; it converges below 2 m / L^2. None takes the one of least
            |I - alpha (I - W)|, a contraction, which costs a few eigenvalue problems of the size
            of W a solve.
    """

    alpha: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha is not None:
            _check_alpha(self.alpha)

    @override
    def init(self, z: Float[Tensor, "B D"]) -> Shared:
        return Shared()

    @override
    def step(
        self, f: CountedMap, iterate: Iterate, memory: Shared
    ) -> tuple[Float[Tensor, "B D"], Shared]:
        z = iterate.z
        split, w, q = parts(f, type(self).__name__, z.dtype)
        if memory.alpha is None:
            memory.alpha = contracting_alpha(w) if self.alpha is None else self.alpha
        image = torch.addmm(q, z, w.mT)
        return split.prox(torch.lerp(z, image, memory.alpha), memory.alpha), memory


@dataclass(frozen=True, kw_only=True)
class _Reflections(Solver[Halves], ABC):
    """u <- u + relaxation (h - z): what differs between the two methods is one number."""

    alpha: float = 1.0

    relaxation: ClassVar[float]

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_alpha(self.alpha)

    @override
    def init(self, z: Float[Tensor, "B D"]) -> Halves:
        return Halves(Shared())

    @override
    def step(
        self, f: CountedMap, iterate: Iterate, memory: Halves
    ) -> tuple[Float[Tensor, "B D"], Halves]:
        z = iterate.z
        split, w, q = parts(f, type(self).__name__, z.dtype)
        shared = memory.shared
        if shared.resolvent is None:
            shared.resolvent = resolvent(w, self.alpha).mT
        # At first, a u that makes a fixed point stay one: u - z = alpha (W z + q - z).
        u = memory.u
        u = torch.lerp(z, torch.addmm(q, z, w.mT), self.alpha) if u is None else u
        half = (2 * z - u + self.alpha * q) @ shared.resolvent
        memory.u = u + self.relaxation * (half - z)
        return split.prox(memory.u, self.alpha), memory


@dataclass(frozen=True, kw_only=True)
class PeacemanRachford(_Reflections):
    """Peaceman-Rachford splitting: the fastest of the three where I - W >= m I with m > 0.

    Memory: 1 state. Work per step beyond f: one more product with a matrix of the size of W, and
    one inverse, in float64, a solve.

    Attributes:
        alpha: More than 0; it changes the speed and not the answer.
    """

    relaxation: ClassVar[float] = 2.0


@dataclass(frozen=True, kw_only=True)
class DouglasRachford(_Reflections):
    """Douglas-Rachford splitting: half the step of Peaceman-Rachford, and m = 0 is enough.

    Memory and work are those of `PeacemanRachford`.

    Attributes:
        alpha: More than 0; it changes the speed and not the answer.
    """

    relaxation: ClassVar[float] = 1.0


def contracting_alpha(w: Float[Tensor, "D D"]) -> float:
    """Return the alpha at which |I - alpha A| is least, to a percent; A = I - W.

    It is `safe_alpha` for a skew A - m I and several times that in general. The square of the norm
    is the largest eigenvalue of I - alpha (A + A') + alpha^2 A'A, a convex function of alpha, which
    golden sections narrow down.

    Raises:
        ValueError: I - W is not strongly monotone.
    """
    low = safe_alpha(w)
    if not len(w):
        return low
    eye = torch.eye(len(w), dtype=torch.float64, device=w.device)
    a = eye - w.detach().double()
    both, square = a + a.mT, a.mT @ a

    def norm(alpha: float) -> float:
        return float(torch.linalg.eigvalsh(eye - alpha * both + alpha**2 * square)[-1])

    # Where alpha L = 2, alpha A maps some vector to twice its length: the norm is 1 or more.
    high = 2 / math.sqrt(float(torch.linalg.eigvalsh(square)[-1]))
    inner, outer = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_inner, at_outer = norm(inner), norm(outer)
    while high - low > 0.01 * low:
        if at_inner < at_outer:
            high, outer, at_outer = outer, inner, at_inner
            inner = high - GOLDEN * (high - low)
            at_inner = norm(inner)
        else:
            low, inner, at_inner = inner, outer, at_outer
            outer = low + GOLDEN * (high - low)
            at_outer = norm(outer)
    return (low + high) / 2


def safe_alpha(w: Float[Tensor, "D D"]) -> float:
    """Return m / L^2: half the bound of forward-backward, where what it promises contracts most.

    Raises:
        ValueError: I - W is not strongly monotone.
    """
    if not len(w):
        return 1.0
    a = torch.eye(len(w), dtype=torch.float64, device=w.device) - w.detach().double()
    margin = float(torch.linalg.eigvalsh((a + a.mT) / 2)[0])
    if not margin > 0:
        raise ValueError(
            f"ForwardBackward needs I - W >= m I with m > 0, got m = {margin:.3g}: bound W as "
            "nn.MonotoneCell does, or take Anderson(), which asks nothing of W"
        )
    norm = float(torch.linalg.matrix_norm(a, ord=2))
    return margin / norm**2


def resolvent(w: Float[Tensor, "D D"], alpha: float) -> Float[Tensor, "D D"]:
    """Return (I + alpha (I - W))^-1, computed in float64."""
    eye = torch.eye(len(w), dtype=torch.float64, device=w.device)
    inverse: Tensor = torch.linalg.inv(eye + alpha * (eye - w.double()))
    return inverse.to(w.dtype)


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < float("inf"):
        raise ValueError(f"alpha must be more than 0, and finite, got {alpha}")
