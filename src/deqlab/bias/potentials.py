"""Mirror potentials: what a gradient flow on a reparametrised linear model minimises.

A linear model y = sum_i beta_i x_i whose coefficients are beta = beta(p), one coordinate at a time,
follows under gradient flow on p

    d beta_i / dt = -(1 / Q''(beta_i)) dL / d beta_i,    that is    d Q'(beta) / dt = -grad L(beta):

mirror descent in continuous time with the potential Q (Gunasekar et al. 2018; Woodworth et al.
2020). For the squared loss, grad L lies in the row space of the data X, so that a limit which fits
the data is, among all coefficients that do, the closest to the start in Bregman divergence,

    argmin D_Q(beta, beta(0))    subject to    X beta = y,
    D_Q(a, b) = sum_i Q(a_i) - Q(b_i) - Q'(b_i) (a_i - b_i).

The potentials, with 1 / Q'' the squared length of d beta / dp (`parametrisations` has the models):

    linear regression         1 / Q'' = 1                     Q = beta^2 / 2
    DEQ z = w z + x           1 / Q'' = beta^4                Q = 1 / (6 beta^2),  beta > 0
    DEQ z = w z + u x         1 / Q'' = (1 + beta^2)^2 / r^2  Q = r^2 beta atan(beta) / 2
    diagonal net, beta = u v  1 / Q'' = sqrt(4 beta^2 + k^2)  Q = (beta asinh(2 beta / k)
                                                                  - sqrt(4 beta^2 + k^2) / 2) / 2
      with u = v              1 / Q'' = 2 beta                Q = beta (log beta - 1) / 2,  beta > 0

with r^2 = u^2 + (1 - w)^2 and k = |u^2 - v^2|, which the flow conserves. The first is classical,
those of the net are published (Woodworth et al. 2020), the two of the DEQs are derived; that
gradient flow on a diagonal linear DEQ favours dense features is published (Wu et al. 2024).

What a model prefers depends on where it starts. 1 / (6 beta^2) is infinite at 0: a feature that is
there never leaves. But from small coefficients s, 3 s^3 D_Q tends to sum_i beta_i: the closest fit
is then the sparsest in l1 among the positive ones (derived). beta atan(beta) is a square near 0
and |beta| pi / 2 far from it: from u = 0 the second DEQ is sparse where coefficients are large.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from typing_extensions import override

Coefficients = Float[np.ndarray, " n"]


class Potential(ABC):
    """A strictly convex sum of functions of one coefficient each.

    Attributes:
        positive: Whether it lives on beta > 0 only.
    """

    positive: ClassVar[bool] = False

    @abstractmethod
    def value(self, beta: Coefficients) -> float:
        """Return Q(beta), summed over the coefficients."""

    @abstractmethod
    def slope(self, beta: Coefficients) -> Coefficients:
        """Return Q'(beta), by coefficient."""

    @abstractmethod
    def curvature(self, beta: Coefficients) -> Coefficients:
        """Return Q''(beta), by coefficient: above 0."""

    def check(self, beta: Coefficients, *, name: str) -> None:
        """Raise ValueError unless Q is finite at `beta`."""
        inside = np.isfinite(beta) & ((beta > 0) | (not self.positive))
        if not inside.all():
            i = int(np.argmin(inside))
            domain = "finite and above 0" if self.positive else "finite"
            raise ValueError(
                f"{name} must be {domain} for {type(self).__name__}, got {name}[{i}] = {beta[i]:g}"
            )


@dataclass(frozen=True)
class Quadratic(Potential):
    """Q = beta^2 / 2, of linear regression."""

    @override
    def value(self, beta: Coefficients) -> float:
        return float((beta**2).sum() / 2)

    @override
    def slope(self, beta: Coefficients) -> Coefficients:
        return beta.copy()

    @override
    def curvature(self, beta: Coefficients) -> Coefficients:
        return np.ones_like(beta)


@dataclass(frozen=True)
class InverseSquare(Potential):
    """Q = 1 / (6 beta^2) on beta > 0, of the DEQ z = w z + x."""

    positive = True

    @override
    def value(self, beta: Coefficients) -> float:
        return float((1 / (6 * beta**2)).sum())

    @override
    def slope(self, beta: Coefficients) -> Coefficients:
        slope: Coefficients = -1 / (3 * beta**3)
        return slope

    @override
    def curvature(self, beta: Coefficients) -> Coefficients:
        curvature: Coefficients = beta**-4.0
        return curvature


@dataclass(frozen=True)
class Arctangent(Potential):
    """Q = r^2 beta atan(beta) / 2, of the DEQ z = w z + u x.

    Attributes:
        radius2: r^2 = u^2 + (1 - w)^2 of each coefficient, above 0.
    """

    radius2: Coefficients

    @override
    def value(self, beta: Coefficients) -> float:
        return float((self.radius2 * beta * np.arctan(beta)).sum() / 2)

    @override
    def slope(self, beta: Coefficients) -> Coefficients:
        slope: Coefficients = self.radius2 * (np.arctan(beta) + beta / (1 + beta**2)) / 2
        return slope

    @override
    def curvature(self, beta: Coefficients) -> Coefficients:
        curvature: Coefficients = self.radius2 / (1 + beta**2) ** 2
        return curvature


@dataclass(frozen=True)
class HyperbolicEntropy(Potential):
    """The potential of the diagonal net beta = u v, up to a constant.

    Attributes:
        gap: k = |u^2 - v^2| of each coefficient, above 0. The smaller, the sparser the limit.
    """

    gap: Coefficients

    @override
    def value(self, beta: Coefficients) -> float:
        root = np.hypot(2 * beta, self.gap)
        return float((beta * np.arcsinh(2 * beta / self.gap) - root / 2).sum() / 2)

    @override
    def slope(self, beta: Coefficients) -> Coefficients:
        slope: Coefficients = np.arcsinh(2 * beta / self.gap) / 2
        return slope

    @override
    def curvature(self, beta: Coefficients) -> Coefficients:
        curvature: Coefficients = 1 / np.hypot(2 * beta, self.gap)
        return curvature


@dataclass(frozen=True)
class Entropy(Potential):
    """Q = beta (log beta - 1) / 2 on beta > 0, of the diagonal net beta = u v with u = v."""

    positive = True

    @override
    def value(self, beta: Coefficients) -> float:
        return float((beta * (np.log(beta) - 1)).sum() / 2)

    @override
    def slope(self, beta: Coefficients) -> Coefficients:
        slope: Coefficients = np.log(beta) / 2
        return slope

    @override
    def curvature(self, beta: Coefficients) -> Coefficients:
        curvature: Coefficients = 1 / (2 * beta)
        return curvature


def bregman(potential: Potential, beta: Coefficients, start: Coefficients) -> float:
    """Return D_Q(beta, start), which is 0 at `start` and above 0 elsewhere.

    Raises:
        ValueError: One of the two is outside the domain of Q.
    """
    potential.check(beta, name="beta")
    potential.check(start, name="start")
    linear = potential.slope(start) @ (beta - start)
    return float(potential.value(beta) - potential.value(start) - linear)
