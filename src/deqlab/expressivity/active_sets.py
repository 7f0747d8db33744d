"""A ReLU equation of one input, solved exactly for the units that are active.

Where S are the active units of z = relu(W z + U x + b), z is affine in x:

    z_S = (I - W_SS)^-1 (U_S x + b_S),    the others 0.

S is right at x if no unit of S is below 0 there, and the input W z + U x + b of no other above. One
that is wrong moves the unit over, until none is: semismooth Newton with full steps.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64
from torch import Tensor, nn

from deqlab.nn.cells.dense import DenseCell
from deqlab.nn.cells.monotone import MonotoneCell
from deqlab.solvers.proximal import proximal

CORRECTIONS = 50
"""How often the active units are corrected at most. After a solve that ended well none is needed,
or one."""

SLACK = 1e-13
"""A unit is at 0 if it is as close to it as this, relative to the numbers that it is a sum of."""


@dataclass(frozen=True)
class Lines:
    """What all units are near each x, as lines through it.

    Attributes:
        active: The units of S.
        value: z at x.
        slope: dz/dx.
        unit_value: z for units of S, and the input of relu for the others, at x.
        unit_slope: How fast that changes with x.
    """

    active: Bool[Tensor, "G m"]
    value: Float64[Tensor, "G m"]
    slope: Float64[Tensor, "G m"]
    unit_value: Float64[Tensor, "G m"]
    unit_slope: Float64[Tensor, "G m"]


@dataclass(frozen=True)
class ReluEquation:
    """z = relu(W z + U x + b), for a number x."""

    w: Float64[Tensor, "m m"]
    u: Float64[Tensor, " m"]
    b: Float64[Tensor, " m"]

    @classmethod
    def of(cls, cell: nn.Module) -> "ReluEquation":
        """Return the equation that a cell stands for.

        Raises:
            ValueError: `cell` is no `DenseCell` or `MonotoneCell` of one input with ReLU.
        """
        if not isinstance(cell, DenseCell | MonotoneCell):
            raise ValueError(
                "regions of a DEQ are counted exactly for DenseCell and MonotoneCell, got "
                f"{type(cell).__name__}; use sampled_regions"
            )
        known = (torch.relu, nn.functional.relu, proximal(torch.relu))
        if cell.activation not in known and not isinstance(cell.activation, nn.ReLU):
            raise ValueError(
                f"regions are counted exactly for ReLU, got {cell.activation!r}; use "
                "sampled_regions"
            )
        inject = cell.inject
        if inject.in_features != 1:
            raise ValueError(f"the cell must have one input, got {inject.in_features}")
        parts = (cell.weight, inject.weight[:, 0], inject.bias)
        return cls(*(part.detach().double().cpu() for part in parts))

    def solve(self, x: Float64[Tensor, " G"], guess: Bool[Tensor, "G m"]) -> Lines:
        """Return the lines at the equilibrium of each x.

        Args:
            x: Inputs.
            guess: Active units, to start from.

        Raises:
            ValueError: At some x the active units cannot be made right.
        """
        active = guess
        for _ in range(CORRECTIONS):
            lines = self._lines(x, active)
            wrong = self._wrong(x, lines)
            if not wrong.any():
                return lines
            active = active ^ wrong
        where = x[wrong.any(dim=1)][0].item()
        raise ValueError(
            f"no equilibrium was found at x = {where:g}, after {CORRECTIONS} changes of its active "
            "units: there is one at every x only if I - W is a P-matrix; constrain W"
        )

    def _lines(self, x: Float64[Tensor, " G"], active: Bool[Tensor, "G m"]) -> Lines:
        on = active.to(x.dtype)
        system = torch.eye(len(self.u), dtype=x.dtype) - on[:, :, None] * self.w * on[:, None, :]
        given = torch.stack([self.u * x[:, None] + self.b, self.u.expand_as(on)], dim=2)
        given_on = on[:, :, None] * given
        if torch.equal(self.w, self.w.tril()):  # substitution rounds less than elimination
            solved = torch.linalg.solve_triangular(system, given_on, upper=False)
        else:
            # info is ignored: where the system is singular nan follows, and no unit is right.
            solved, _ = torch.linalg.solve_ex(system, given_on)
        value, slope = solved.unbind(dim=2)
        inputs = torch.einsum("ij,gjs->gis", self.w, solved) + given
        unit = torch.where(active[:, :, None], solved, inputs)
        return Lines(active, value, slope, *unit.unbind(dim=2))

    def _wrong(self, x: Float64[Tensor, " G"], lines: Lines) -> Bool[Tensor, "G m"]:
        """Return the units that are on the wrong side of 0."""
        parts = lines.value.abs() @ self.w.abs().mT + (self.u * x[:, None]).abs() + self.b.abs()
        side = torch.where(lines.active, lines.unit_value, -lines.unit_value)
        return ~(side >= -SLACK * parts)  # true for nan
