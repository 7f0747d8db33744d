"""The DEQ layer: a module whose output is a fixed point."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from deqlab.errors import OnFailure, check_on_failure
from deqlab.gradients import Gradient, Implicit
from deqlab.nn.cells import Cell
from deqlab.solution import Solution
from deqlab.solve import check_rows, fixed_point
from deqlab.solvers import Anderson, Solver
from deqlab.state import State
from deqlab.tracing import refuse_script


class DEQ(nn.Module):
    """z* = cell(z*, x): infinite depth with one layer's weights.

    Args:
        cell: A `Cell`, or any module called as cell(z, x) whose result has the shape of z. A
            plain module starts at zeros in the shape of x unless `solve` is given a z0.
        solver: The forward method, with its tolerance and step limit.
        gradient: How to differentiate z*.
        on_failure: What a sample that misses its tolerance does: "raise", "warn" or "ignore".
        rows_independent: Let finished samples leave the batch: f is then called on the rest. It
            pays where f is costly and some samples are much harder than others. The cell must
            treat its rows independently (no batch norm) and know its `row_args`; a plain module
            is called on rows of x.
        batched: False makes the whole state one sample: for cells that couple its rows, such as
            nodes of a graph or batch norm in train mode.

    Example:
        >>> import torch
        >>> from deqlab.nn import DenseCell, SpectralNorm
        >>> deq = DEQ(DenseCell(8, 16, constraint=SpectralNorm()))
        >>> deq(torch.randn(4, 8)).shape
        torch.Size([4, 16])
    """

    def __init__(
        self,
        cell: nn.Module,
        *,
        solver: Solver[Any] = Anderson(),
        gradient: Gradient = Implicit(),
        on_failure: OnFailure = "warn",
        rows_independent: bool = False,
        batched: bool = True,
    ) -> None:
        super().__init__()
        check_on_failure(on_failure)
        check_rows(rows_independent, batched=batched)
        if rows_independent and isinstance(cell, Cell) and cell.row_args is None:
            raise ValueError(
                f"rows_independent: {type(cell).__name__} does not say which of its args have a "
                "row per sample; set its class attribute row_args"
            )
        self.cell = cell
        self.solver = solver
        self.gradient = gradient
        self.on_failure: OnFailure = on_failure
        self.rows_independent = rows_independent
        self.batched = batched

    @override
    def forward(self, x: Tensor) -> State:
        """Return z*, differentiable in x and the parameters of the cell."""
        if torch.compiler.is_compiling():
            from deqlab import graph_break  # torch's compiler takes a second to import

            if graph_break.leaves_graph():
                return graph_break.outside(self.forward, x)
        return self.solve(x).value

    def solve(self, x: Tensor, z0: State | None = None) -> Solution:
        """Return z* with the verdict on every sample.

        Args:
            x: The input, rows are samples.
            z0: Where to start; None is where the cell starts.

        Raises:
            ConvergenceError: A sample missed the tolerance and `on_failure` is "raise".
        """
        if torch.compiler.is_compiling():
            from deqlab import graph_break  # torch's compiler takes a second to import

            if graph_break.leaves_graph():
                return graph_break.outside(self.solve, x, z0)
        f, args = self._prepare(x)
        return fixed_point(
            f,
            self._initial(x) if z0 is None else z0,
            *args,
            solver=self.solver,
            gradient=self.gradient,
            on_failure=self.on_failure,
            rows_independent=self._row_args(),
            batched=self.batched,
        )

    def __prepare_scriptable__(self) -> None:
        refuse_script(type(self).__name__)

    def _prepare(self, x: Tensor) -> tuple[Callable[..., State], tuple[Tensor, ...]]:
        return self.cell.prepare(x) if isinstance(self.cell, Cell) else (self.cell, (x,))

    def _initial(self, x: Tensor) -> State:
        return self.cell.initial(x) if isinstance(self.cell, Cell) else torch.zeros_like(x)

    def _row_args(self) -> bool | tuple[bool, ...]:
        if not self.rows_independent:
            return False
        return self.cell.row_args or True if isinstance(self.cell, Cell) else True

    @override
    def extra_repr(self) -> str:
        options = {
            "solver": self.solver,
            "gradient": self.gradient,
            "on_failure": self.on_failure,
            "rows_independent": self.rows_independent,
            "batched": self.batched,
        }
        return ", ".join(f"{name}={value!r}" for name, value in options.items())
