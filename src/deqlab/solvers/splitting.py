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

from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from deqlab.solvers.base import Solver
from deqlab.solvers.loop.evaluation import CountedMap, Iterate
from deqlab.solvers.split import Split, parts


class Shared:
    """What all rows share, made at the first step; rows that leave take no part of it along."""

    alpha: float | None = None
    resolvent: Callable[[Any], Any] | None = None  # (I + alpha A)^-1
    rows: int = 0  # that it was made for


@dataclass
class Halves:
    """What a step leaves to the next."""

    shared: Shared = field(default_factory=Shared)
    u: Tensor | None = None  # (B, D), with z = prox_alpha(u)
    z: Tensor | None = None  # (B, D), where the loop sees W z + q in its place


class SplittingMethod(Solver[Halves], ABC):
    """A method that splits: it needs the parts of the map (see `split`)."""

    @override
    def init(self, z: Float[Tensor, "B D"]) -> Halves:
        return Halves()

    def split(self, f: CountedMap, iterate: Iterate, memory: Halves) -> tuple[Split, Tensor]:
        """Return the parts of the map, and the z of the iterate."""
        split = parts(f.f, type(self).__name__, iterate.z.dtype)
        if not split.shows_image:
            return split, iterate.z
        # The loop starts at q, which is W z + q at z = 0.
        return split, torch.zeros_like(iterate.z) if memory.z is None else memory.z


@dataclass(frozen=True, kw_only=True)
class ForwardBackward(SplittingMethod):
    """Forward-backward splitting: no system to solve, but it needs a small alpha.

    It needs about (L / m)^2 steps, where `PeacemanRachford` needs L / m: take that one, or raise
    max_steps, where I - W is far from symmetric or m is small.

    Attributes:
        alpha: The step, more than 0; it converges below 2 m / L^2. None takes the one of least
            |I - alpha (I - W)|, a contraction, which costs a few eigenvalue problems of the size
            of W a solve; m / L^2 for a convolution, from those of its blocks.
    """

    alpha: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha is not None:
            _check_alpha(self.alpha)

    @override
    def step(
        self, f: CountedMap, iterate: Iterate, memory: Halves
    ) -> tuple[Float[Tensor, "B D"], Halves]:
        split, z = self.split(f, iterate, memory)
        shared = memory.shared
        if shared.alpha is None:
            known = self.alpha is not None
            shared.alpha = self.alpha if known else split.operator.contracting_alpha(split.w)
        assert shared.alpha is not None
        image = iterate.z if split.shows_image else split.image(z)
        z = split.prox(torch.lerp(z, image, shared.alpha), shared.alpha)
        if not split.shows_image:
            return z, memory
        return split.image(z), Halves(shared, z=z)


@dataclass(frozen=True, kw_only=True)
class _Reflections(SplittingMethod, ABC):
    """u <- u + relaxation (h - z): what differs between the two methods is one number."""

    alpha: float = 1.0

    relaxation: ClassVar[float]

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_alpha(self.alpha)

    @override
    def step(
        self, f: CountedMap, iterate: Iterate, memory: Halves
    ) -> tuple[Float[Tensor, "B D"], Halves]:
        split, z = self.split(f, iterate, memory)
        shared, alpha = memory.shared, self.alpha
        rows = len(z) if split.operator.per_row else 0
        if shared.resolvent is None or rows != shared.rows:
            shared.resolvent, shared.rows = split.resolvent(alpha), rows
        u = self._start(split, z) if memory.u is None else memory.u
        half = split.solved(shared.resolvent, torch.add(2 * z - u, split.q, alpha=alpha))
        u_next = u + self.relaxation * (half - z)
        z_next = split.prox(u_next, alpha)
        if not split.shows_image:
            return z_next, Halves(shared, u=u_next)
        # W h + q by the equation that h solves, (I + alpha A) h = 2 z - u + alpha q.
        image = half + (half + u - 2 * z) / alpha
        return image, Halves(shared, u=u_next, z=z_next)

    def _start(self, split: Split, z: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Return the first u: one that makes a fixed point stay one, u - z = alpha (W z + q - z).

        From z = 0 that one would solve for nothing but zeros in the first step: there it is 0.
        """
        moved = (z != 0).any(dim=1, keepdim=True)
        if z.is_cpu and not bool(moved.any()):  # a device is not asked
            return torch.zeros_like(z)
        return torch.where(moved, torch.lerp(z, split.image(z), self.alpha), 0.0)


@dataclass(frozen=True, kw_only=True)
class PeacemanRachford(_Reflections):
    """Peaceman-Rachford splitting: the fastest of the three where I - W >= m I with m > 0.

    Memory: 1 state. Work per step beyond f: one more product with a matrix of the size of W, and
    one inverse, in float64, a solve; of a convolution, one more convolution, and one small inverse
    a frequency.

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


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < float("inf"):
        raise ValueError(f"alpha must be more than 0, and finite, got {alpha}")
