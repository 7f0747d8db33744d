"""One way to compute while a layer trains, and another when it is used."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool
from torch import Tensor
from typing_extensions import override

from deqlab.gradients.base import Gradient, Problem
from deqlab.gradients.implicit import Implicit
from deqlab.gradients.loops import RandomLoops
from deqlab.solution import Solution


@dataclass(frozen=True, kw_only=True)
class Switched(Gradient):
    """Trains in one way, such as by loops, and is used in another, such as at its equilibrium.

    Random loops teach a cell to end where it ends whatever their number is: what they find in train
    mode is then near the equilibrium that is solved for in eval mode. Whether it is there is what
    the verdicts of the solves say.

    Attributes:
        train: How a layer in train mode computes.
        use: How a layer in eval mode does, and `fixed_point` by itself.
    """

    train: Gradient = RandomLoops()
    use: Gradient = Implicit()

    @override
    def in_mode(self, *, training: bool) -> Gradient:
        return (self.train if training else self.use).in_mode(training=training)

    @override
    def solve(self, problem: Problem) -> Solution:
        return self.use.solve(problem)

    @property
    @override
    def allowed_error(self) -> float | None:
        return self.use.allowed_error

    @override
    def failed(self, solution: Solution[Any]) -> Bool[Tensor, " B"]:
        return self.use.failed(solution)
