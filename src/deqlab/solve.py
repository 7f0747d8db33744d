"""The one door to every solve."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor

from deqlab.errors import OnFailure, check_on_failure, report_failure
from deqlab.gradients import Gradient, Implicit
from deqlab.gradients.base import Problem
from deqlab.solution import Solution
from deqlab.solvers import Anderson, Solver
from deqlab.state import Layout, State


def fixed_point(
    f: Callable[..., State],
    z0: State,
    *args: object,
    solver: Solver[Any] = Anderson(),
    gradient: Gradient = Implicit(),
    on_failure: OnFailure = "raise",
) -> Solution:
    """Find z with f(z, *args) = z, sample by sample, and make it differentiable.

    Rows of the batch are independent problems: f must map row i of z to row i of its result.
    Then the answer for a row does not depend on its neighbours, and a row that fails spoils no
    other.

    Args:
        f: The map. `f(z, *args)` has the structure, shapes and dtypes of z; it must not write
            to z.
        z0: Where to start: a tensor of shape (B, *S), or a tuple or dict of such tensors. It
            receives no gradient: the fixed point does not depend on it.
        args: Passed on to f. Gradients flow to these, and to every parameter that f uses.
        solver: The forward method, with its tolerance and step limit.
        gradient: How to differentiate the solution.
        on_failure: What to do if a sample misses the tolerance, here or in the backward pass.
            "raise" loses the batch, "warn" and "ignore" return the best iterate; either way the
            verdicts are in `Solution.status`.

    Returns:
        The solution. Its `value` has the structure of z0.

    Raises:
        ConvergenceError: A sample missed the tolerance and `on_failure` is "raise".
        TypeError: z0 is not a tensor, or a tuple or dict of tensors.
        ValueError: f changed the structure, a shape or a dtype of z, or wrote to it.

    Example:
        >>> import torch
        >>> x = torch.ones(4, 3, requires_grad=True)
        >>> f = lambda z, x: 0.5 * torch.tanh(z) + x
        >>> solution = fixed_point(f, torch.zeros(4, 3), x)
        >>> solution
        Solution(4 CONVERGED; worst residual 1.7e-05; 7 evaluations)
        >>> solution.value.sum().backward()
        >>> x.grad.shape
        torch.Size([4, 3])
    """
    check_on_failure(on_failure)
    layout = Layout.of(z0)

    def flat_f(z: Tensor, *args: object) -> Tensor:
        version = None if z.is_inference() else z._version
        fz = layout.flatten(f(layout.unflatten(z), *args))
        if version is not None and z._version != version:
            raise ValueError("f wrote to z in place; it must return a new tensor")
        return fz

    start = layout.flatten(z0)
    problem = Problem(
        f=flat_f,
        # No tape can hold a tensor made in inference mode: a warm start from one is copied.
        z0=start.clone() if start.is_inference() else start,
        args=args,
        solver=solver,
        blocks=layout.blocks,
        on_failure=on_failure,
    )
    solution = gradient.solve(problem)
    report_failure(solution, what="fixed_point", on_failure=on_failure)
    return replace(solution, value=layout.unflatten(solution.matrix))
