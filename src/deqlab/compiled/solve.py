"""`fixed_point` as part of a graph, and the loop of a compiled solve."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch._higher_order_ops import while_loop
from torch.utils._pytree import tree_map, tree_map_only

from deqlab.compiled.gradients import MatrixMap, attach, check_gradient
from deqlab.compiled.implicit import attach_implicit
from deqlab.compiled.randomness import evaluated
from deqlab.compiled.report import check_supported, report
from deqlab.compiled.steps import Memory, init, step
from deqlab.errors import OnFailure, check_on_failure
from deqlab.gradients.base import Gradient
from deqlab.gradients.implicit import Implicit
from deqlab.linalg.norms import traceable_block_norms
from deqlab.maps.auxiliary import state_and_aux
from deqlab.solution import Solution, Status
from deqlab.solvers.base import Solver
from deqlab.solvers.loop.block_weights import traceable_weights
from deqlab.solvers.loop.coupled_rows import is_unproven, lost
from deqlab.solvers.loop.criterion import Rules, Scales, bounds_of, look, scales_at_start
from deqlab.solvers.loop.on_device import closed
from deqlab.solvers.loop.progress import MAX_STEPS
from deqlab.solvers.loop.verdicts import Verdicts, judge, of_each_row, unknown
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
    if follows and isinstance(gradient, Implicit):
        value = attach_implicit(
            flat_f,
            value,
            gradient,
            status=verdicts.status,
            evaluations=end.evaluations,
            rtol=solver.rtol,
            blocks=layout.blocks,
            what=what,
            on_failure=on_failure,
        )
    elif follows:
        value = attach(flat_f, value, gradient, defined=verdicts.status != Status.NONFINITE.value)
    aux = None
    if has_aux:  # copied, for who writes to it: a graph cannot tell whose memory it is
        aux = state_and_aux(f(layout.unflatten(value), *args))[1]
        aux = tree_map_only(Tensor, torch.clone, aux)
    exact = torch.float64 if start.dtype == torch.float64 else torch.float32
    return Solution(
        value=layout.separated(value),
        evaluations=end.evaluations.item() + has_aux,  # type: ignore[arg-type]
        aux=aux,
        trace=start.new_empty((0, start.shape[0]), dtype=exact),
        **of_each_row(verdicts),
        **solver.reports(end.memory),
    )


class _Loop(NamedTuple):
    """What one step hands on to the next; no two tensors share their numbers."""

    evaluations: Tensor
    z: Tensor
    fz: Tensor
    best: Tensor
    verdicts: Verdicts
    scales: Scales
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
    rules = solver.rules(z.dtype)

    def runs(now: _Loop) -> Tensor:
        running: Tensor = now.verdicts.status == MAX_STEPS
        return (now.evaluations < solver.max_steps) & running.any() & ~now.proven

    def goes_on(*carried: Any) -> Tensor:  # noqa: ANN401
        now = _Loop(*carried)
        unproven: Tensor = is_unproven(now.verdicts)
        return runs(now) | (unproven & ~now.proven)

    def body(*carried: Any) -> _Loop:  # noqa: ANN401
        now = _Loop(*carried)
        count, z, fz, best, verdicts, scales, memory, _ = now
        running = runs(now)  # else the value as a whole is to be proved
        weights = traceable_weights(scales.start, z, blocks)
        z_next, memory = step(solver, z, fz, memory, count, weights)
        z = torch.where((verdicts.status == MAX_STEPS)[:, None], z_next, z)
        z = torch.where(running, z, best)
        fz = f(z).clone()  # f may return a tensor that is not its own
        found, best, scales = judged(verdicts, best, scales, z, fz, count + 1, rules, blocks)
        # On the value as a whole no row passes another verdict.
        verdicts = tree_map(partial(torch.where, running), found, verdicts)
        verdicts = verdicts._replace(latest=found.latest)
        return _Loop(count + 1, z, fz, best, verdicts, scales, memory, ~running)

    count = torch.ones((), dtype=torch.int64, device=z.device)
    norms = (traceable_block_norms(each, blocks) for each in (z, fz))
    scales = scales_at_start(*norms)
    known = unknown(scales.start)
    verdicts, best, scales = judged(known, z, scales, z, fz, count, rules, blocks)
    memory = init(solver, z, fz, traceable_weights(scales.start, z, blocks))
    proven = torch.zeros((), dtype=torch.bool, device=z.device)
    first = (count, z.clone(), fz.clone(), best, verdicts, scales, memory, proven)
    end = _Loop(*while_loop(goes_on, body, first))
    out_of_steps = end.evaluations - end.proven.to(count.dtype) >= solver.max_steps
    return end._replace(verdicts=closed(end.verdicts, end.proven, out_of_steps))


def judged(
    known: Verdicts,
    best: Tensor,
    scales: Scales,
    z: Tensor,
    fz: Tensor,
    count: Tensor,
    rules: Rules,
    blocks: Sequence[int],
) -> tuple[Verdicts, Tensor, Scales]:
    """Return the verdicts, the best iterates and the scales, given also that f(z) = fz."""
    residuals = traceable_block_norms(fz - z, blocks)
    sizes = traceable_block_norms(fz, blocks)
    scales, bounds, found = look(scales, bounds_of(scales, rules), residuals, sizes, rules)
    verdicts, take = judge(
        known,
        found,
        count,
        rules,
        resumed=lost(known, found),
        unit=bounds.unit,
        late=scales.late,
        away=lambda: traceable_block_norms(z - best, blocks),
    )
    assert scales.late is not None
    scales = scales._replace(late=scales.late.clone())  # a loop hands on nothing that it was given
    return verdicts, torch.where(take[:, None], z, best), scales
