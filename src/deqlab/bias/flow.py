"""Gradient flow of linear models on the squared loss, integrated to where it stops.

    dp/dt = -dL/dp,    L = |X beta(p) - y|^2 / (2 m),    X of shape (m, n)

scipy's LSODA turns to an implicit method where the flow is stiff, which it is: the speed of a
DEQ's coefficient grows like its fourth power. It stops where the data is fit.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.integrate import solve_ivp

from deqlab.bias.parametrisations import Parameters, Parametrisation
from deqlab.bias.potentials import Coefficients

_HORIZON = 1e15
"""Time at which a flow that has not fit the data is given up: a coefficient of 1e-3 moves by its
own size in 1e9 at a gradient of 1."""

_EVALUATIONS = 200_000
"""Evaluations of the velocity after which it is given up: a flow towards the edge of its domain
never arrives."""


class FlowError(RuntimeError):
    """A gradient flow did not fit the data."""


@dataclass(frozen=True, kw_only=True)
class Flow:
    """The path of a gradient flow.

    Attributes:
        times: t at each point, increasing from 0.
        parameters: p there.
        coefficients: beta there.
        losses: L there.
    """

    times: Float[np.ndarray, " T"]
    parameters: Float[np.ndarray, "T k n"]
    coefficients: Float[np.ndarray, "T n"]
    losses: Float[np.ndarray, " T"]

    @property
    def limit(self) -> Coefficients:
        """Coefficients at the end."""
        last: Coefficients = self.coefficients[-1]
        return last


def gradient_flow(
    model: Parametrisation,
    start: Parameters,
    x: Float[np.ndarray, "m features"],
    y: Float[np.ndarray, " m"],
    *,
    fit: float = 1e-10,
    rtol: float = 1e-11,
) -> Flow:
    """Follow the gradient flow of `model` from `start` until |X beta - y| <= fit |y|.

    Args:
        model: How the coefficients depend on the parameters.
        start: p at time 0.
        x: Inputs, float64.
        y: Targets.
        fit: Where it stops, above 0.
        rtol: Tolerance of the integrator, relative, per step; above 1e-13.

    Raises:
        ValueError: The shapes disagree, or `start` is not well-posed.
        FlowError: The flow does not fit the data.
    """
    check_data(x, y, num_features=start.shape[1])
    model.check(start)
    target, calls = fit * float(np.linalg.norm(y)), 0

    def velocity(_: float, flat: Float[np.ndarray, " kn"]) -> Float[np.ndarray, " kn"]:
        nonlocal calls
        calls += 1
        if calls > _EVALUATIONS:
            raise FlowError(_unfit(model, fit, f"after {_EVALUATIONS} evaluations"))
        p = flat.reshape(start.shape)
        gradient = x.T @ (x @ model.coefficients(p) - y) / len(y)
        step: Float[np.ndarray, " kn"] = -(model.derivatives(p) * gradient).ravel()
        return step

    def unfit(_: float, flat: Float[np.ndarray, " kn"]) -> float:
        beta = model.coefficients(flat.reshape(start.shape))
        return float(np.linalg.norm(x @ beta - y)) - target

    unfit.terminal = True  # type: ignore[attr-defined]
    # An event is a change of sign: a start that fits the data already has none.
    horizon = _HORIZON if unfit(0.0, start.ravel()) > 0 else 0.0
    path = solve_ivp(
        velocity,
        (0.0, horizon),
        start.ravel(),
        method="LSODA",
        rtol=rtol,
        atol=1e-3 * rtol,
        events=unfit,
    )
    parameters = path.y.T.reshape(-1, *start.shape)
    beta = np.stack([model.coefficients(p) for p in parameters])
    residuals = np.linalg.norm(beta @ x.T - y, axis=1)
    if path.status != 1 and residuals[-1] > target:
        raise FlowError(_unfit(model, fit, f"at time {path.t[-1]:.1e}"))
    return Flow(
        times=path.t,
        parameters=parameters,
        coefficients=beta,
        losses=residuals**2 / (2 * len(y)),
    )


def _unfit(model: Parametrisation, fit: float, when: str) -> str:
    return (
        f"the flow of {type(model).__name__} has not fit the data to {fit:g} {when}: where no "
        "coefficients in its domain fit the data it never does, and from very small or large ones "
        "it takes too long; see closest_fit"
    )


def check_data(
    x: Float[np.ndarray, "m n"], y: Float[np.ndarray, " m"], *, num_features: int
) -> None:
    """Raise ValueError unless the data is finite and has `num_features` features."""
    if x.shape[1] != num_features:
        raise ValueError(
            f"x has {x.shape[1]} features and the model {num_features}; they must agree"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("x and y must be finite")
    if not y.any():
        raise ValueError("y must not be 0 everywhere: residuals are measured against it")
