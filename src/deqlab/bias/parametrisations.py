"""Linear models y = sum_i beta_i x_i whose coefficients have parameters p of their own.

    linear regression      beta = b                      p = (b)
    DEQ z = w z + x        beta = 1 / (1 - w)            p = (w)
    DEQ z = w z + u x      beta = u / (1 - w)            p = (w, u)
    diagonal net           beta = u v                    p = (u, v)

Gradient flow on p is dp/dt = -(d beta / dp) dL / d beta. It conserves, for each coefficient,
u^2 + (1 - w)^2 in the second DEQ (derived: u u' = -u g / (1 - w) = (1 - w) w', with g = dL / d
beta) and u^2 - v^2 in the net (Du, Hu & Lee 2018). In the second DEQ, u = r sin(phi) and 1 - w =
r cos(phi) with a constant r, so that w stays in [1 - r, 1): a flow from w = 0, u = 0 is stable
forever. In the first, w may fall below -1, to a coefficient below 1/2: the equilibrium still
exists and is unique, but the iteration z <- w z + x leaves it.

Both DEQs are well-posed where w < 1. At w = 1 the coefficient is infinite.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from typing_extensions import override

from deqlab.bias.potentials import (
    Arctangent,
    Coefficients,
    Entropy,
    HyperbolicEntropy,
    InverseSquare,
    Potential,
    Quadratic,
)

Parameters = Float[np.ndarray, "k n"]
"""One row for each kind of parameter, in the order of the table above."""


class Parametrisation(ABC):
    """How the coefficients of a linear model depend on what is trained.

    Attributes:
        num_kinds: k, the parameters of one coefficient.
    """

    num_kinds: ClassVar[int]

    @abstractmethod
    def start(self, s: float, n: int) -> Parameters:
        """Return parameters at which all n coefficients are s, which no model refuses above 0."""

    @abstractmethod
    def coefficients(self, p: Parameters) -> Coefficients:
        """Return beta."""

    @abstractmethod
    def derivatives(self, p: Parameters) -> Parameters:
        """Return d beta_i / d p_ji."""

    @abstractmethod
    def conserved(self, p: Parameters) -> Float[np.ndarray, "c n"]:
        """Return what a gradient flow through p never changes; c is 0 or 1."""

    @abstractmethod
    def potential(self, p: Parameters) -> Potential:
        """Return the mirror potential of a flow through p.

        Raises:
            ValueError: There is none: the flow cannot leave some coefficient where it is.
        """

    def check(self, p: Parameters) -> None:
        """Raise ValueError unless `p` are parameters of this model, finite and well-posed."""
        if len(p) != self.num_kinds:
            raise ValueError(
                f"{type(self).__name__} has {self.num_kinds} parameters per coefficient, "
                f"got {len(p)}"
            )
        if not np.isfinite(p).all():
            raise ValueError(f"the parameters of {type(self).__name__} must be finite, got {p}")


class Linear(Parametrisation):
    """beta = b: linear regression, whose flow from 0 ends at the least norm."""

    num_kinds = 1

    @override
    def start(self, s: float, n: int) -> Parameters:
        return np.full((1, n), s)

    @override
    def coefficients(self, p: Parameters) -> Coefficients:
        return np.array(p[0])

    @override
    def derivatives(self, p: Parameters) -> Parameters:
        return np.ones_like(p)

    @override
    def conserved(self, p: Parameters) -> Float[np.ndarray, "c n"]:
        return np.empty((0, p.shape[1]))

    @override
    def potential(self, p: Parameters) -> Quadratic:
        return Quadratic()


class Recurrent(Parametrisation):
    """beta = 1 / (1 - w): the diagonal linear DEQ z = w z + x."""

    num_kinds = 1

    @override
    def start(self, s: float, n: int) -> Parameters:
        return np.full((1, n), 1 - 1 / s)

    @override
    def coefficients(self, p: Parameters) -> Coefficients:
        beta: Coefficients = 1 / (1 - p[0])
        return beta

    @override
    def derivatives(self, p: Parameters) -> Parameters:
        slope: Parameters = (1 - p) ** -2.0
        return slope

    @override
    def conserved(self, p: Parameters) -> Float[np.ndarray, "c n"]:
        return np.empty((0, p.shape[1]))

    @override
    def potential(self, p: Parameters) -> InverseSquare:
        return InverseSquare()

    @override
    def check(self, p: Parameters) -> None:
        super().check(p)
        check_well_posed(p[0])


class Gated(Parametrisation):
    """beta = u / (1 - w): the diagonal linear DEQ z = w z + u x, with p = (w, u)."""

    num_kinds = 2

    @override
    def start(self, s: float, n: int) -> Parameters:
        return np.stack([np.zeros(n), np.full(n, s)])

    @override
    def coefficients(self, p: Parameters) -> Coefficients:
        w, u = p
        beta: Coefficients = u / (1 - w)
        return beta

    @override
    def derivatives(self, p: Parameters) -> Parameters:
        w, u = p
        return np.stack([u / (1 - w) ** 2, 1 / (1 - w)])

    @override
    def conserved(self, p: Parameters) -> Float[np.ndarray, "c n"]:
        w, u = p
        radius2: Coefficients = u**2 + (1 - w) ** 2
        return radius2[None]

    @override
    def potential(self, p: Parameters) -> Arctangent:
        return Arctangent(self.conserved(p)[0])

    @override
    def check(self, p: Parameters) -> None:
        super().check(p)
        check_well_posed(p[0])


class Product(Parametrisation):
    """beta = u v: the diagonal linear net, with p = (u, v)."""

    num_kinds = 2

    @override
    def start(self, s: float, n: int) -> Parameters:
        return np.full((2, n), s**0.5)

    @override
    def coefficients(self, p: Parameters) -> Coefficients:
        u, v = p
        beta: Coefficients = u * v
        return beta

    @override
    def derivatives(self, p: Parameters) -> Parameters:
        u, v = p
        return np.stack([v, u])

    @override
    def conserved(self, p: Parameters) -> Float[np.ndarray, "c n"]:
        u, v = p
        gap: Coefficients = u**2 - v**2
        return gap[None]

    @override
    def potential(self, p: Parameters) -> HyperbolicEntropy | Entropy:
        gap = np.abs(self.conserved(p)[0])
        if (gap > 0).all():
            return HyperbolicEntropy(gap)
        if not gap.any() and (self.coefficients(p) > 0).all():
            return Entropy()
        raise ValueError(
            "a diagonal net has a potential here if |u| and |v| differ at every coefficient, or if "
            f"u = v, not 0, at every one; they differ at {int((gap > 0).sum())} of {len(gap)}; "
            "start with v = 0, or with v = u"
        )


def check_well_posed(w: Coefficients) -> None:
    """Raise ValueError unless every w is below 1."""
    ill = ~(w < 1)  # true for nan
    if ill.any():
        i = int(np.argmax(ill))
        raise ValueError(
            f"w must be below 1, got w[{i}] = {w[i]:g}: z = w z + x has no stable equilibrium "
            "there, and its coefficient 1 / (1 - w) is infinite on the way; start lower, or take "
            "smaller steps"
        )
