"""What every solver shares: its tolerances, and the only loop.

A method is a frozen dataclass with two functions. `init` returns all that the method will write;
`step` moves every row of the batch once, from z and f(z). The loop evaluates f once a step,
judges each row (see `monitor`), and keeps finished rows where they are.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from jaxtyping import Float
from torch import Tensor

from deqlab.solution import Solution
from deqlab.solvers.monitor import Monitor

Map: TypeAlias = Callable[[Tensor], Tensor]
"""f as the solvers see it: one (B, D) matrix to another; it must not write to its argument."""

Memory = TypeVar("Memory")


@dataclass(frozen=True, kw_only=True)
class Solver(ABC, Generic[Memory]):
    """The settings that all methods share, and the loop.

    Attributes:
        rtol: Relative tolerance on the residual, 0 or more. The error of the value is larger, by
            about 1 / (1 - contraction factor of f).
        atol: Absolute tolerance, 0 or more. It decides only where the fixed point is so close to
            zero that a relative tolerance asks for nothing: the default reads 1e-12 as zero.
        max_steps: Evaluations of f at most, 1 or more.
        patience: A row whose residual finds no new minimum for this many steps is STAGNATED.
    """

    rtol: float = 1e-5
    atol: float = 1e-12
    max_steps: int = 100
    patience: int = 30

    def __post_init__(self) -> None:
        for name in ("rtol", "atol"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise ValueError(f"{name} must be 0 or more, and finite, got {value}")
        for name in ("max_steps", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @abstractmethod
    def init(self, z: Float[Tensor, "B D"]) -> Memory:
        """Return all that the method writes during one solve."""

    @abstractmethod
    def step(
        self, f: Map, z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"], memory: Memory
    ) -> tuple[Float[Tensor, "B D"], Memory]:
        """Return the next iterate of every row; write neither to z nor to fz."""

    def solve(
        self, f: Map, z: Float[Tensor, "B D"], *, blocks: Sequence[int] | None = None
    ) -> Solution:
        """Iterate from `z` until every row has converged, failed, or run out of steps.

        Args:
            f: The map, row i to row i.
            z: Where to start.
            blocks: Columns of each block that is held to the tolerance on its own; they sum to D.
                None for one block.
        """
        monitor = Monitor(z, self.rtol, self.atol, self.max_steps, self.patience, blocks)
        memory = self.init(z)
        while monitor.judge(z, fz := f(z)):
            z_next, memory = self.step(f, z, fz, memory)
            z = monitor.hold_finished(z, z_next)
        return monitor.solution()
