"""Random weights of three laws, and the spectrum of J at the equilibrium of a layer that has them.

W is n x n with E W_ij^2 = gain^2 / n:

    iid          Gaussian entries;
    orthogonal   gain times a Haar orthogonal matrix;
    symmetric    Gaussian, with W_ij = W_ji.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Complex128, Float64
from torch import Tensor

from deqlab.activations.base import Activation
from deqlab.arguments import check_count, check_positive
from deqlab.solve import fixed_point
from deqlab.solvers.anderson import Anderson

Law = Literal["iid", "orthogonal", "symmetric"]
"""How W is drawn."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """One layer that was drawn, and its spectrum.

    Attributes:
        eigenvalues: Those of J.
        converged: Whether J is that of an equilibrium: a solve was asked for a residual of 1e-10.
        response: |(I - J)^-1|_F^2 / n: how much of a random change of q arrives in z*, and of a
            cotangent in its adjoint, in squares.
    """

    eigenvalues: Complex128[Tensor, " n"]
    converged: bool
    response: float

    @property
    def radius(self) -> float:
        """The largest modulus."""
        return float(self.eigenvalues.abs().max())


def draw(
    law: Law, width: int, *, gain: float, generator: torch.Generator | None = None
) -> Float64[Tensor, "n n"]:
    """Return a random W.

    Args:
        law: How it is drawn.
        width: Its size n.
        gain: The root of n E W_ij^2, 0 or more.
        generator: Source of the random numbers; None is torch's global one.

    Raises:
        ValueError: An argument is out of its domain.
    """
    check_setting(law, gain, 1.0)
    check_count("width", width)
    g = torch.randn(width, width, dtype=torch.float64, generator=generator)
    if law == "iid":
        unit: Tensor = g / width**0.5
    elif law == "symmetric":
        unit = (g + g.mT) / (2 * width) ** 0.5
    else:
        basis, upper = torch.linalg.qr(g)
        unit = basis * upper.diagonal().sign()  # without the signs it is not Haar's
    return unit.mul_(gain)


def drawn_spectrum(
    law: Law,
    activation: Activation,
    width: int,
    *,
    gain: float,
    injection: float = 1.0,
    generator: torch.Generator | None = None,
) -> Drawn:
    """Draw a layer, solve for its equilibrium at a Gaussian q, and return the spectrum of J there.

    Args:
        law: How W is drawn.
        activation: phi.
        width: The size n of W.
        gain: The root of n E W_ij^2, 0 or more.
        injection: Var q, above 0.
        generator: Source of the random numbers; None is torch's global one.

    Raises:
        ValueError: An argument is out of its domain.
    """
    check_setting(law, gain, injection)
    w = draw(law, width, gain=gain, generator=generator)
    q = injection**0.5 * torch.randn(1, width, dtype=torch.float64, generator=generator)
    solution = fixed_point(
        lambda z: activation(z @ w.mT + q),
        torch.zeros_like(q),
        solver=Anderson(rtol=1e-10, max_steps=1000),
        on_failure="ignore",
    )
    slopes = activation.derivative(solution.matrix @ w.mT + q)[0]
    j = slopes[:, None] * w
    inverse, _ = torch.linalg.inv_ex(torch.eye(width, dtype=torch.float64) - j)
    return Drawn(
        eigenvalues=torch.linalg.eigvals(j),
        converged=bool(solution.converged.all()),
        response=float(inverse.square().sum()) / width,
    )


def check_setting(law: str, gain: float, injection: float) -> None:
    """Raise unless the law is one of three, and the numbers are in their domains.

    Raises:
        ValueError: The law is another, or a number is out of its domain.
    """
    if law not in get_args(Law):
        raise ValueError(f"law must be iid, orthogonal or symmetric, got {law!r}")
    if not 0 <= gain < math.inf:
        raise ValueError(f"gain must be 0 or more, and finite, got {gain}")
    check_positive("injection", injection)
