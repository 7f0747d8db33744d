"""Samples that missed what they were held to, in sentences: what was measured, what to do."""

from typing import Any

import torch

from deqlab.errors import OnFailure, speak
from deqlab.solution import Solution, Status

NUMBERS = "The numbers are in `details` of this warning, and in the Solution or `DEQ.last`."


GROWN = 10.0
"""Times its least residual, from which on a sample that runs out of steps is said to grow."""


def report_failure(
    solution: Solution[Any],
    *,
    what: str,
    on_failure: OnFailure,
    lowered: torch.dtype | None = None,
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
    worst = _worst(solution)
    text = (
        f"{what}: samples missed the tolerance, and the best iterates found are used. "
        f"{_advice(solution, worst, lowered, rate='')}\n{NUMBERS}"
    )
    details = describe_failure(solution, what=what, lowered=lowered)
    speak(details, text, solution, on_failure=on_failure)


def report_error(
    solution: Solution[Any], allowed: float, *, what: str, on_failure: OnFailure
) -> None:
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
    measured = (
        f"{what}: {int(missed.sum())} of {len(missed)} samples missed the accuracy (worst: sample "
        f"{worst}, estimated relative error {solution.error[worst]:.1e} where {allowed:.1e} is "
        f"allowed, after {int(solution.steps[worst])} steps)."
    )
    if solution.evaluations:
        advice = (
            "Raise max_steps or patience; if the residual no longer shrinks, the dtype cannot "
            "resolve it: solve in float64, or ask for less accuracy."
        )
    else:
        advice = (
            "The slope of f changes within the error of the value, as it does at the kinks of "
            "relu: ask for more accuracy (the error falls like its root), solve in float64, or "
            "take a smooth activation."
        )
    text = f"{what}: samples missed the accuracy that was asked for. {advice}\n{NUMBERS}"
    speak(f"{measured}\n{advice}", text, solution, on_failure=on_failure)


def describe_failure(
    solution: Solution[Any], *, what: str, lowered: torch.dtype | None = None
) -> str:
    """Return what failed, how badly and where, what was measured, and what to do next."""
    worst = _worst(solution)
    nonfinite = int((solution.status == Status.NONFINITE).sum())
    measured = (
        f"{what}: {int((~solution.converged).sum())} of {len(solution.status)} samples missed the "
        f"tolerance (worst: sample {worst}, residual {solution.residual[worst]:.1e} where "
        f"{solution.tolerance[worst]:.1e} is allowed, after {int(solution.steps[worst])} steps; "
        f"{nonfinite} non-finite)."
    )
    rate = _recent_rate(solution, worst)
    by = "" if rate is None else f" by a factor {rate:.3f} per step"
    return f"{measured}\n{_advice(solution, worst, lowered, rate=by)}"


def _is_below(lowered: torch.dtype, solution: Solution[Any], worst: int) -> bool:
    """Return whether a sample missed a tolerance that this dtype cannot resolve at its value."""
    if solution.status[worst] not in (Status.STAGNATED, Status.MAX_STEPS):
        return False
    size = torch.linalg.vector_norm(solution.matrix[worst].detach().double())
    resolved = torch.finfo(lowered).eps * size
    # A few products of f, and their roundings, add up.
    return bool(solution.tolerance[worst] < resolved) and bool(
        solution.residual[worst] <= 30 * resolved
    )


def _worst(solution: Solution[Any]) -> int:
    """Return which of the failed samples is the furthest from its tolerance."""
    excess = solution.residual / solution.tolerance.clamp_min(torch.finfo(torch.float64).tiny)
    failed = excess.nan_to_num(nan=torch.inf).where(~solution.converged, excess.new_tensor(-1.0))
    return int(failed.argmax())


def _advice(solution: Solution[Any], worst: int, lowered: torch.dtype | None, *, rate: str) -> str:
    """Return what to do; `rate` says how fast the residual still shrinks, where it does."""
    if lowered is not None and _is_below(lowered, solution, worst):
        return (
            f"autocast computes f in {str(lowered).removeprefix('torch.')}, which does not resolve "
            f"this tolerance: ask for an rtol of {2 * torch.finfo(lowered).eps:.1g} or more, or "
            "keep autocast off in f (torch.autocast(..., enabled=False))."
        )
    status = Status(int(solution.status[worst]))
    if status == Status.NONFINITE:
        return "f returned inf or nan: check its inputs and the scale of its weights."
    if status == Status.DIVERGED:
        return (
            "The residual grows: f does not contract here (stability.spectral_radius(f, z) "
            "measures it). Constrain or shrink the weights, or damp the solver."
        )
    # Linear methods count products, and evaluate nothing.
    limit = "max_steps" if solution.evaluations else "max_products"
    if status == Status.MAX_STEPS and int(solution.steps[worst]) < 2:
        return f"It had one step, which shows no trend: raise {limit}."
    if status == Status.MAX_STEPS and _grows(solution, worst):
        return (
            f"The residual still grows{rate}: f does not contract here "
            "(stability.spectral_radius(f, z) measures it). Constrain or shrink the weights, or "
            f"damp the solver; raise {limit} if it grows from an unstable start and has a bound."
        )
    if status == Status.MAX_STEPS and _shrinks(solution, worst):
        return (
            f"The residual still shrinks{rate}: raise {limit}, or make f contract more (a "
            "constraint such as nn.SpectralNorm; stability.spectral_radius(f, z) measures it)."
        )
    slow = " Raise patience if it only moves slowly." if status == Status.STAGNATED else ""
    return (
        "The residual no longer shrinks: the tolerance may be below what this dtype resolves, or "
        f"f has no attracting fixed point here; see stability.spectral_radius(f, z).{slow}"
    )


def _grows(solution: Solution[Any], worst: int) -> bool:
    rate = _recent_rate(solution, worst)
    if rate is None or rate <= 1:
        return False
    taken = solution.trace[: int(solution.steps[worst]), worst]
    return bool(taken[-1] > GROWN * taken.min())


def _shrinks(solution: Solution[Any], worst: int) -> bool:
    if not len(solution.trace):  # of a compiled solve: the status says that minima were still found
        return True
    rate = _recent_rate(solution, worst)
    return rate is not None and rate < 1


def _recent_rate(solution: Solution[Any], sample: int, window: int = 5) -> float | None:
    """Return the geometric mean factor per step over the last `window` steps, if there are."""
    taken = int(solution.steps[sample])
    tail = solution.trace[max(0, taken - window - 1) : taken, sample]
    if len(tail) < 2 or not bool(tail[0] > 0):
        return None
    return float((tail[-1] / tail[0]) ** (1 / (len(tail) - 1)))
