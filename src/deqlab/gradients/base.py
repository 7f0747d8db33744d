"""What a gradient is: how a solve and its derivative belong together."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Bool, Float
from torch import Tensor

from deqlab.arguments import SettingsByName, check_kind
from deqlab.errors import OnFailure
from deqlab.gradients.lift import Lift
from deqlab.maps.matrix_map import Bound, MapWithArgs, MatrixMap, Narrow
from deqlab.solution import Solution, Status
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
        lift: Where a gradient leaves its rule, under transforms that differentiate; it then records
            no tape. None without such.
    """

    f: MapWithArgs
    z0: Float[Tensor, "B D"]
    args: tuple[object, ...]
    solver: Solver[Any]
    blocks: Sequence[int]
    on_failure: OnFailure
    narrow: Narrow | None = None
    what: str = "fixed_point"
    lift: Lift | None = None

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

    seeks_equilibrium: ClassVar[bool] = True
    """Whether a row that is not within the tolerance has failed."""

    @abstractmethod
    def solve(self, problem: Problem) -> Solution:
        """Return the solution; its value carries a gradient if grad mode is on."""

    def in_mode(self, *, training: bool) -> "Gradient":
        """Return what a layer in that mode differentiates by; most do not tell them apart."""
        return self

    @property
    def allowed_error(self) -> float | None:
        """The relative error that a value may have by its estimate; None if that is not asked."""
        return None

    def failed(self, solution: Solution[Any]) -> Bool[Tensor, " B"]:
        """Return the rows that did not become what was asked for."""
        if not self.seeks_equilibrium:
            return solution.status == Status.NONFINITE
        if self.allowed_error is None or solution.error is None:
            return ~solution.converged
        return ~solution.converged | ~(solution.error <= self.allowed_error)


def check_gradient(gradient: object) -> None:
    """Raise TypeError unless `gradient` is a gradient: a value, no class and no string."""
    check_kind("gradient", gradient, Gradient, example="Implicit()")
