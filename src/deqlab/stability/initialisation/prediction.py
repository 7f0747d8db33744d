"""The spectrum of J = df/dz at the equilibrium of z = phi(W z + q), for random W, before training.

W is n x n, n large, with E W_ij^2 = gain^2 / n, and of one of the three laws of `laws`. J = S W
with the slopes S = diag(phi'(u)) at u = W z + q. With E over the slopes of all units,

    iid          eigenvalues fill the disc of radius gain sqrt(E s^2): the circular law (Girko 1984)
                 with a variance profile;
    orthogonal   they fill the ring of the same outer radius, and of the inner radius
                 gain / sqrt(E s^-2): the single ring theorem (Guionnet, Krishnapur & Zeitouni
                 2011);
    symmetric    they are real, for s >= 0, and end at +- min gain x sqrt(E [s / (x - s)]) over
                 x > max s: the semicircle law (Wigner 1958), whose edge is 2 gain, with a
                 variance profile (Ajanki, Erdos & Krueger 2017; the edge is derived here from
                 their equation, b = gain^2 E [s / (lambda - s b)] with x = lambda / b).

At the equilibrium u_i is Gaussian, with variance a = gain^2 E z^2 + Var q, but for what a unit
hears of itself. An iid or orthogonal W returns nothing of it; a symmetric one does, and

    u = h + c z,    c = gain^2 E [s / (1 - c s)],    h ~ N(0, gain^2 E z^2 + Var q)

(Thouless, Anderson & Palmer 1977). That networks which differ in such statistics alone train
differently is shown by Agarwala & Schoenholz (2022), "Deep equilibrium networks are sensitive to
initialization statistics", ICML.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from deqlab.activations.base import Activation
from deqlab.gradients.phantom import JacobianFree
from deqlab.solve import fixed_point
from deqlab.solvers.anderson import Anderson
from deqlab.stability.initialisation.laws import Law, check_setting

NODES, REACH = 2**13, 9.0
"""The rule for E: midpoints, an even number of them, so that no node falls on a kink at 0."""

HIGHEST_GAIN = 64.0


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What is expected of a wide layer.

    Attributes:
        radius: The largest modulus of an eigenvalue of J; nan where no equilibrium is predicted.
        inner: The least modulus, of a ring; 0 for a disc and an interval.
        variance: That of what a unit hears from the others, a.
        mean_square_slope: E s^2.
    """

    radius: float
    inner: float
    variance: float
    mean_square_slope: float


def initial_spectrum(
    law: Law, activation: Activation, *, gain: float, injection: float = 1.0
) -> Prediction:
    """Return what the spectrum of J is at the start, for a wide layer.

    Args:
        law: How W is drawn.
        activation: phi; nondecreasing for the symmetric law.
        gain: The root of n E W_ij^2, 0 or more: of `DenseCell` its `gain`.
        injection: Var q, above 0.

    Raises:
        ValueError: An argument is out of its domain.

    Example:
        >>> from deqlab.activations import Identity
        >>> [round(initial_spectrum(law, Identity(), gain=0.4).radius, 3)
        ...     for law in ("iid", "orthogonal", "symmetric")]
        [0.4, 0.4, 0.8]
    """
    check_setting(law, gain, injection)
    x = (torch.arange(NODES, dtype=torch.float64) + 0.5) * (2 * REACH / NODES) - REACH
    weights = torch.exp(-x * x / 2)
    weights = weights / weights.sum()
    found = _equilibrium(law, activation, gain, injection, x, weights)
    if found is None:
        nan = math.nan
        return Prediction(radius=nan, inner=nan, variance=nan, mean_square_slope=nan)
    variance, s = found
    square = float(weights @ (s * s))
    radius, inner = gain * square**0.5, 0.0
    if law == "symmetric":
        radius = _edge(s, weights, gain)
    elif law == "orthogonal" and bool((s != 0).all()):
        inner = gain / float(weights @ (1 / (s * s))) ** 0.5
    return Prediction(radius=radius, inner=inner, variance=variance, mean_square_slope=square)


def critical_gain(law: Law, activation: Activation, *, injection: float = 1.0) -> float:
    """Return the gain at which the predicted radius comes to 1; infinite if none up to 64 does.

    Beyond it plain iteration from near the equilibrium leaves it.

    Args:
        law: How W is drawn.
        activation: phi; nondecreasing for the symmetric law.
        injection: Var q, above 0.

    Raises:
        ValueError: An argument is out of its domain.
    """
    low, high = 0.0, HIGHEST_GAIN
    if initial_spectrum(law, activation, gain=high, injection=injection).radius < 1:
        return math.inf
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        # nan, where there is no equilibrium, is beyond as well.
        if initial_spectrum(law, activation, gain=middle, injection=injection).radius < 1:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _equilibrium(
    law: Law,
    activation: Activation,
    gain: float,
    injection: float,
    x: Float64[Tensor, " N"],
    weights: Float64[Tensor, " N"],
) -> tuple[float, Float64[Tensor, " N"]] | None:
    """Return the variance of h and the slopes at its nodes; None where nothing settles."""

    def settled(state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        (z,), (numbers,) = state
        u = numbers[0].abs().sqrt() * x + numbers[1] * z
        image, s = activation(u), activation.derivative(u)
        variance = gain**2 * (weights @ (image * image)) + injection
        memory = gain**2 * (weights @ (s / (1 - numbers[1] * s))) if law == "symmetric" else 0.0
        return image[None], torch.stack([variance, variance * 0 + memory])[None]

    start = torch.tensor([[injection, 0.0]], dtype=torch.float64)
    solution = fixed_point(
        settled,
        (torch.zeros_like(x)[None], start),
        solver=Anderson(rtol=1e-10, max_steps=300),
        gradient=JacobianFree(),
        on_failure="ignore",
    )
    z, numbers = solution.value
    variance, memory = numbers[0].tolist()
    if not bool(solution.converged.all()) or not variance > 0:
        return None
    s = activation.derivative(variance**0.5 * x + memory * z[0])
    # Else a unit that hears itself has several values, and z jumps between them as h changes.
    jumps = memory * float(activation.derivative(x).max()) >= 1
    # Where the edge of the spectrum comes to 1 this solution loses its stability, and the equation
    # for the edge goes back below 1 as if nothing had happened (de Almeida & Thouless 1978).
    response = float(weights @ (s / (1 - memory * s)).square())
    unstable = law == "symmetric" and gain**2 * response >= 1
    return None if jumps or unstable else (variance, s)


def _edge(s: Float64[Tensor, " N"], weights: Float64[Tensor, " N"], gain: float) -> float:
    """Return min over x > max s of gain x sqrt(E [s / (x - s)])."""
    if not bool((s >= 0).all()):
        raise ValueError(
            "the edge of a symmetric J is known for nondecreasing activations, whose slopes are 0 "
            f"or more, got a slope of {float(s.min()):.3g}"
        )
    top = float(s.max())
    if top == 0 or gain == 0:
        return 0.0
    low, high = -6.0, 3.0  # the logarithm of x / top - 1
    for _ in range(4):
        grid = torch.linspace(low, high, 200, dtype=torch.float64)
        points = top * (1 + 10**grid)
        values = points * (weights * s / (points[:, None] - s)).sum(dim=1).sqrt()
        best, width = float(grid[values.argmin()]), (high - low) / 100
        low, high = best - width, best + width
    return gain * float(values.min())
