"""What a gradient is: how a solve and its derivative belong together."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from deqlab.arguments import SettingsByName, check_kind
from deqlab.errors import OnFailure
from deqlab.maps.matrix_map import Bound, MapWithArgs, MatrixMap, Narrow
from deqlab.solution import Solution
from deqlab.solvers.base import Solver


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One solve, as a gradient sees it.

    Attributes:
        f: The map, called as f(z, *args).
        z0: Where to start.
        args: Passed on to f; gradients flow to the tensors among them.
        solver: The forward method.
        blocks: Columns of each block of the state.
        on_failure: What a failed backward solve does.
        narrow: Returns the map on some rows alone; None keeps every row in the batch.
        what: The name of whoever asked for the solve, for errors and warnings.
    """

    f: MapWithArgs
    z0: Float[Tensor, "B D"]
    args: tuple[object, ...]
    solver: Solver[Any]
    blocks: Sequence[int]
    on_failure: OnFailure
    narrow: Narrow | None = None
    what: str = "fixed_point"

    @property
    def adjoint(self) -> str:
        """The name of the linear system of the backward pass, likewise."""
        return f"adjoint of {self.what}"

    def solve(self) -> Solution:
        """Run the forward method under the caller's grad mode."""
        return self.run()[0]

    def run(
        self,
        *,
        taped: bool = False,
        accuracy: float | None = None,
        last: MatrixMap | None = None,
    ) -> tuple[Solution, Any]:
        """`solve`, and what the method wrote; see `Solver.run`."""
        return self.solver.run(
            Bound(self.f, self.args),
            self.z0.detach(),
            blocks=self.blocks,
            narrow=self.narrow,
            taped=taped,
            accuracy=accuracy,
            last=last,
        )


@dataclass(frozen=True, kw_only=True)
class Gradient(SettingsByName, ABC):
    """Solves a problem, and makes the value differentiable."""

    @abstractmethod
    def solve(self, problem: Problem) -> Solution:
        """Return the solution; its value carries a gradient if grad mode is on."""


def check_gradient(gradient: object) -> None:
    """Raise TypeError unless `gradient` is a gradient: a value, no class and no string."""
    check_kind("gradient", gradient, Gradient, example="Implicit()")
