"""The exact derivative of the iterations of `Reversible`, which are taken back one by one.

It is the derivative of what was computed, as that of `Unrolled` is, in a memory that does not grow
with the number of steps: the pair (y, z) before a step follows from the pair after it (see
`solvers.reversible`). With cotangents u of y and w of z, a step back is

    z <- (z - b f(y)) / (1 - b)      u <- u + b J(y)' w      w <- (1 - b) w
    y <- (y - b f(z)) / (1 - b)      w <- w + b J(z)' u      u <- (1 - b) u

with J(y) at the y before it is replaced, and what f is given besides gets b w' df/dtheta at that
y, and b u' df/dtheta at z. Source: McCallum, Arora & Foster (2025), "Reversible Deep Equilibrium
Models", arXiv:2509.12917. Rounding limits how many steps can be taken back: see `way_back`.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from deqlab.gradients.attach import attached_states
from deqlab.gradients.base import Gradient, MapWithArgs, Problem
from deqlab.gradients.tape import Tape
from deqlab.gradients.way_back import Route, WayBack
from deqlab.solution import Solution, Status
from deqlab.solvers.reversible import Reversible

FALLBACK = 1e-5
"""The error that the gradient may have where the solver has no relative tolerance."""


@dataclass(frozen=True, kw_only=True)
class Reversed(Gradient):
    """The exact gradient of the steps that `Reversible` took, in the memory of one step.

    It needs as many evaluations of f as the solve did, each with a tape. A value that is the start
    itself depends on nothing: its gradient is zero. So is that of a sample where f was not finite.
    Every row stays in the batch, whatever `rows_independent` says.

    The states are kept in float64, and f sees them in the precision of z0. Write r(z) for z so
    rounded: what is iterated is g(z) = f(r(z)) + z - r(z), whose residual at z is that of f at
    r(z). The value is r(z), so that the verdicts hold for it.

    A row whose states drift on the way back is left where they are lost: its gradient is then that
    of its last steps. A sample whose gradient may be off by more than `rtol` warns or raises in the
    backward pass, as `on_failure` of the forward call says.

    Attributes:
        rtol: The relative error that the gradient of a sample may have, as it is estimated, 0 or
            more; None is the rtol of the solver, or 1e-5 if that is 0.
    """

    rtol: float | None = None

    def __post_init__(self) -> None:
        if self.rtol is not None and not self.rtol >= 0:
            raise ValueError(f"rtol must be 0 or more, got {self.rtol}")

    @override
    def solve(self, problem: Problem) -> Solution:
        solver, start = _check(problem.solver), problem.z0.double()
        f = _InFloat64(problem.f, problem.z0.dtype, watch=torch.is_grad_enabled())
        with torch.no_grad():
            wide, partner = replace(problem, f=f, z0=start, narrow=None).run()
        states = tuple(state.to(problem.z0.dtype) for state in wide.state_matrices)
        solution = replace(wide, value=wide.matrix.to(problem.z0.dtype), states=states)
        given = {i: arg for i, arg in enumerate(problem.args) if _needs_gradient(arg)}
        inputs = (*given.values(), *f.captured)
        if not inputs or not f.depends:
            return solution
        y, at = partner.beside(wide)
        defined = (wide.status != Status.NONFINITE).cpu().numpy()
        route = Route(
            f=f,
            args=problem.args,
            positions=tuple(given),
            captured=f.captured,
            damping=solver.damping,
            updates=np.where(defined, at - 1, 0),
            trace=wide.trace.cpu().numpy(),
            blocks=problem.blocks,
            allowed=(solver.rtol or FALLBACK) if self.rtol is None else self.rtol,
            on_failure=problem.on_failure,
        )
        value: Tensor = _Reverse.apply(route, solution.matrix, y, wide.matrix, start, *inputs)
        return replace(solution, value=value, states=attached_states(problem, solution))


class _InFloat64:
    """f on float64 states; it may look at its first evaluation what it depends on.

    Attributes:
        depends: Whether f has a derivative at all.
        captured: Leaves that f reaches by itself.
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
        y: Tensor,
        z: Tensor,
        start: Tensor,
        *inputs: Tensor,
    ) -> Tensor:
        ctx.route = route
        ctx.save_for_backward(y, z, start, *inputs)
        ctx.set_materialize_grads(False)
        return value

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
        if torch._C._functorch.is_legacy_batchedtensor(cotangent):
            raise NotImplementedError(
                "the gradient of fixed_point by Reversed for a batch of cotangents at once (vmap, "
                "is_grads_batched, vectorize=True); call torch.autograd.grad once for each "
                "cotangent instead"
            )
        y, z, start, *inputs = ctx.saved_tensors
        way = WayBack(ctx.route, y, z, start, inputs, cotangent.double())
        steps = way.updates.max(initial=0)
        for step in range(steps, 0, -1):
            way.back(step)
        way.report()
        zeros = [None if steps else torch.zeros_like(tensor) for tensor in inputs]
        parts = zip(way.gradients, zeros, strict=True)
        return (None,) * 5 + tuple(zero if part is None else part for part, zero in parts)


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


def _needs_gradient(arg: object) -> bool:
    return isinstance(arg, Tensor) and arg.requires_grad
