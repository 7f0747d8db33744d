"""Activations whose duals are found by quadrature."""

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from deqlab.activations.base import Activation
from deqlab.activations.covariance import Covariance
from deqlab.activations.expectation import expectation
from deqlab.activations.kinks import merged
from deqlab.activations.quadrature import pair_expectation

NEAR, JUMP = 1e-12, 1e-6
"""phi jumps if it changes by more than JUMP over NEAR: a slope of 1e6 is no slope."""


@dataclass(frozen=True)
class Numeric(Activation):
    """An activation that is analytic but for finitely many kinks."""

    @property
    @override
    def closed_form(self) -> bool:
        return False

    @property
    def jumps(self) -> tuple[float, ...]:
        """The kinks at which phi itself jumps: its derivative is not square-integrable there."""
        return tuple(k for k in self.kinks if _jumps(self, k))

    @override
    def _dual(self, pair: Covariance, m: float = 0.0) -> Tensor:
        return pair_expectation(lambda u: self(u) - m, self.kinks, pair, repr(self))

    @override
    def _dual_derivative(self, pair: Covariance) -> Tensor:
        if self.jumps:
            raise ValueError(
                f"{self!r} jumps at {self.jumps[0]:g}: E[phi'^2] is infinite there, and so are "
                "the tangent kernels and the moments of phi; its dual is all that it has"
            )
        return pair_expectation(self.derivative, self.kinks, pair, repr(self))

    @override
    def _mean(self, a: Tensor) -> Tensor:
        # Both signs: the mean of an odd function is 0 to the last bit, and small data are not
        # shifted by its rounding.
        means = expectation(
            lambda u, _: torch.stack([self(u), self(-u)]),
            a.flatten(),
            tuple(merged([*self.kinks, *(-k for k in self.kinks)])),
            size=lambda u: self(u).abs() + self(-u).abs(),
            name=repr(self),
        )
        return (means.sum(dim=0) / 2).view(a.shape)


def _jumps(phi: Activation, kink: float) -> bool:
    width = NEAR * max(1.0, abs(kink))
    left, right = phi(torch.tensor([kink - width, kink + width], dtype=torch.float64)).tolist()
    return bool(abs(right - left) > JUMP * (1 + abs(left)))
