"""Errors and warnings of solves, and the sentences they speak."""

import warnings
from typing import Literal, TypeAlias, get_args

import torch

from deqlab.solution import Solution, Status

OnFailure: TypeAlias = Literal["raise", "warn", "ignore"]


class ConvergenceError(RuntimeError):
    """A sample missed its tolerance, and the caller asked to be stopped by it."""


class ConvergenceWarning(UserWarning):
    """A sample missed its tolerance; its best iterate was returned."""


def check_on_failure(on_failure: str) -> None:
    """Raise ValueError unless `on_failure` is one of its three words."""
    if on_failure not in get_args(OnFailure):
        raise ValueError(f'on_failure is "raise", "warn" or "ignore", got {on_failure!r}')


def report_failure(
    solution: Solution, *, what: str, on_failure: OnFailure, lowered: torch.dtype | None = None
) -> None:
    """Raise, warn or stay silent if a sample of `solution` failed.

    Args:
        solution: Its value is a matrix.
        what: The name of the solve.
        on_failure: What to do.
        lowered: The dtype that autocast computed f in; None without autocast.

    Raises:
        ConvergenceError: A sample failed and `on_failure` is "raise".
    """
    if on_failure == "ignore" or bool(solution.converged.all()):
        return
    message = describe_failure(solution, what=what, lowered=lowered)
    if on_failure == "raise":
        raise ConvergenceError(message)
    warnings.warn(message, ConvergenceWarning, stacklevel=3)


def report_error(solution: Solution, allowed: float, *, what: str, on_failure: OnFailure) -> None:
    """Raise, warn or stay silent if a converged sample is not as accurate as it was to be.

    Raises:
        ConvergenceError: A sample missed the accuracy and `on_failure` is "raise".
    """
    if on_failure == "ignore" or solution.error is None:
        return
    missed = solution.converged & ~(solution.error <= allowed)
    if not bool(missed.any()):
        return
    worst = int(solution.error.where(missed, solution.error.new_tensor(-1.0)).argmax())
    message = (
        f"{what}: {int(missed.sum())} of {len(missed)} samples missed the accuracy (worst: sample "
        f"{worst}, estimated relative error {solution.error[worst]:.1e} where {allowed:.1e} is "
        f"allowed, after {int(solution.steps[worst])} steps).\n"
    )
    if solution.evaluations:
        message += (
            "Raise max_steps or patience; if the residual no longer shrinks, the dtype cannot "
            "resolve it: solve in float64, or ask for less accuracy."
        )
    else:
        message += (
            "The slope of f changes within the error of the value, as it does at the kinks of "
            "relu: ask for more accuracy (the error falls like its root), solve in float64, or "
            "take a smooth activation."
        )
    if on_failure == "raise":
        raise ConvergenceError(message)
    warnings.warn(message, ConvergenceWarning, stacklevel=3)


def describe_failure(solution: Solution, *, what: str, lowered: torch.dtype | None = None) -> str:
    """Return what failed, how badly and where, what was measured, and what to do next."""
    failed = ~solution.converged
    # Of the failed samples, the one furthest from its tolerance.
    excess = solution.residual / solution.tolerance.clamp_min(torch.finfo(torch.float64).tiny)
    worst = int(excess.nan_to_num(nan=torch.inf).where(failed, excess.new_tensor(-1.0)).argmax())
    nonfinite = int((solution.status == Status.NONFINITE).sum())
    measured = (
        f"{what}: {int(failed.sum())} of {len(failed)} samples missed the tolerance "
        f"(worst: sample {worst}, residual {solution.residual[worst]:.1e} where "
        f"{solution.tolerance[worst]:.1e} is allowed, after {int(solution.steps[worst])} steps; "
        f"{nonfinite} non-finite)."
    )
    advice = _advice(solution, worst)
    if lowered is not None and _is_below(lowered, solution, worst):
        advice = (
            f"autocast computes f in {str(lowered).removeprefix('torch.')}, which does not resolve "
            f"this tolerance: ask for an rtol of {2 * torch.finfo(lowered).eps:.1g} or more, or "
            "keep autocast off in f (torch.autocast(..., enabled=False))."
        )
    return f"{measured}\n{advice}"


def _is_below(lowered: torch.dtype, solution: Solution, worst: int) -> bool:
    """Return whether a sample missed a tolerance that this dtype cannot resolve at its value."""
    if solution.status[worst] not in (Status.STAGNATED, Status.MAX_STEPS):
        return False
    size = torch.linalg.vector_norm(solution.matrix[worst].detach().double())
    resolved = torch.finfo(lowered).eps * size
    # A few products of f, and their roundings, add up.
    return bool(solution.tolerance[worst] < resolved) and bool(
        solution.residual[worst] <= 30 * resolved
    )


def _advice(solution: Solution, worst: int) -> str:
    status = Status(int(solution.status[worst]))
    if status == Status.NONFINITE:
        return "f returned inf or nan: check its inputs and the scale of its weights."
    if status == Status.DIVERGED:
        return (
            "The residual grows: f does not contract here (stability.spectral_radius(f, z) "
            "measures it). Constrain or regularise the weights, or damp the solver."
        )
    rate = _recent_rate(solution, worst)
    if status == Status.MAX_STEPS and rate is not None and rate < 1:
        # Linear methods count products, and evaluate nothing.
        limit = "max_steps" if solution.evaluations else "max_products"
        return (
            f"The residual still shrinks by a factor {rate:.3f} per step: raise {limit}, "
            "or make f contract more (a spectral constraint, Jacobian regularisation)."
        )
    if status == Status.MAX_STEPS and not len(solution.trace):  # of a compiled solve
        return (
            "The residual still found new minima: raise max_steps, or make f contract more (a "
            "spectral constraint, Jacobian regularisation)."
        )
    return (
        "The residual no longer shrinks: the tolerance may be below what this dtype resolves, or "
        "f has no attracting fixed point here; see stability.spectral_radius(f, z)."
    )


def _recent_rate(solution: Solution, sample: int, window: int = 5) -> float | None:
    """Return the geometric mean factor per step over the last `window` steps, if there are."""
    taken = int(solution.steps[sample])
    tail = solution.trace[max(0, taken - window - 1) : taken, sample]
    if len(tail) < 2 or not bool(tail[0] > 0):
        return None
    return float((tail[-1] / tail[0]) ** (1 / (len(tail) - 1)))
