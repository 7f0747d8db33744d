"""The linear-quadratic regulator: the discrete Riccati equation as a fixed point.

Of x+ = A x + B u with costs sum x'Q x + u'R u, the least cost from x is x'P x, attained by
u = -K x, where

    K = (R + B'P B)^-1 B'P A,    P = Q + K'R K + (A - B K)'P (A - B K).

The right side is the Riccati map F(P), in the form of Joseph, which keeps P symmetric and
semidefinite through rounding. Its derivative at the solution is dP -> (A - B K)' dP (A - B K), of
spectral radius rho(A - B K)^2: there is one solution at which A - B K is stable, and that one is
verified here. Source: Lancaster & Rodman (1995), "Algebraic Riccati Equations", chapter 13.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.control.doubling import doubled
from deqlab.control.systems import (
    check_definite,
    check_shapes,
    spectral_radius,
    state_and_input_sizes,
    symmetric,
    unreachable_mode,
)
from deqlab.errors import ConvergenceError
from deqlab.gradients.base import Gradient
from deqlab.gradients.implicit import Implicit
from deqlab.solution import Solution
from deqlab.solve import fixed_point
from deqlab.solvers.base import Solver
from deqlab.solvers.picard import Picard

MOST_STEPS = 2000

CIRCLE = 1e-6
"""How near to 1 the modulus of an eigenvalue counts as 1."""

PATIENCE = 200
"""Steps without progress: transients of the closed loop are longer than those of most maps."""


@dataclass(frozen=True, kw_only=True)
class Regulator:
    """The stabilising solution of each system.

    Attributes:
        gain: K of u = -K x, (..., m, n), with gradients.
        cost: P, (..., n, n), symmetric, with gradients.
        closed_loop: A - B K, (..., n, n), with gradients.
        radius: The spectral radius of each closed loop, (...), below 1.
        solution: The verdicts of the solve.
    """

    gain: Tensor
    cost: Tensor
    closed_loop: Tensor
    radius: Tensor
    solution: Solution[None]


def riccati(
    p: Float[Tensor, "*B n n"],
    a: Float[Tensor, "*B n n"],
    b: Float[Tensor, "*B n m"],
    q: Float[Tensor, "*B n n"],
    r: Float[Tensor, "*B m m"],
) -> Float[Tensor, "*B n n"]:
    """Return F(P): the least cost if the cost of the state after one step is P."""
    k = gain_of(p, a, b, r)
    closed = a - b @ k
    return q + k.mT @ r @ k + closed.mT @ p @ closed


def gain_of(
    p: Float[Tensor, "*B n n"],
    a: Float[Tensor, "*B n n"],
    b: Float[Tensor, "*B n m"],
    r: Float[Tensor, "*B m m"],
) -> Float[Tensor, "*B m n"]:
    """Return K, the feedback that is best against the cost P of the next state."""
    bp = b.mT @ p
    k: Tensor = torch.linalg.solve_ex(r + bp @ b, bp @ a)[0]
    return k


def lqr(
    a: Float[Tensor, "..."],
    b: Float[Tensor, "..."],
    q: Float[Tensor, "..."],
    r: Float[Tensor, "..."],
    *,
    solver: Solver[Any] | None = None,
    gradient: Gradient = Implicit(),
    start: Float[Tensor, "..."] | None = None,
) -> Regulator:
    """Return the stabilising regulator of each system, differentiable in A, B, Q and R.

    Leading dimensions are broadcast. The solve starts from the end of a doubling iteration, so that
    it takes a few evaluations however slow the closed loop is. A quadratic form sees only the
    symmetric part of its matrix: gradients to Q and R are symmetric.

    Args:
        a: A, (..., n, n).
        b: B, (..., n, m).
        q: Q, (..., n, n), positive semidefinite.
        r: R, (..., m, m), positive definite.
        solver: The forward method; None is `Picard`, to eps^(2/3) of the dtype. A method of
            Newton's kind may find a solution that does not stabilise, which is then refused.
        gradient: How to differentiate P.
        start: Where to start, (..., n, n); None is the end of the doubling iteration.

    Raises:
        ValueError: A shape is wrong, Q or R is not definite, B cannot stabilise A, or Q does not
            see a mode of A on the unit circle.
        ConvergenceError: The solve failed, or it found a P that does not stabilise.

    Example:
        >>> import torch
        >>> a, b = torch.tensor([[1.0, 0.1], [0.0, 1.0]]), torch.tensor([[0.0], [0.1]])
        >>> lqr(a, b, torch.eye(2), torch.eye(1)).radius < 1
        tensor(True)
    """
    leading, rows = systems(a, b, q, r)
    n = rows[0].shape[-1]
    if solver is None:
        rtol = torch.finfo(a.dtype).eps ** (2 / 3)
        solver = Picard(rtol=rtol, max_steps=MOST_STEPS, patience=PATIENCE)
    p0 = start_of(*rows) if start is None else start.expand(*leading, n, n).reshape(-1, n, n)
    try:
        solution = fixed_point(riccati, p0, *rows, solver=solver, gradient=gradient)
    except ConvergenceError as error:
        if error.solution is not None:
            _explain(rows, error.solution.converged)
        raise
    return regulator_of(leading, rows, solution)


def regulator_of(
    leading: torch.Size, rows: tuple[Tensor, Tensor, Tensor, Tensor], solution: Solution[Tensor]
) -> Regulator:
    """Return the regulators of a solve, each verified to stabilise.

    Args:
        leading: The leading dimensions of the systems.
        rows: A, B, Q and R, one row a system; see `systems`.
        solution: P of each row.

    Raises:
        ValueError: A system has no stabilising solution.
        ConvergenceError: One that has was not found.
    """
    n, m = rows[1].shape[-2:]
    p = symmetric(solution.value)
    k = gain_of(p, rows[0], rows[1], rows[3])
    closed = rows[0] - rows[1] @ k
    radius = spectral_radius(closed)
    _check_stable(rows, radius, solution)
    return Regulator(
        gain=k.reshape(*leading, m, n),
        cost=p.reshape(*leading, n, n),
        closed_loop=closed.reshape(*leading, n, n),
        radius=radius.reshape(leading),
        solution=solution.verdicts(),
    )


def systems(
    a: Tensor, b: Tensor, q: Tensor, r: Tensor
) -> tuple[torch.Size, tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Return the leading dimensions, and A, B, Q and R with one row a system."""
    n, m = state_and_input_sizes(a, b)
    shapes: dict[str, tuple[int, ...]] = {"A": (n, n), "B": (n, m), "Q": (n, n), "R": (m, m)}
    check_shapes({"A": a, "B": b, "Q": q, "R": r}, shapes)
    q, r = symmetric(q), symmetric(r)
    check_definite("Q", q, strictly=False)
    check_definite("R", r, strictly=True)
    leading = torch.broadcast_shapes(*(each.shape[:-2] for each in (a, b, q, r)))
    a, b, q, r = (
        each.expand(*leading, *each.shape[-2:]).reshape(-1, *each.shape[-2:])
        for each in (a, b, q, r)
    )
    return leading, (a, b, q, r)


