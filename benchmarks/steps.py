"""One training step: a forward solve, the loss, and its gradient to every trainable tensor.

To measure another setting of deqlab, add a line to `SETTINGS`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks import gold
from benchmarks.timing import Counted, seconds
from benchmarks.workloads import Workload
from deqlab import fixed_point
from deqlab.gradients import GMRES, Gradient, Implicit, Unrolled
from deqlab.solvers import Anderson, Auto, Picard, Solver

ACCURACY = 3e-3
"""Relative error of the gradient, over all trainable tensors together, that a setting may have."""

STRICT = 1e-3
"""The same for the setting of deqlab that is held against the fastest of torchdeq."""

SETTINGS: dict[str, tuple[Solver[Any], Gradient]] = {
    "deqlab, defaults": (Anderson(), Implicit()),
    "deqlab, accuracy=1e-3": (Anderson(max_steps=400), Implicit(accuracy=1e-3)),
    "deqlab, Auto, accuracy=1e-3": (Auto(max_steps=400), Implicit(accuracy=1e-3)),
    "deqlab, accuracy=2e-3": (Anderson(max_steps=400), Implicit(accuracy=2e-3)),
    "deqlab, Auto, accuracy=2e-3": (Auto(max_steps=400), Implicit(accuracy=2e-3)),
    "deqlab, Anderson 1e-3, adjoint 1e-3": (
        Anderson(rtol=1e-3, max_steps=400),
        Implicit(solver=GMRES(rtol=1e-3)),
    ),
    "deqlab, Picard 1e-2, 7 steps unrolled": (Picard(rtol=1e-2, max_steps=400), Unrolled(steps=7)),
    "deqlab, Picard 1e-2, 10 steps unrolled": (
        Picard(rtol=1e-2, max_steps=400),
        Unrolled(steps=10),
    ),
}

Solve = Callable[[Callable[..., Tensor], Tensor, Sequence[Tensor]], Tensor]
"""(cell, z0, arguments) -> z*, on a tape that leads to the arguments."""


def deqlab_solve(solver: Solver[Any], gradient: Gradient) -> Solve:
    """Return a differentiable solve of deqlab."""

    def solve(cell: Callable[..., Tensor], z0: Tensor, arguments: Sequence[Tensor]) -> Tensor:
        solution = fixed_point(
            cell, z0, *arguments, solver=solver, gradient=gradient, on_failure="ignore"
        )
        assert isinstance(solution.value, Tensor)
        return solution.value

    return solve


@dataclass(frozen=True)
class Bench:
    """A workload made ready: tensors in float32, the cotangent, and gold."""

    workload: Workload
    arguments: list[Tensor]
    cotangent: Tensor
    truth: gold.Gold

    @classmethod
    def of(cls, workload: Workload) -> "Bench":
        truth = gold.solve(workload, gradients=True)
        return cls(workload, workload.arguments(trainable=True), workload.cotangent(), truth)

    def step(self, solve: Solve, cell: Callable[..., Tensor] | None = None) -> tuple[Tensor, ...]:
        """Return the gradients of one training step."""
        z = solve(cell or self.workload.cell, self.workload.z0, self.arguments)
        leaves = [argument for argument in self.arguments if argument.requires_grad]
        return torch.autograd.grad((z * self.cotangent).sum(), leaves)

    def plain(self) -> None:
        """Take a step through one evaluation of f: what any training step costs at least."""
        self.step(lambda cell, z0, arguments: cell(z0, *arguments))

    def measure(self, solve: Solve) -> dict[str, Any]:
        """Return the counts and the errors of one step, and its seconds, roughly."""
        counted = Counted(self.workload.cell)
        gradients: list[Tensor] = []
        taken = seconds(lambda: gradients.extend(self.step(solve, counted)))
        error = self.truth.gradient_error(gradients)
        x, exact = gradients[0], self.truth.gradients["x"]
        return {
            "evaluations": counted.evaluations,
            # The last walk over the tape is the one to the weights.
            "products": counted.backward_passes - 1,
            "gradient_error": error,
            "worst_row_of_dx": gold.worst_ratio(x.double() - exact, exact),
            "within": error <= ACCURACY,
            "seconds_once": taken,
        }
