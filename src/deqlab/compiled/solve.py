"""The door to a compiled solve, and its loop."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch._higher_order_ops import while_loop
from torch.utils._pytree import tree_map_only

from deqlab.compiled.criterion import Rules, scale_at_start
from deqlab.compiled.gradients import MatrixMap, attach, check_gradient
from deqlab.compiled.judge import Verdicts, close, judge, unknown
from deqlab.compiled.randomness import evaluated
from deqlab.compiled.refusals import check_supported
from deqlab.compiled.report import report
from deqlab.compiled.steps import Memory, init, step
from deqlab.errors import OnFailure, check_on_failure
from deqlab.gradients import Gradient
from deqlab.maps.auxiliary import state_and_aux
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
    has_aux: bool,
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
        returned = f(here.unflatten(z.clone()), *args)
        return here.flatten(state_and_aux(returned)[0] if has_aux else returned)

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
    aux = None
    if has_aux:  # copied, for who writes to it: a graph cannot tell whose memory it is
        aux = state_and_aux(f(layout.unflatten(value), *args))[1]
        aux = tree_map_only(Tensor, torch.clone, aux)
    exact = torch.float64 if start.dtype == torch.float64 else torch.float32
    return Solution(
        value=layout.separated(value),
        residual=verdicts.residual,
        tolerance=verdicts.tolerance,
        status=verdicts.status,
        steps=verdicts.steps,
        evaluations=end.evaluations.item() + has_aux,  # type: ignore[arg-type]
        aux=aux,
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
    proven: Tensor  # whether the last evaluation was made for the value as a whole


def _solve(
    f: MatrixMap,
    z: Float[Tensor, "B D"],
    fz: Float[Tensor, "B D"],
    solver: Solver[Any],
    blocks: Sequence[int],
) -> _Loop:
    """Iterate from z, where f(z) = fz, until every row has its verdict."""
    scales = scale_at_start(z, fz, blocks)
    rules = Rules(late=scales.start == 0, blocks=tuple(blocks), solver=solver)

    def runs(now: _Loop) -> Tensor:
        return (now.evaluations < solver.max_steps) & now.verdicts.running.any() & ~now.proven

    def goes_on(*carried: Any) -> Tensor:  # noqa: ANN401
        now = _Loop(*carried)
        return runs(now) | (now.verdicts.unproven & ~now.proven)

    def body(*carried: Any) -> _Loop:  # noqa: ANN401
        now = _Loop(*carried)
        count, z, fz, best, verdicts, memory, _ = now
        running = runs(now)  # else the value as a whole is to be proved
        z_next, memory = step(
            solver, z, fz, memory, count, _weights(verdicts.scales.start, z, blocks)
        )
        z = torch.where(verdicts.running[:, None], z_next, z)
        z = torch.where(running, z, best)
        fz = f(z).clone()  # f may return a tensor that is not its own
        verdicts, best = judge(verdicts, best, z, fz, count + 1, rules, ~running)
        return _Loop(count + 1, z, fz, best, verdicts, memory, ~running)

    count = torch.ones((), dtype=torch.int64, device=z.device)
    verdicts, best = judge(unknown(z, scales), z, z, fz, count, rules)
    memory = init(solver, z, fz, _weights(verdicts.scales.start, z, blocks))
    proven = torch.zeros((), dtype=torch.bool, device=z.device)
    first = (count, z.clone(), fz.clone(), best, verdicts, memory, proven)
    end = _Loop(*while_loop(goes_on, body, first))
    out_of_steps = end.evaluations - end.proven.to(count.dtype) >= solver.max_steps
    return end._replace(verdicts=close(end.verdicts, end.proven, out_of_steps))


def _weights(
    start: Float64[Tensor, "B K"], z: Float[Tensor, "B D"], blocks: Sequence[int]
) -> Float[Tensor, "B _"] | None:
    """Return one over the scale of each block at the start, for each number of the state.

    For one block of float64 it is a power of two, which changes no digit and keeps squares in
    range.
    """
    if len(blocks) == 1:
        if z.dtype != torch.float64:
            return None  # float64 holds the squares of all other dtypes
        return torch.exp2(-torch.where(start > 0, start, 1.0).log2().round())
    least = 4 * torch.finfo(z.dtype).tiny
    each = 1 / torch.where(start > 0, start, 1.0).clamp_min(least)
    parts = [each[:, i, None].expand(-1, size) for i, size in enumerate(blocks)]
    return torch.cat(parts, dim=1).to(z.dtype)