@torch.no_grad()
def start_of(a: Tensor, b: Tensor, q: Tensor, r: Tensor) -> Tensor:
    """Return where the doubling iteration ends, or a multiple of I where that stabilises nothing.

    The iteration begins at no cost at all. Where Q does not see an unstable mode it stays there,
    while from a definite cost the Riccati map leads to the solution that stabilises.

    Raises:
        ValueError: No start leads to one.
    """
    p = doubled(a, b @ torch.linalg.solve(r, b.mT), q)
    stable = spectral_radius(a - b @ gain_of(p, a, b, r)) < 1
    _explain((a, b, q, r), stable)  # before a solve that would run to its last step
    size = torch.stack([each.flatten(1).abs().amax(dim=1) for each in (q, r)]).amax(dim=0)
    eye = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
    return torch.where(stable[:, None, None], p, size[:, None, None] * eye)


def _check_stable(rows: tuple[Tensor, ...], radius: Tensor, solution: Solution[Any]) -> None:
    """Raise unless every closed loop is stable: for a reason in the arguments, if there is one."""
    stable = radius < 1
    if bool(stable.all()):
        return
    _explain(rows, stable)
    raise ConvergenceError(
        f"lqr: {int((~stable).sum())} of {len(radius)} systems have a solution of the Riccati "
        "equation that does not stabilise them, with a spectral radius of "
        f"{float(radius.max()):.4g} at worst: leave out start, or take Picard(patience={PATIENCE})",
        solution,
    )


def _explain(rows: tuple[Tensor, ...], good: Tensor) -> None:
    """Raise ValueError if one of the systems that are not good has no stabilising solution."""
    for i in (~good).nonzero()[:, 0].tolist():
        a, b, q = (each[i] for each in rows[:3])
        mode = unreachable_mode(a, b, least=1 - CIRCLE)
        if mode is not None:
            raise ValueError(
                f"lqr: (A, B) of system {i} is not stabilisable: no input reaches the mode of A "
                f"with the eigenvalue {_shown(mode)}, of modulus {abs(mode):.4g}; "
                "give B a way to it"
            )
        mode = unreachable_mode(a.mT, q, least=1 - CIRCLE)
        if mode is not None and abs(mode) < 1 + CIRCLE:
            raise ValueError(
                f"lqr: Q of system {i} does not see the mode of A with the eigenvalue "
                f"{_shown(mode)}, on the unit circle, so that leaving it there "
                "costs nothing; give it a cost in Q"
            )


def _shown(value: complex) -> str:
    return f"{value.real:.4g}" if value.imag == 0 else f"{value:.4g}"
