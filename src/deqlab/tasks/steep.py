"""Steep functions: from 0 to 1 within about delta, so that a network needs a slope of 1 / delta.

    ramp        g(x) = clip(x / delta, 0, 1)
    rational    g(x) = x / (x + delta) for x >= 0, and 0 below

Claim: bounded-depth networks need exponentially large weights to be within a fixed error of such a
function, with delta = 2^-d, and DEQs do not. Source: Wu et al. (2024), "Separation and Bias of Deep
Equilibrium Models on Expressivity and Learning Dynamics", Figure 1(b, e), delta = 2^-10 and 2^-20.
Both functions are derived: the paper's exact equations are not available here.

A uniform sample has a share of delta of its points on the step: none at delta = 2^-20. So a share
`near` of the points is drawn uniformly within 4 delta of the step, and the others uniformly from
[low, high]; away from the ends of the interval the density is

    p(x) = (1 - near) / (high - low) + near / (8 delta) [|x - step| <= 4 delta].
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

Curve: TypeAlias = Callable[[Tensor], Tensor]
"""A function of one variable, element by element."""

REACH = 4.0
"""How many deltas around the step count as near: the rational curve is at 0.8 there."""

_MIN_FLOATS = 4
"""Numbers next to 1, or next to the step if that is larger, that delta must span: a weight
1 - delta must not be 1, and the points near a step must differ."""


@dataclass(frozen=True)
class Ramp:
    """g(x) = clip(x / delta, 0, 1).

    Attributes:
        delta: Width of the step, in (0, 1].

    Example:
        >>> import torch
        >>> Ramp(0.5)(torch.tensor([-1.0, 0.25, 0.5, 1.0]))
        tensor([0.0000, 0.5000, 1.0000, 1.0000])
    """

    delta: float

    def __post_init__(self) -> None:
        _check_delta(self.delta)

    def __call__(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return g(x)."""
        return (x / self.delta).clamp(0, 1)


@dataclass(frozen=True)
class Rational:
    """g(x) = x / (x + delta) for x >= 0, and 0 below: half way up at x = delta.

    Attributes:
        delta: Width of the step, in (0, 1].

    Example:
        >>> import torch
        >>> Rational(0.5)(torch.tensor([-1.0, 0.0, 0.5, 1.5]))
        tensor([0.0000, 0.0000, 0.5000, 0.7500])
    """

    delta: float

    def __post_init__(self) -> None:
        _check_delta(self.delta)

    def __call__(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return g(x)."""
        positive = x.clamp_min(0)
        return positive / (positive + self.delta)


CURVES: dict[str, Callable[[float], Curve]] = {"ramp": Ramp, "rational": Rational}
"""The curves by name, each a function of the width of its step."""


def sample(
    num_samples: int,
    *,
    curve: Curve,
    delta: float,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
    low: float = -1.0,
    high: float = 1.0,
    step: float = 0.0,
    near: float = 0.5,
) -> tuple[Float[Tensor, "n 1"], Float[Tensor, "n 1"]]:
    """Draw points x that see the step of `curve`, and return them with their targets.

    The targets belong to the x that is returned, after it was rounded to `dtype`.

    Args:
        num_samples: n, at least 1.
        curve: `Ramp`, `Rational`, or any function of one variable with a step of width delta.
        delta: Width of the step, in (0, 1]; at least 2^-21 in float32 and 2^-50 in float64.
        generator: The source of randomness; the samples live on its device.
        dtype: A floating-point dtype. The same seed gives the same points, rounded, in
            every dtype.
        low: Start of the interval; 0 leaves out the flat half of a ramp.
        high: Its end.
        step: Where the curve rises, in [low, high].
        near: Share of the points within 4 delta of the step, in [0, 1]; expected, as every point
            is drawn on its own.

    Returns:
        x and curve(x), each of shape (n, 1).

    Raises:
        ValueError: A number is out of its domain, or `curve` changed the shape of x.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}")
    if not -math.inf < low <= step <= high < math.inf or low == high:
        raise ValueError(
            f"low <= step <= high and low < high are needed, got {low}, {step}, {high}"
        )
    if not 0 <= near <= 1:
        raise ValueError(f"near must be in [0, 1], got {near}")
    check_resolved(delta, dtype, step)
    draw = torch.rand(
        num_samples, 3, generator=generator, device=generator.device, dtype=torch.float64
    )
    left, right = max(low, step - REACH * delta), min(high, step + REACH * delta)
    close, far = left + (right - left) * draw[:, 1:2], low + (high - low) * draw[:, 2:]
    x = torch.where(draw[:, :1] < near, close, far).to(dtype)
    y = curve(x)
    if y.shape != x.shape:
        raise ValueError(
            f"curve must keep the shape of x: {tuple(x.shape)} became {tuple(y.shape)}"
        )
    return x, y


def _check_delta(delta: float) -> None:
    if not 0 < delta <= 1:
        raise ValueError(f"delta must be in (0, 1], got {delta}")


def check_resolved(delta: float, dtype: torch.dtype, step: float = 0.0) -> None:
    """Raise ValueError unless `dtype` resolves a step of width delta at `step`."""
    _check_delta(delta)
    least = _MIN_FLOATS * torch.finfo(dtype).eps * max(1.0, abs(step))
    if delta < least:
        raise ValueError(
            f"delta must be at least {least:.3g} in {dtype}, got {delta:.3g}: the step would span "
            f"fewer than {_MIN_FLOATS} numbers; use a longer dtype"
        )
