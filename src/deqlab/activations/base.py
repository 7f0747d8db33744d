"""What every activation knows: its values, its derivative, and its means under Gaussians.

The dual of phi is E[phi(u) phi(v)] for Gaussian (u, v) (Daniely et al. 2016, arXiv:1602.05897);
its derivative by Cov(u, v) is the dual of phi' (Price 1958).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TypeAlias, overload

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from deqlab.activations.covariance import Covariance
from deqlab.activations.expectation import expectation
from deqlab.activations.moments import Moments

Numbers: TypeAlias = Float[Tensor, "..."] | float


@dataclass(frozen=True)
class Activation(ABC):
    """An elementwise function phi."""

    @property
    @abstractmethod
    def kinks(self) -> tuple[float, ...]:
        """Where phi or one of its derivatives jumps, in ascending order."""

    @property
    @abstractmethod
    def closed_form(self) -> bool:
        """Whether dual, dual_derivative and mean need no quadrature."""

    @abstractmethod
    def __call__(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        """Return phi(u), in the dtype of u; differentiable."""

    @abstractmethod
    def derivative(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        """Return phi'(u); at a kink, the derivative from one side or the other."""

    @abstractmethod
    def _dual(self, pair: Covariance, m: float = 0.0) -> Tensor:
        """Return E[(phi(u) - m) (phi(v) - m)].

        The constant is taken off inside: where phi is nearly constant, as a sigmoid of small
        data is, the square of m off the mean of the product would leave rounding only.
        """

    @abstractmethod
    def _dual_derivative(self, pair: Covariance) -> Tensor: ...

    @abstractmethod
    def _mean(self, a: Tensor) -> Tensor: ...

    @torch.no_grad()
    def dual(self, a: Numbers, b: Numbers, c: Numbers) -> Float[Tensor, "..."]:
        """Return E[phi(u) phi(v)] for (u, v) ~ N(0, [[a, c], [c, b]]).

        Right to 1e-12 of sqrt(E[phi(u)^2] E[phi(v)^2]). No gradient flows.

        Args:
            a: Var u, 0 or more; a number, or a float64 tensor that broadcasts with b and c.
            b: Var v.
            c: Cov(u, v), at most sqrt(ab) in size; above it by rounding, 1e-9, it is clamped.

        Raises:
            ValueError: An entry is no covariance.
            RuntimeError: phi is too steep, or grows too fast, for quadrature at these variances.
        """
        return self._dual(Covariance.checked(*_tensors(a, b, c)))

    @torch.no_grad()
    def dual_derivative(self, a: Numbers, b: Numbers, c: Numbers) -> Float[Tensor, "..."]:
        """Return E[phi'(u) phi'(v)], the derivative of `dual` by c; arguments as there.

        Where a or b is 0, its limit from above with c = 0. For phi with kinks it has the slope
        of a square root at |rho| = 1: it loses there half of the digits that c has lost.

        Raises:
            ValueError: An entry is no covariance, or phi jumps.
            RuntimeError: phi is too steep, or grows too fast, for quadrature at these variances.
        """
        return self._dual_derivative(Covariance.checked(*_tensors(a, b, c)))

    @overload
    def mean(self, a: float) -> float: ...

    @overload
    def mean(self, a: Tensor) -> Tensor: ...

    @torch.no_grad()
    def mean(self, a: float | Tensor) -> float | Tensor:
        """Return E[phi(sqrt(a) xi)], xi ~ N(0, 1), for a variance or a float64 tensor of them.

        Raises:
            ValueError: A variance is negative, or not finite.
            RuntimeError: phi is too steep, or grows too fast, for quadrature at these variances.
        """
        variance = torch.as_tensor(a, dtype=torch.float64)
        inside = (variance >= 0) & (variance < torch.inf)
        if not bool(inside.all()):
            raise ValueError(
                f"a must be 0 or more, and finite, got {float(variance[~inside].flatten()[0])}"
            )
        mean = self._mean(variance)
        return mean if isinstance(a, Tensor) else float(mean)

    @torch.no_grad()
    def moments(self, tau: float, centred: bool = True) -> Moments:
        """Return what decides the kernels of phi in high dimension.

        Args:
            tau: Standard deviation of the argument, above 0.
            centred: Whether phi is replaced by phi - E[phi(tau xi)].

        Raises:
            ValueError: tau is not above 0, or phi jumps.
            RuntimeError: phi is too steep, or grows too fast, for quadrature at tau.
        """
        if not 0 < tau < float("inf"):
            raise ValueError(f"tau must be more than 0, and finite, got {tau}")
        mean = self.mean(float(tau) ** 2)
        return self._moments(float(tau), mean, mean if centred else 0.0)

    def _moments(self, tau: float, mean: float, shift: float) -> Moments:
        """Return those of phi - shift, by quadrature."""
        variance = torch.tensor([tau**2], dtype=torch.float64)

        def integrand(u: Tensor, xi: Tensor) -> Tensor:
            value, slope = self(u) - shift, self.derivative(u)
            return torch.stack([slope, xi * slope, 2 * xi * value * slope, value * value])

        first, second, q, gamma2 = expectation(
            integrand,
            variance,
            self.kinks,
            size=lambda u: self(u).abs() + self.derivative(u).abs() + abs(shift),
            name=repr(self),
        )[:, 0].tolist()
        return Moments(
            mean=mean,
            g1=first**2,
            g2=(second / tau) ** 2,
            q=q / tau,
            gamma2=gamma2,
            d=float(self.dual_derivative(variance, variance, variance)),
        )

    def centred(self, m: float) -> "Shifted":
        """Return phi - m."""
        return Shifted(self, m)


@dataclass(frozen=True)
class Shifted(Activation):
    """An activation less a constant.

    Attributes:
        activation: phi.
        m: What is taken off.
    """

    activation: Activation
    m: float

    @property
    @override
    def kinks(self) -> tuple[float, ...]:
        return self.activation.kinks

    @property
    @override
    def closed_form(self) -> bool:
        return self.activation.closed_form

    @override
    def __call__(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        return self.activation(u) - self.m

    @override
    def derivative(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        return self.activation.derivative(u)

    @override
    def _dual(self, pair: Covariance, m: float = 0.0) -> Tensor:
        return self.activation._dual(pair, self.m + m)

    @override
    def _dual_derivative(self, pair: Covariance) -> Tensor:
        return self.activation._dual_derivative(pair)

    @override
    def _mean(self, a: Tensor) -> Tensor:
        return self.activation._mean(a) - self.m


def _tensors(*numbers: Numbers) -> tuple[Tensor, ...]:
    return tuple(
        x if isinstance(x, Tensor) else torch.tensor(x, dtype=torch.float64) for x in numbers
    )
