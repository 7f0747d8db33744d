"""The covariance of two Gaussians, [[a, c], [c, b]], on the domain |c| <= sqrt(ab).

Near its boundary |rho| = 1 the difference ab - c^2 loses its digits, and so does size - c, since
size = sqrt(a) sqrt(b) is rounded: at rho = 1 - 1e-12, E[relu'(u) relu'(v)] would be off by 4e-11.
So the products are formed with their rounding errors (Dekker 1971, Numer. Math. 18, sec. 4, 5).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

SLACK = 1e-9
"""How far |c| may be above sqrt(ab), relative to it, by the rounding of whoever computed them."""

ROUNDING = 4 * torch.finfo(torch.float64).eps
"""|c| as near to sqrt(ab) as this, relative to it, is taken as equal: both are rounded."""


SPLITTER = 2.0**27 + 1
"""Cuts the 53 bits of a float64 in two halves whose products are exact."""


@dataclass(frozen=True)
class Covariance:
    """Entries that broadcast, float64, checked.

    Attributes:
        a: Var u, at least 0.
        b: Var v, at least 0.
        c: Cov(u, v), in [-size, size].
        size: sqrt(a) sqrt(b).
    """

    a: Float[Tensor, "..."]
    b: Float[Tensor, "..."]
    c: Float[Tensor, "..."]
    size: Float[Tensor, "..."]

    @classmethod
    def checked(
        cls, a: Float[Tensor, "..."], b: Float[Tensor, "..."], c: Float[Tensor, "..."]
    ) -> "Covariance":
        """Clamp c to its domain.

        Raises:
            ValueError: The tensors are not float64, or not a covariance.
        """
        for name, tensor in (("a", a), ("b", b), ("c", c)):
            if tensor.dtype != torch.float64:
                raise ValueError(f"{name} must be float64, as duals are, got {tensor.dtype}")
        # sqrt(a)^2 is not quite a.
        size = torch.where(a == b, a, torch.sqrt(a) * torch.sqrt(b))
        inside = (a >= 0) & (b >= 0) & (a < torch.inf) & (b < torch.inf)
        inside = inside & (c.abs() <= size * (1 + SLACK))  # false for nan
        if not bool(inside.all()):
            at = tuple((~inside).nonzero()[0])
            first = [float(tensor.expand(inside.shape)[at]) for tensor in (a, b, c)]
            raise ValueError(
                "(a, b, c) = ({!r}, {!r}, {!r}) is no covariance of a pair: a and b must be 0 or "
                "more, finite, and |c| at most sqrt(a b)".format(*first)
            )
        on_boundary = c.abs() >= size * (1 - ROUNDING)
        return cls(a, b, torch.where(on_boundary, torch.copysign(size, c), c), size)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that the entries broadcast to."""
        return tuple(torch.broadcast_shapes(self.size.shape, self.c.shape))

    @property
    def root(self) -> Float[Tensor, "..."]:
        """sqrt(ab - c^2)."""
        return torch.where(self.c.abs() >= self.size, 0.0, _root(self.a, self.b, self.c))

    @property
    def arcsine(self) -> Float[Tensor, "..."]:
        """asin(rho); 0 if a or b is 0."""
        return torch.atan2(self.c, self.root)


def _root(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return sqrt(ab - c^2) to full relative accuracy, at any scale that float64 has."""
    # Powers of two move a and b near 1 without rounding, where no product leaves the range.
    _, scale_a = torch.frexp(a.sqrt())
    _, scale_b = torch.frexp(b.sqrt())
    a, b = torch.ldexp(a, -2 * scale_a), torch.ldexp(b, -2 * scale_b)
    c = torch.ldexp(c, -(scale_a + scale_b))
    ab, cc = a * b, c * c
    difference = (ab - cc) + (_rounding(a, b, ab) - _rounding(c, c, cc))
    return torch.ldexp(difference.clamp(min=0).sqrt(), scale_a + scale_b)


def _rounding(x: Tensor, y: Tensor, product: Tensor) -> Tensor:
    """Return xy - product, where `product` is xy rounded."""
    (x_high, x_low), (y_high, y_low) = _halves(x), _halves(y)
    return ((x_high * y_high - product) + x_high * y_low + x_low * y_high) + x_low * y_low


def _halves(x: Tensor) -> tuple[Tensor, Tensor]:
    shifted = SPLITTER * x
    high = shifted - (shifted - x)
    return high, x - high
