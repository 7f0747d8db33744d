"""`fixed_point`, where every solve begins."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.utils import parametrize
from torch.utils._pytree import tree_leaves

from deqlab.containers import State
from deqlab.errors import OnFailure, check_on_failure
from deqlab.gradients.base import Gradient, Problem, check_gradient
from deqlab.gradients.implicit import Implicit
from deqlab.maps.auxiliary import WithAux, apart
from deqlab.maps.flat_map import FlatMap
from deqlab.maps.narrowing import narrowing
from deqlab.maps.transforms import are_active
from deqlab.solution import Solution, StateT
from deqlab.solvers.anderson import Anderson
from deqlab.solvers.base import Solver, check_solver
from deqlab.solving import solved
from deqlab.state import Layout, share_memory
from deqlab.tracing import check_not_traced
from deqlab.transformed import solve_in_levels


def fixed_point(
    f: Callable[..., StateT],
    z0: StateT,
    *args: object,
    solver: Solver[Any] = Anderson(),
    gradient: Gradient = Implicit(),
    on_failure: OnFailure = "raise",
    rows_independent: bool | Sequence[bool] = False,
    batched: bool = True,
    has_aux: bool = False,
) -> Solution[StateT]:
    """Find z with f(z, *args) = z, sample by sample, and make it differentiable.

    Rows of the batch are independent problems: f must map row i of z to row i of its result.
    Then the answer for a row does not depend on its neighbours, and a row that fails spoils no
    other. Where f couples the rows (nodes of a graph, batch norm in train mode, tokens that attend
    to each other), the whole state is one sample: pass `batched=False`.

    Inside of torch.compile a solve breaks the graph, and runs as it does anywhere else; with
    fullgraph=True the whole of it becomes part of the graph (see `deqlab.compiled`).

    Args:
        f: The map. `f(z, *args)` has the structure, shapes and dtypes of z; it must not write
            to z.
        z0: Where to start: a tensor of shape (B, *S), or a tuple, named tuple, list or dict of
            such tensors, nested at will. It receives no gradient, for the fixed point does not
            depend on it, but from `gradients.Loops`, which seek none. With `batched=False` the
            tensors have any shapes.
        args: Passed on to f. Gradients flow to these, and to every parameter that f uses.
        solver: The forward method, with its tolerance and step limit.
        gradient: How to differentiate the solution.
        on_failure: What to do if a sample misses the tolerance, here or in the backward pass.
            "raise" loses the batch, "warn" and "ignore" return the best iterate; either way the
            verdicts are in `Solution.status`.
        rows_independent: True lets finished rows leave the batch: f is then also called on some
            rows of z, with the same rows of every tensor in args, those in lists, tuples and dicts
            included. A sequence with one bool an argument says which of them have a row per
            sample; the others stay whole. The first time rows leave, f on the rest is compared
            with f on all rows.
        batched: False makes the whole state one sample, with one verdict.
        has_aux: f returns (z, aux) instead of z. `Solution.aux` is the aux at the value, from one
            more evaluation of f there, which a tape records as any computation on the value.

    Returns:
        The solution. Its `value` has the structure of z0.

    Raises:
        ConvergenceError: A sample missed the tolerance and `on_failure` is "raise".
        TypeError: Something in z0 is neither a tensor nor a tuple, list or dict; or `solver` or
            `gradient` is a class or a string.
        ValueError: f changed the structure, a shape, the dtype or the device of z, or wrote to it;
            or with `rows_independent`, some rows of f are not what they are among all; or an
            argument is out of its domain.
        NotImplementedError: The call stands under a tracer (torch.jit.trace, torch.fx); or under
            torch.compile, with an option that cannot be compiled; or under a transform of
            torch.func, with a gradient that has no derivative there (see `deqlab.transformed`).

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
    return solve_for(
        "fixed_point",
        f,
        z0,
        args,
        solver=solver,
        gradient=gradient,
        on_failure=on_failure,
        rows_independent=rows_independent,
        batched=batched,
        has_aux=has_aux,
    )


