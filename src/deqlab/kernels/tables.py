"""Activations with their duals from tables, for the many evaluations of a kernel."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from deqlab.activations.base import Activation
from deqlab.kernels.chebyshev import interpolated
from deqlab.kernels.pairs import PairFunction


def duals_are_smooth(phi: Activation) -> bool:
    """Return whether the duals of phi are analytic in the two deviations and the angle.

    A kink k away from 0 is met by u and v at k / |u| and k / |v|. Where these differ by little,
    so does the dual change over a small angle: it is not analytic where both vanish.
    """
    return not any(phi.kinks)


def kernels_are_smooth(phi: Activation) -> bool:
    """Return whether kernels made of several such duals are analytic, too.

    What is near a kink at 0 in one dual depends on the angle and on the difference of norms in
    the next: u and v no longer share their direction where x and y do.
    """
    return not phi.kinks


def vanishes(phi: Activation) -> bool:
    """Return whether phi(0) is 0, and so the kernels of a sample that is 0."""
    return float(phi(torch.zeros((), dtype=torch.float64))) == 0


def tabulated(phi: Activation, variances: Tensor) -> "Activation | Tabulated":
    """Return phi with its duals from tables, where it needs them and can have them.

    Args:
        phi: The activation.
        variances: The variances of its arguments; those between the least and the largest are in
            the tables.
    """
    if phi.closed_form or not duals_are_smooth(phi):
        return phi
    return Tabulated(phi, variances)


@dataclass(frozen=True, eq=False)
class Tabulated:
    """An activation for arguments of variances in a range, by interpolation.

    Attributes:
        phi: The activation.
        variances: Their least and their largest.
    """

    phi: Activation
    variances: Tensor

    def dual(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        """Return E[phi(u) phi(v)]; shapes as in `Interpolant`."""
        return self._duals(a, b, c)

    def dual_derivative(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        """Return E[phi'(u) phi'(v)], likewise."""
        return self._slopes(a, b, c)

    @cached_property
    def _duals(self) -> PairFunction:
        return interpolated(self.phi.dual, self.variances, vanishes=vanishes(self.phi))

    @cached_property
    def _slopes(self) -> PairFunction:
        return interpolated(self.phi.dual_derivative, self.variances, vanishes=False)
