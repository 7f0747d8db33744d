"""A cell that is looped so many times: a depth, and no equilibrium.

    z_{t+1} = z_t + beta (f(z_t) - z_t),    t = 0 .. k - 1;    the value is z_k

This is the looped block of Dehghani et al. (2019), "Universal Transformers", and of the looped
language models that follow it: the derivative goes through the last j steps, or through all of
them, and then on to z_0. k may be drawn anew for each solve, so that no step learns to be the last:
Poisson, as in Geiping et al. (2025), "Scaling up Test-Time Compute with Latent Reasoning".

That these are values beside `Implicit` and `Phantom` makes "looped or at its equilibrium" one
switch, `DEQ.gradient`. A loop is judged as a solve is, by one more evaluation of f at z_k that
leaves no tape: by the tolerance of the solver, of which nothing else is used but `record`.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from deqlab.arguments import check_count, check_number
from deqlab.gradients.base import Gradient, Problem
from deqlab.gradients.lift import Steps
from deqlab.linalg.arrays import Array, as_tensor, every
from deqlab.solution import Solution, Status
from deqlab.solvers.loop.criterion import Look
from deqlab.solvers.loop.measuring import Measuring
from deqlab.solvers.loop.on_device import MeasuringOnDevice
from deqlab.solvers.picard import check_damping


@dataclass(frozen=True, kw_only=True)
class Loops(Gradient):
    """The k-th iterate of f from z0, with the derivative of the last steps that led there.

    Every row takes k steps. One that is not within the tolerance then is MAX_STEPS in the verdicts,
    which is no failure here: nothing warns or raises but for inf and nan.

    Attributes:
        steps: k, at least 1.
        differentiated: j, the last steps that a tape records, at least 1; None is all of them, and
            z0 then gets a gradient too. Its bias is that of truncated backpropagation: what z_k
            owes to weights by way of steps before those is left out.
        damping: beta, in (0, 1].
    """

    steps: int = 8
    differentiated: int | None = None
    damping: float = 1.0

    seeks_equilibrium: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_count("steps", self.steps)
        if self.differentiated is not None:
            check_count("differentiated", self.differentiated)
        check_damping(self.damping)

    @override
    def solve(self, problem: Problem) -> Solution:
        free = 0 if self.differentiated is None else self.steps - self.differentiated
        return _looped(problem, steps=self.steps, free=free, damping=self.damping)


@dataclass(frozen=True, kw_only=True)
class RandomLoops(Gradient):
    """`Loops` whose number of steps is drawn for each solve, 1 + Poisson(mean - 1).

    It is drawn from torch's generator for the CPU, once for a batch. A layer in eval mode takes
    `round(mean)` steps.

    Attributes:
        mean: The mean number of steps, at least 1.
        differentiated: As in `Loops`; at most as many as are taken.
        damping: Likewise.
    """

    mean: float = 8.0
    differentiated: int | None = 4
    damping: float = 1.0

    seeks_equilibrium: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_number("mean", self.mean)
        if not 1 <= self.mean < float("inf"):
            raise ValueError(f"mean must be 1 or more, and finite, got {self.mean}")
        self._of(1)  # which checks the others

    @override
    def solve(self, problem: Problem) -> Solution:
        more = torch.poisson(torch.tensor(float(self.mean) - 1)).item()
        return self._of(1 + int(more)).solve(problem)

    @override
    def in_mode(self, *, training: bool) -> Gradient:
        return self if training else self._of(round(self.mean))

    def _of(self, steps: int) -> Loops:
        return Loops(steps=steps, differentiated=self.differentiated, damping=self.damping)


@dataclass(frozen=True, kw_only=True)
class AtStart(Gradient):
    """No loop at all: z0 with the verdict on it, which measures what loops and solves add."""

    seeks_equilibrium: ClassVar[bool] = False

    @override
    def solve(self, problem: Problem) -> Solution:
        return _looped(problem, steps=0)


def _looped(problem: Problem, *, steps: int, free: int = 0, damping: float = 1.0) -> Solution:
    """Return the iterate after so many steps, of which the first `free` leave no tape."""
    judge = _Judge(problem)
    taped = torch.is_grad_enabled() and problem.lift is None
    if problem.lift is not None:
        problem.lift.rule = Steps(count=steps, damping=damping, free=free, from_start=True)
    z = problem.z0
    for step in range(steps):
        with torch.set_grad_enabled(taped and step >= free):
            fz = problem.f(z, *problem.args)
            judge.note(z, fz)
            z = fz if damping == 1 else torch.lerp(z, fz, damping)
    with torch.no_grad():
        fz = problem.f(z, *problem.args)
    return judge.solution(z, fz)


class _Judge:
    """Measures the iterates of a loop by the criterion of solves.

    The first and the last are held to it; of those between only the residual is kept.
    """

    def __init__(self, problem: Problem) -> None:
        solver = problem.solver
        kind = Measuring if problem.z0.is_cpu else MeasuringOnDevice
        self._measuring = kind(solver.rules(problem.z0.dtype), problem.blocks)
        self._record = solver.record
        self._trace: list[Float[Tensor, " B"]] = []
        self._states: dict[int, Tensor] = {}

    def note(self, z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"]) -> None:
        """Take note of an iterate z, with f(z) = fz."""
        if not self._trace:
            self._look(z, fz)
        self._trace.append(torch.linalg.vector_norm(fz.detach() - z.detach(), dim=1))
        if len(self._trace) in self._record:
            self._states[len(self._trace)] = z  # with the tape that led there

    def solution(self, z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"]) -> Solution:
        """Return the last iterate z, with f(z) = fz, and its verdicts."""
        self.note(z, fz)
        look, count = self._look(z, fz), len(self._trace)
        trace = torch.stack(self._trace)
        exact = torch.float64 if z.dtype == torch.float64 else torch.float32

        def there(array: Array) -> Tensor:
            return as_tensor(array).to(z.device)

        status = torch.where(there(look.within), Status.CONVERGED, Status.MAX_STEPS)
        finite = trace.isfinite().all(dim=0) & there(look.residual).isfinite()
        return Solution(
            # A copy: who writes to the value shall not write to what the steps have saved.
            value=z.clone() if z.requires_grad else z,
            residual=there(look.residual),
            tolerance=there(look.tolerance),
            status=torch.where(finite, status, Status.NONFINITE),
            steps=torch.full_like(status, count),
            evaluations=count,
            trace=trace.to(exact),
            states=tuple(self._states.get(step, z) for step in self._record),
        )

    def _look(self, z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"]) -> Look:
        points = z.detach(), fz.detach()
        with np.errstate(all="ignore"):
            look = self._measuring.look(*points)
            if not every(self._measuring.sure):
                look = self._measuring.look_closely(*points)
        return look
