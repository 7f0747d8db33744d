"""The exact derivative of the iterations of `Reversible`, which are taken back one by one.

It is the derivative of what was computed, as that of `Unrolled` is, and needs no tape of the
steps: the pair (y, z) before a step follows from the pair after it (see `solvers.reversible`). With
cotangents u of y and w of z, a step back is

    z <- (z - b f(y)) / (1 - b)      u <- u + b J(y)' w      w <- (1 - b) w
    y <- (y - b f(z)) / (1 - b)      w <- w + b J(z)' u      u <- (1 - b) u

with J(y) at the y before it is replaced, and what f is given besides gets b w' df/dtheta at that
y, and b u' df/dtheta at z. Source: McCallum, Arora & Foster (2025), "Reversible Deep Equilibrium
Models", arXiv:2509.12917. Rounding limits how many steps can be taken back at a time: every k
steps the reverse pass starts again from a pair that the forward solve kept; see `reverse_pass`.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from deqlab.gradients.base import Gradient, Problem
from deqlab.gradients.cotangents import one_by_one
from deqlab.gradients.reverse_pass import ReversePass, Route, steps_between_pairs
from deqlab.gradients.tape import Arguments, Tape
from deqlab.gradients.without_tape import attached_states
from deqlab.linalg.arrays import of_rows
from deqlab.maps.matrix_map import MapWithArgs
from deqlab.solution import Solution, Status
from deqlab.solvers.reversible import Reversible

FALLBACK = 1e-5
"""The error that the gradient may have where the solver has no relative tolerance."""


@dataclass(frozen=True, kw_only=True)
class Reversed(Gradient):
    """The exact gradient of the steps that `Reversible` took, without a tape of them.

    It needs as many evaluations of f as the solve did, each with a tape. A value that is the start
    itself depends on nothing: its gradient is zero. So is that of a sample where f was not finite.
    Every row stays in the batch, whatever `rows_independent` says.

    Memory: the tape of one evaluation of f, and two states in float64, the pair (y, z), every k
    steps; a solve of k steps or fewer keeps none. `Reversible.keep_every` is k, by default the most
    steps whose rounding stays below `rtol` wherever f does not expand: log(rtol / 2e-16) / -2 log(1
    - b), which is 17 at b = 0.5 and 1e-5, 7 at b = 0.8, and 34 at b = 0.3.

    The states are kept in float64, and f sees them in the precision of z0. Write r(z) for z so
    rounded: what is iterated is g(z) = f(r(z)) + z - r(z), whose residual at z is that of f at
    r(z). The value is r(z), so that the verdicts hold for it.

    Where the states come back further off than `rtol` allows, because f expands or is itself
    rounded, the k steps are computed again from the pair before them: that takes two evaluations
    more for each, and holds k pairs for the while. So every sample has its accuracy, however many
    steps were taken, unless f returns something else the second time, or its derivative is not
    finite: that warns or raises in the backward pass, as `on_failure` of the forward call says.

    Attributes:
        rtol: The relative error that the gradient of a sample may have, as it is estimated, 0 or
            more; None is the rtol of the solver, or 1e-5 if that is 0. Rounding of f comes on top.
    """

    rtol: float | None = None

    def __post_init__(self) -> None:
        if self.rtol is not None and not self.rtol >= 0:
            raise ValueError(f"rtol must be 0 or more, got {self.rtol}")

    @override
    def solve(self, problem: Problem) -> Solution:
        solver, start = _check(problem.solver), problem.z0.double()
        if problem.lift is not None:
            problem.lift.refuse(self)
        allowed = (solver.rtol or FALLBACK) if self.rtol is None else self.rtol
        every = solver.keep_every or steps_between_pairs(solver.damping, allowed)
        f = _InFloat64(problem.f, problem.z0.dtype, watch=torch.is_grad_enabled())
        with torch.no_grad():
            solver = replace(solver, keep_every=every)
            wide, partner = replace(problem, f=f, z0=start, solver=solver, narrow=None).run()
        states = tuple(state.to(problem.z0.dtype) for state in wide.state_matrices)
        solution = replace(wide, value=wide.matrix.to(problem.z0.dtype), states=states)
        args = Arguments.of(problem.args)
        inputs = (*args.tensors, *f.captured)
        if not inputs or not f.depends:
            return solution
        y, at = partner.beside(wide)
        updates = torch.where(wide.status != Status.NONFINITE, at - 1, 0)
        route = Route(
            f=f,
            args=args.emptied(),
            captured=f.captured,
            damping=solver.damping,
            every=every,
            updates=updates.cpu().numpy(),
            trace=of_rows(wide.trace),
            blocks=problem.blocks,
            allowed=allowed,
            on_failure=problem.on_failure,
            what=problem.what,
        )
        pairs = ((start, start), *partner.kept, (y, wide.matrix))
        states = tuple(state for pair in pairs for state in pair)
        value: Tensor = _Reverse.apply(route, solution.matrix, len(states), *states, *inputs)
        return replace(solution, value=value, states=attached_states(problem, solution))


class _InFloat64:
    """f on float64 states; it may look at its first evaluation what it depends on.

    Attributes:
        depends: Whether f has a derivative at all.
        captured: Tensors with a gradient that f reaches by itself.
    """

    def __init__(self, f: MapWithArgs, dtype: torch.dtype, *, watch: bool) -> None:
        self.f, self.dtype, self.watch = f, dtype, watch
        self.depends = False
        self.captured: tuple[Tensor, ...] = ()

    def __call__(self, z: Tensor, *args: object) -> Tensor:
        if not self.watch:
            return self._evaluate(z, *args)
        self.watch = False
        tape = Tape.record(self._evaluate, z, args)
        self.depends, self.captured = tape.out.requires_grad, tape.captured()
        return tape.out.detach()

    def _evaluate(self, z: Tensor, *args: object) -> Tensor:
        if self.dtype == torch.float64:
            return self.f(z, *args)
        low = z.to(self.dtype)
        return self.f(low, *args).double() + (z.detach() - low.detach())


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        route: Route,
        value: Tensor,
        states: int,
        *tensors: Tensor,
    ) -> Tensor:
        ctx.route, ctx.states = route, states
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        return value.clone()  # who writes to the value shall not write to the pair

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        if cotangent is None:
            return (None,) * len(ctx.needs_input_grad)
        if torch.compiler.is_compiling():  # where a compiled function calls backward()
            from deqlab import graph_break

            return graph_break.outside(_Reverse.backward, ctx, cotangent)
        if torch.is_grad_enabled():
            raise NotImplementedError(
                "the gradient of fixed_point by Reversed has no derivative of its own "
                "(create_graph=True), for its steps leave no tape; use Implicit() or Unrolled() "
                "instead"
            )
        saved = ctx.saved_tensors  # a checkpoint hands them out once
        states, inputs = saved[: ctx.states], saved[ctx.states :]
        pairs = list(zip(states[::2], states[1::2], strict=True))

        def gradients(cotangent: Tensor) -> tuple[Tensor | None, ...]:
            way = ReversePass(ctx.route, pairs, inputs, cotangent.double())
            zeros = [None if way.steps else torch.zeros_like(tensor) for tensor in inputs]
            parts = zip(way.walk(), zeros, strict=True)
            return tuple(zero if part is None else part for part, zero in parts)

        unseen = (None,) * (len(ctx.needs_input_grad) - len(inputs))
        return unseen + tuple(one_by_one(gradients, cotangent))


def _check(solver: object) -> Reversible:
    """Return the solver, if its steps can be taken back.

    Raises:
        ValueError: They cannot.
    """
    way_out = "pass solver=Reversible(damping=0.5)"
    if not isinstance(solver, Reversible):
        name = type(solver).__name__
        raise ValueError(f"Reversed takes back the steps of Reversible: {way_out}, got {name}")
    if solver.damping == 1:
        raise ValueError(
            f"Reversed divides by 1 - damping: {way_out}, or any damping below 1, got 1"
        )
    return solver
