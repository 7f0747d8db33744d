"""Errors and warnings of solves, and how they are raised; `failures` has their sentences."""

import sys
import warnings
from typing import Any, Literal, TypeAlias, get_args

from deqlab.solution import Solution

OnFailure: TypeAlias = Literal["raise", "warn", "ignore"]


class ConvergenceError(RuntimeError):
    """A sample missed its tolerance, and the caller asked to be stopped by it.

    Attributes:
        solution: The verdict on every sample, without the value; None where there is no solution.
    """

    def __init__(self, message: str, solution: Solution[Any] | None = None) -> None:
        super().__init__(message)
        self.solution = None if solution is None else solution.verdicts()


class ConvergenceWarning(UserWarning):
    """A sample missed its tolerance; its best iterate was returned.

    The text says what happened, to which map or layer, and what to do. It has no numbers, so that
    Python's default filter shows it once for each place in a program, not once for each step.

    Attributes:
        details: The text with its numbers: how many samples, the worst of them, its residual.
        solution: The verdict on every sample, without the value; None where there is no solution.
    """

    def __init__(
        self, message: str, details: str = "", solution: Solution[Any] | None = None
    ) -> None:
        super().__init__(message)
        self.details = details or message
        self.solution = None if solution is None else solution.verdicts()


def check_on_failure(on_failure: str) -> None:
    """Raise ValueError unless `on_failure` is one of its three words."""
    if on_failure not in get_args(OnFailure):
        raise ValueError(f'on_failure is "raise", "warn" or "ignore", got {on_failure!r}')


def speak(
    details: str, text: str, solution: Solution[Any] | None = None, *, on_failure: OnFailure
) -> None:
    """Raise an error that says the details, or warn with a text that is always the same.

    Args:
        details: What happened, with the numbers.
        text: The same without any number.
        solution: What was found.
        on_failure: Which of the two; "ignore" does nothing.

    Raises:
        ConvergenceError: `on_failure` is "raise".
    """
    if on_failure == "raise":
        raise ConvergenceError(details, solution)
    if on_failure == "warn":
        warnings.warn(ConvergenceWarning(text, details, solution), stacklevel=_levels_to_caller())


def _levels_to_caller() -> int:
    """Return the stacklevel of the first frame outside of deqlab and torch: the user's line."""
    frame, level = sys._getframe(1), 1
    while frame.f_globals.get("__name__", "").partition(".")[0] in ("deqlab", "torch"):
        if frame.f_back is None:
            break
        frame, level = frame.f_back, level + 1
    return level


def report_lost_gradient(what: str) -> None:
    """Warn because f takes a derivative that its own gradient leaves out."""
    warnings.warn(
        f"{what}: f calls torch.autograd.grad without create_graph=True, and its result is then a "
        "constant: the gradient of the fixed point leaves out what the derivative depends on. Pass "
        "create_graph=True (or create_graph=torch.is_grad_enabled(), which costs nothing where no "
        "gradient is asked for); where no gradient is wanted, solve under torch.no_grad()",
        stacklevel=_levels_to_caller(),
    )
