"""The pieces of a ReLU DEQ of one input, exactly.

While its active units stay the same z* is affine in x; see `active_sets`. Where the first of them
reaches 0, or the input of another one does, the piece ends: a closed form. So one solve at any x
gives the whole piece around it. Gaps between known pieces are looked at in their middle, all of
them at once, until there is none: one solve a piece, in about as many rounds as the logarithm of
their number. The layer's own solver makes the first guess of the active units only, so that a loose
tolerance moves no edge.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from deqlab.expressivity.active_sets import Lines, ReluEquation
from deqlab.expressivity.constructions import ReadoutDEQ
from deqlab.expressivity.pieces import Pieces, check_interval, narrowest

CHUNK = 2**22
"""Numbers of the linear systems that are held at once: 32 MB."""

OVERLAP = 1e-9
"""The share of the interval by which pieces may overlap through the rounding of their edges. By
more, they belong to different equilibria."""


@dataclass(frozen=True)
class _Found:
    """Pieces, from left to right."""

    left: Float64[Tensor, " P"]
    right: Float64[Tensor, " P"]
    slope: Float64[Tensor, "P m"]  # dz/dx

    def joined(self, other: "_Found") -> "_Found":
        """Return the pieces of both."""
        left = torch.cat([self.left, other.left])
        right = torch.cat([self.right, other.right])
        slope = torch.cat([self.slope, other.slope])
        # Not by left edges: two may be one, where a piece has no width.
        order = (left + right).argsort()
        return _Found(left[order], right[order], slope[order])

    def gaps(self, low: float, high: float) -> Float64[Tensor, "G 2"]:
        """Return where the gaps before, between and after the pieces start and end."""
        starts = torch.cat([self.right.new_tensor([low]), self.right])
        ends = torch.cat([self.left, self.left.new_tensor([high])])
        return torch.stack([starts, ends], dim=1)


@torch.no_grad()
def equilibrium_pieces(network: ReadoutDEQ, low: float, high: float) -> Pieces:
    """Return the pieces of a ReLU DEQ with a linear readout on [low, high].

    Args:
        network: From one input to one output; the cell of its layer is a `DenseCell` or a
            `MonotoneCell` with ReLU. I - W should be a P-matrix, as it is for triangular W with a
            diagonal below 1 and for monotone W: else z* may jump.
        low: Start of the interval.
        high: Its end.

    Raises:
        ValueError: The cell is of another kind, the network has more than one input or output, the
            interval is empty, or there is no equilibrium, or more than one, at a point.

    Example:
        >>> from deqlab.expressivity.constructions import wide_sawtooth
        >>> equilibrium_pieces(wide_sawtooth(5), 0.0, 1.0).num_regions
        32
    """
    check_interval(low, high)
    equation, least = ReluEquation.of(network.layer.cell), narrowest(low, high)
    if network.readout.out_features != 1:
        raise ValueError(f"the network must have one output, got {network.readout.out_features}")
    found = _Found(equation.u[:0], equation.u[:0], equation.w[:0])
    chunk = max(1, CHUNK // len(equation.u) ** 2)
    gaps = found.gaps(low, high)
    while len(gaps):
        for x in gaps.mean(dim=1).split(chunk):
            found = found.joined(_around(network, equation, x, low, high))
        gaps = found.gaps(low, high)
        _check_apart(gaps, OVERLAP * (high - low))
        gaps = gaps[gaps[:, 1] - gaps[:, 0] > least]
    return _read(network, found, low, least)


def _around(
    network: ReadoutDEQ, equation: ReluEquation, x: Float64[Tensor, " G"], low: float, high: float
) -> _Found:
    """Return the piece around each x, cut at the ends of the interval."""
    given = x[:, None].to(network.readout.weight)
    guess = network.layer.solve(given).matrix.cpu() > 0
    lines = equation.solve(x, guess)
    left, right = _edges(x, lines)
    # A unit that is at 0 at x, to rounding, may put an edge just beyond it.
    left, right = torch.minimum(left, x), torch.maximum(right, x)
    return _Found(left.clamp_min(low), right.clamp_max(high), lines.slope)


def _edges(
    x: Float64[Tensor, " G"], lines: Lines
) -> tuple[Float64[Tensor, " G"], Float64[Tensor, " G"]]:
    """Return the first x on either side where a unit changes over."""
    # Active units must stay above 0 and the others below.
    away = torch.where(lines.active, lines.unit_slope, -lines.unit_slope)
    roots = x[:, None] - lines.unit_value / lines.unit_slope
    left = torch.where(away > 0, roots, -torch.inf).amax(dim=1)
    right = torch.where(away < 0, roots, torch.inf).amin(dim=1)
    return left, right


def _check_apart(gaps: Float64[Tensor, "G 2"], most: float) -> None:
    overlap, where = (gaps[:, 0] - gaps[:, 1]).max(dim=0)
    if overlap > most:
        raise ValueError(
            f"two pieces overlap by {overlap:.1e} at x = {gaps[where, 1]:g}, {most:.0e} at most is "
            "rounding: there is more than one equilibrium, unless I - W is a P-matrix (every "
            "triangular W with a diagonal below 1 makes it one), whose weights are then too large "
            "for float64; constrain W, or its size"
        )


def _read(network: ReadoutDEQ, found: _Found, low: float, least: float) -> Pieces:
    """Return the pieces of the output."""
    edges = torch.cat([found.right.new_tensor([low]), found.right.cummax(dim=0).values])
    wide = edges.diff() > least
    slopes = found.slope[wide] @ network.readout.weight[0].double().cpu()
    if network.skip is not None:
        slopes = slopes + network.skip.weight[0, 0].double().cpu()
    return Pieces(torch.cat([edges[:1], edges[1:][wide]]), slopes)
