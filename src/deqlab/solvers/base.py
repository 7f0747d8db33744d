"""What every solver shares: its tolerances, and the only loop.

A method is a frozen dataclass with two functions. `init` returns all that the method will write;
`step` moves every row of the batch once, from z and f(z). The loop evaluates f once an iteration,
judges each row, and keeps finished rows where they are, or lets them leave; `loop` has its parts.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.arguments import SettingsByName, check_count, check_kind, check_number
from deqlab.linalg.arrays import Array, as_tensor, known_none
from deqlab.maps.matrix_map import MatrixMap, Narrow
from deqlab.solution import Solution
from deqlab.solvers.loop.compaction import Batch, Filed, take_rows
from deqlab.solvers.loop.convergence import Convergence
from deqlab.solvers.loop.criterion import Rules
from deqlab.solvers.loop.error_control import ErrorControl
from deqlab.solvers.loop.evaluation import CountedMap, Iterate
from deqlab.solvers.loop.on_device import OnDevice
from deqlab.solvers.loop.record import Record
from deqlab.state import share_memory

Memory = TypeVar("Memory")


@dataclass(frozen=True, kw_only=True)
class Solver(SettingsByName, ABC, Generic[Memory]):
    """The settings that all methods share, and the loop.

    Attributes:
        rtol: Relative tolerance on the residual, 0 or more. The error of the value is larger, by
            about 1 / (1 - contraction factor of f).
        atol: Absolute tolerance, 0 or more, in the units of the state. With the default, 0, the
            units change nothing: a block has come to zero when |f(z) - z| is rtol times the
            rounding of where it started (see `loop.criterion`). From there on every step counts:
            0.9 z takes 240 of them in float32, and 430 in float64. Where less will do, say so by
            `atol`.
        max_steps: Iterations at most, 1 or more; most methods evaluate f once in each.
        min_steps: No row has converged before this many iterations, 1 or more.
        patience: A row is STAGNATED if for this many steps its residual has not fallen, and its
            iterate has come no farther, by a tenth, from the best one so far. Raise it for rows
            that move more slowly than that.
        record: Iterations, counted from 1, whose iterates `Solution.states` keeps.
    """

    rtol: float = 1e-5
    atol: float = 0.0
    max_steps: int = 100
    min_steps: int = 1
    patience: int = 30
    record: tuple[int, ...] = ()

    unrollable: ClassVar[bool] = True
    """Whether a tape may record the steps, so that `Unrolled` can differentiate them."""

    takes_back: ClassVar[bool] = False
    """Whether bad iterates are trials that a line search takes back: no sign of divergence."""

    def __post_init__(self) -> None:
        for name in ("rtol", "atol"):
            value = getattr(self, name)
            check_number(name, value)
            if not 0 <= value < float("inf"):
                raise ValueError(f"{name} must be 0 or more, and finite, got {value}")
        for name in ("max_steps", "min_steps", "patience"):
            check_count(name, getattr(self, name))
        if self.min_steps > self.max_steps:
            raise ValueError(
                f"min_steps must be at most max_steps, got {self.min_steps} > {self.max_steps}"
            )
        if any(step < 1 for step in self.record):
            raise ValueError(f"record counts iterations from 1, got {self.record}")

    @abstractmethod
    def init(self, z: Float[Tensor, "B D"]) -> Memory:
        """Return all that the method writes during one solve.

        Every tensor and array in it has the rows of the batch as its first dimension.
        """

    @abstractmethod
    def step(
        self, f: CountedMap, iterate: Iterate, memory: Memory
    ) -> tuple[Float[Tensor, "B D"], Memory]:
        """Return the next iterate of every row, from z and f(z); write to neither.

        What it returns for rows outside `iterate.running` is ignored.
        """

    def reports(self, memory: Memory) -> dict[str, Array]:
        """Return what the method itself has found out about each row, (B,), from what it wrote.

        Names are those of fields of `Solution`, which then get it, also for rows that have left
        the batch, and of a compiled solve.
        """
        return {}

    def asks(self, memory: Memory) -> Tensor | None:
        """Return numbers (B,) on a device that the method wants to know on the host.

        The next step after a look of the loop finds them in `Iterate.told`.
        """
        return None

    def rules(self, dtype: torch.dtype) -> Rules:
        """Return what rows are held to, for a state of this dtype."""
        return Rules(
            rtol=self.rtol,
            atol=self.atol,
            min_steps=self.min_steps,
            max_steps=self.max_steps,
            patience=self.patience,
            takes_back=self.takes_back,
            eps=torch.finfo(dtype).eps,
        )

    def solve(
        self, f: MatrixMap, z: Float[Tensor, "B D"], *, blocks: Sequence[int] | None = None
    ) -> Solution:
        """Iterate from `z` until every row has converged, failed, or run out of steps.

        Args:
            f: The map, row i to row i.
            z: Where to start.
            blocks: Columns of each block that is held to the tolerance on its own; they sum to D.
                None for one block.
        """
        return self.run(f, z, blocks=blocks)[0]

    def run(
        self,
        f: MatrixMap,
        z: Float[Tensor, "B D"],
        *,
        blocks: Sequence[int] | None = None,
        narrow: Narrow | None = None,
        taped: bool = False,
        accuracy: float | None = None,
        last: MatrixMap | None = None,
    ) -> tuple[Solution, Memory]:
        """`solve`, and what the method wrote.

        Args:
            f: The map, row i to row i.
            z: Where to start.
            blocks: As in `solve`.
            narrow: Returns the map on some rows alone. With it, finished rows leave the batch.
            taped: Take the steps in such a way that a tape can record them.
            accuracy: Hold each row to this estimated relative error too; see `loop.error_control`.
            last: Called in place of f where an evaluation is expected to be the last.
        """
        blocks = (z.shape[1],) if blocks is None else tuple(blocks)
        follow = Convergence if z.is_cpu else OnDevice
        convergence = follow(z, self.rules(z.dtype), blocks)
        batch, record, memory = Batch(len(z)), Record(self.record), self.init(z)
        counted = CountedMap(f, taped=taped, last=last)
        control = None if accuracy is None else ErrorControl(accuracy, blocks, batch, record)
        while True:
            fz = counted(z, ends=last is not None and convergence.expects_last())
            iterate, z_next = convergence.judge(z, fz), None
            record.note(convergence.look, batch.rows)
            if convergence.count in self.record:
                record.keep(convergence.count, batch.whole_value(convergence.current(z)))
            del z, fz  # not to be held when rows leave
            if control is not None:
                z_next, memory = self._review(control, convergence, counted, iterate, memory)
            if not convergence.goes_on(lambda: self.asks(memory)):  # noqa: B023, called here
                break
            if convergence.told is not None:
                iterate = iterate._replace(told=convergence.told)
            if z_next is None:
                if narrow is not None and (stay := convergence.leaving()) is not None:
                    batch.file(convergence.filed(self.reports(memory)))
                    batch.keep(stay)
                    convergence.keep(stay)
                    iterate, memory = take_rows((iterate, memory), stay)
                    counted.restrict(narrow(batch.index(iterate.z.device)))
                z_next, memory = self._step(counted, iterate, memory)
            z = convergence.hold_finished(iterate.z, z_next)
            del iterate, z_next  # not to be held while f works
        convergence.settle(iterate, counted if narrow is None else None)
        filed = batch.file(convergence.filed(self.reports(memory)))
        solution = _solution(filed, record, counted)
        if share_memory(solution.matrix, iterate.fz):  # f returns a tensor that is not its own
            solution = replace(solution, value=solution.matrix.clone())
        if control is not None:
            control.forget(convergence.revoked)
            solution = control.closed(solution)
        return solution, memory

    def _review(
        self,
        control: ErrorControl,
        convergence: Convergence | OnDevice,
        f: CountedMap,
        iterate: Iterate,
        memory: Memory,
    ) -> tuple[Float[Tensor, "B D"] | None, Memory]:
        """Let rows that have just converged run again if their error is too large.

        Returns:
            The next iterate, which the error was estimated by, and the memory; None if no row has
            just converged.
        """
        control.forget(convergence.revoked)
        fresh = convergence.fresh
        if known_none(fresh):
            return None, memory
        z_next, memory = self._step(f, iterate._replace(running=iterate.running | fresh), memory)
        residuals, held_to = convergence.look.residuals, convergence.verdicts.tolerance
        rows, share = control.review(fresh, iterate.z, z_next, residuals, held_to)
        convergence.reopen(rows, share)
        return z_next, memory

    def _step(
        self, f: CountedMap, iterate: Iterate, memory: Memory
    ) -> tuple[Float[Tensor, "B D"], Memory]:
        """`step`, in the precision of the state under autocast too."""
        device = iterate.z.device.type
        if not torch.is_autocast_enabled(device):
            return self.step(f, iterate, memory)
        with torch.autocast(device, enabled=False):
            return self.step(f, iterate, memory)


def _solution(filed: Filed, record: Record, f: CountedMap) -> Solution:
    value = filed.value
    fields: dict[str, Any] = {name: as_tensor(array) for name, array in filed.fields.items()}
    return Solution(
        value=value,
        evaluations=f.counts.evaluations,
        products=f.counts.products,
        trace=record.trace(value.dtype),
        states=record.kept_states(value),
        **fields,
    )


def check_solver(solver: object) -> None:
    """Raise TypeError unless `solver` is a solver: a value, no class and no string."""
    check_kind("solver", solver, Solver, example="Anderson(rtol=1e-4)")