def solve_for(
    what: str,
    f: Callable[..., StateT],
    z0: StateT,
    args: tuple[object, ...],
    *,
    solver: Solver[Any],
    gradient: Gradient,
    on_failure: OnFailure,
    rows_independent: bool | Sequence[bool],
    batched: bool,
    has_aux: bool = False,
    remember: Callable[[Solution[Any]], object] | None = None,
) -> Solution[StateT]:
    """`fixed_point` for a caller that has a name.

    Args:
        what: The name, which errors and warnings begin with.
        f: As in `fixed_point`, and so is what follows.
        z0: Likewise.
        args: Likewise.
        solver: Likewise.
        gradient: Likewise.
        on_failure: Likewise.
        rows_independent: Likewise.
        batched: Likewise.
        has_aux: Likewise.
        remember: Called with the solution before anything raises because of it; see `solving`.
    """
    check_solver(solver)
    check_gradient(gradient)
    if torch.compiler.is_compiling():
        from deqlab import graph_break  # torch's compiler takes a second to import
        from deqlab.compiled.solve import fixed_point as compiled

        options: dict[str, Any] = {
            "solver": solver,
            "gradient": gradient,
            "on_failure": on_failure,
            "rows_independent": rows_independent,
            "batched": batched,
            "has_aux": has_aux,
        }
        if graph_break.leaves_graph():
            return graph_break.outside(solve_for, what, f, z0, args, **options, remember=remember)
        solution = compiled(f, z0, *args, **options, what=what)
        if remember is not None:
            remember(solution)
        return cast("Solution[StateT]", solution)
    check_not_traced(z0, *args)
    check_on_failure(on_failure)
    check_rows(rows_independent, batched=batched)
    layout = Layout.of(cast("State", z0), batched=batched)
    start = layout.flatten(cast("State", z0))
    inner = WithAux(cast("Callable[..., Any]", f)) if has_aux else f
    flat_f = FlatMap(cast("Callable[..., State]", inner), layout, start.device)
    problem = Problem(
        f=flat_f,
        # No tape can hold a tensor made in inference mode: a warm start from one is copied.
        z0=start.clone() if start.is_inference() else start,
        args=args,
        solver=solver,
        blocks=layout.blocks,
        on_failure=on_failure,
        narrow=narrowing(flat_f, args, rows_independent),
        what=what,
    )
    if are_active():
        solution = solve_in_levels(problem, flat_f, gradient, remember)
    else:
        if torch.is_grad_enabled() and parametrize._cache_enabled:
            # What parametrize.cached() keeps of the first evaluation must carry a graph.
            flat_f(start, *args)
        solution = solved(problem, gradient, remember)
        value = solution.matrix
        if any(isinstance(each, Tensor) and share_memory(value, each) for each in (start, *args)):
            solution = replace(solution, value=value.clone())  # a start that has converged
    if isinstance(inner, WithAux):
        aux = inner.at(lambda: flat_f(solution.matrix, *args))
        aux = apart(aux, (solution.matrix, start, *tree_leaves(args)))
        solution = replace(solution, aux=aux, evaluations=solution.evaluations + 1)
    return _unfolded(solution, layout)


def _unfolded(solution: Solution[Tensor], layout: Layout) -> Solution[Any]:
    """Return the solution with states of the caller's structure in place of matrices."""
    if layout.is_matrix:
        return solution
    correction = None
    if solution.correction is not None:
        correction = layout.separated(solution.correction_matrix)
    return replace(
        cast("Solution[Any]", solution),
        value=layout.separated(solution.matrix),
        correction=correction,
        states=tuple(layout.separated(state) for state in solution.state_matrices),
    )


def check_rows(rows_independent: bool | Sequence[bool], *, batched: bool) -> None:
    """Raise ValueError if rows shall leave a batch that is none."""
    if not batched and rows_independent is not False:
        raise ValueError(
            "rows_independent lets finished samples leave the batch, and with batched=False the "
            "whole state is one sample: leave out one of the two"
        )
