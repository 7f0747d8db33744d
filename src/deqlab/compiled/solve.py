"""The door to a compiled solve, and its loop."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch._higher_order_ops import while_loop

from deqlab.compiled.gradients import MatrixMap, attach, check_gradient
from deqlab.compiled.judge import Rules, Verdicts, judge, scale_at_start, unknown
from deqlab.compiled.randomness import evaluated
from deqlab.compiled.refusals import check_supported
from deqlab.compiled.report import report
from deqlab.compiled.steps import Memory, init, step
from deqlab.errors import OnFailure, check_on_failure
from deqlab.gradients import Gradient
from deqlab.solution import Solution, Status
from deqlab.solvers import Solver
from deqlab.state import Layout


def fixed_point(
    f: Callable[..., Any],
    z0: Any,  # noqa: ANN401
    *args: object,
    solver: Solver[Any],
    gradient: Gradient,
    on_failure: OnFailure,
    rows_independent: bool | Sequence[bool],
    batched: bool,
    what: str,
) -> Solution[Any]:
    """`solve.fixed_point` while torch.compile traces it.

    The solution has no trace. Of the rest, every field is what the call returns outside of
    torch.compile, to rounding.

    Raises:
        NotImplementedError: Something is asked for that cannot be compiled.
        ConvergenceError: A sample missed the tolerance and `on_failure` is "raise"; when it runs.
    """
    check_on_failure(on_failure)
    layout = Layout.of(z0, batched=batched)
    start = layout.flatten(z0).detach()
    check_supported(solver, rows_independent)

    rowless = layout.narrowed(0)  # torch.export may know the number of rows by its name only

    def flat_f(z: Tensor) -> Tensor:
        here = rowless.narrowed(z.shape[0])
        # A copy, if f makes one necessary: it may write to its argument.
        return here.flatten(f(here.unflatten(z.clone()), *args))

    first = evaluated(flat_f, start)
    follows = torch.is_grad_enabled() and first.requires_grad
    if follows:
        check_gradient(gradient)
    with torch.no_grad():
        end = _solve(flat_f, start, first.detach(), solver, layout.blocks)
    verdicts = end.verdicts
    report(verdicts, what, on_failure)
    value = end.best
    if follows:
        value = attach(flat_f, value, gradient, defined=verdicts.status != Status.NONFINITE.value)
    exact = torch.float64 if start.dtype == torch.float64 else torch.float32
    return Solution(
        value=layout.unflatten(value),
        residual=verdicts.residual,
        tolerance=verdicts.tolerance,
        status=verdicts.status,
        steps=verdicts.steps,
        evaluations=end.evaluations.item(),  # type: ignore[arg-type]
        trace=start.new_empty((0, start.shape[0]), dtype=exact),
    )


class _Loop(NamedTuple):
    """What one step hands on to the next; no two tensors share their numbers."""

    evaluations: Tensor
    z: Tensor
    fz: Tensor
    best: Tensor
    verdicts: Verdicts
    memory: Memory


def _solve(
    f: MatrixMap,
    z: Float[Tensor, "B D"],
    fz: Float[Tensor, "B D"],
    solver: Solver[Any],
    blocks: Sequence[int],
) -> _Loop:
    """Iterate from z, where f(z) = fz, until every row has its verdict."""
    start = scale_at_start(z, fz, blocks)
    weights = _weights(start, blocks).to(z.dtype) if len(blocks) > 1 else None
    rules = Rules(start=start, blocks=tuple(blocks), solver=solver)

    def goes_on(*carried: Any) -> Tensor:  # noqa: ANN401
        now = _Loop(*carried)
        return (now.evaluations < solver.max_steps) & now.verdicts.running.any()

    def body(*carried: Any) -> _Loop:  # noqa: ANN401
        count, z, fz, best, verdicts, memory = carried
        z_next, memory = step(solver, z, fz, memory, count, weights)
        z = torch.where(verdicts.running[:, None], z_next, z)
        fz = f(z).clone()  # f may return a tensor that is not its own
        verdicts, best = judge(verdicts, best, z, fz, count + 1, rules)
        return _Loop(count + 1, z, fz, best, verdicts, memory)

    count = torch.ones((), dtype=torch.int64, device=z.device)
    verdicts, best = judge(unknown(z), z, z, fz, count, rules)
    memory = init(solver, z, fz, weights)
    carried = while_loop(goes_on, body, (count, z.clone(), fz.clone(), best, verdicts, memory))
    return _Loop(*carried)


def _weights(start: Float64[Tensor, "B K"], blocks: Sequence[int]) -> Float64[Tensor, "B D"]:
    """Return one over the scale of each block at the start, for each number of the state."""
    each = 1 / torch.where(start > 0, start, 1.0)
    parts = [each[:, i, None].expand(-1, size) for i, size in enumerate(blocks)]
    return torch.cat(parts, dim=1)
