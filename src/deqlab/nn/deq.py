"""The DEQ layer: a module whose output is a fixed point."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, overload

import torch
from torch import nn
from typing_extensions import override

from deqlab.arguments import check_kind
from deqlab.errors import OnFailure, check_on_failure
from deqlab.gradients.base import Gradient, check_gradient
from deqlab.gradients.implicit import Implicit
from deqlab.nn.cells.base import Cell
from deqlab.nn.equation import Equation, unwrapped
from deqlab.nn.layer_solve import solved
from deqlab.solution import Solution, StateT
from deqlab.solve import check_rows
from deqlab.solvers.anderson import Anderson
from deqlab.solvers.base import Solver, check_solver
from deqlab.tracing import check_not_traced, refuse_script


class DEQ(nn.Module, Generic[StateT]):
    """z* = cell(z*, *inputs): infinite depth with one layer's weights.

    Args:
        cell: A `Cell`, or any module called as cell(z, *inputs) whose result has the shape of z.
            A plain module starts at `cell.initial(*inputs)` if it has that method, or else at
            zeros in the shape of the first input; a state of one dimension is then one sample, as
            it is for `nn.Linear`. Hooks, parametrisations and wrappers of the cell
            (`torch.compile`, `nn.DataParallel`) run as on any module; see `nn.equation`.
        solver: The forward method, with its tolerance and step limit.
        gradient: How to differentiate z*.
        on_failure: What a sample that misses its tolerance does: "raise", "warn" or "ignore".
        rows_independent: Let finished samples leave the batch: f is then called on the rest. It
            pays where f is costly and some samples are much harder than others. The cell must
            treat its rows independently (no batch norm) and say in `Prepared` what has a row per
            sample; a plain module is called on rows of its inputs.
        batched: False makes the whole state one sample: for cells that couple its rows, such as
            nodes of a graph or batch norm in train mode.
        start: Where solves start, in place of where the cell does: called with that state and the
            inputs; see `nn.starts`. None is where the cell starts.
        name: What errors and warnings of this layer begin with; None for the class of the cell.

    Attributes:
        last: The verdicts of the last solve that ended, without its value; None before the first.
            They hold no graph, and are not saved or copied with the layer. A replica that
            `nn.DataParallel` makes has its own.
        path: Its dotted path in the model, once a log, a control or a diagnosis has looked at one.
        observers: Functions that are told the verdicts of each solve as it ends, in order. One that
            returns True speaks of missed samples itself, and they are not warned of. They are not
            saved or copied with the layer.

    Example:
        >>> import torch
        >>> from deqlab.nn import DenseCell, SpectralNorm
        >>> deq = DEQ(DenseCell(8, 16, constraint=SpectralNorm()))
        >>> deq(torch.randn(4, 8)).shape
        torch.Size([4, 16])
        >>> deq.last.converged
        tensor([True, True, True, True])
    """

    @overload
    def __init__(
        self,
        cell: Cell[StateT],
        *,
        solver: Solver[Any] = ...,
        gradient: Gradient = ...,
        on_failure: OnFailure = ...,
        rows_independent: bool = ...,
        batched: bool = ...,
        start: Callable[..., Any] | None = ...,
        name: str | None = ...,
    ) -> None: ...

    @overload  # of a plain module, DEQ[Tensor] unless the caller says another
    def __init__(
        self,
        cell: nn.Module,
        *,
        solver: Solver[Any] = ...,
        gradient: Gradient = ...,
        on_failure: OnFailure = ...,
        rows_independent: bool = ...,
        batched: bool = ...,
        start: Callable[..., Any] | None = ...,
        name: str | None = ...,
    ) -> None: ...

    def __init__(
        self,
        cell: nn.Module,
        *,
        solver: Solver[Any] = Anderson(),
        gradient: Gradient = Implicit(),
        on_failure: OnFailure = "warn",
        rows_independent: bool = False,
        batched: bool = True,
        start: Callable[..., Any] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__()
        if isinstance(cell, type) or not callable(cell):
            check_kind("cell", cell, nn.Module, example="DenseCell(8, 16)")
        check_solver(solver)
        check_gradient(gradient)
        check_on_failure(on_failure)
        check_rows(rows_independent, batched=batched)
        self.cell = cell
        self.solver = solver
        self.gradient = gradient
        self.on_failure: OnFailure = on_failure
        self.rows_independent = rows_independent
        self.batched = batched
        self.start = start
        self.name = f"DEQ({type(unwrapped(cell)).__name__})" if name is None else name
        self.last: Solution[None] | None = None
        self.observers: list[Callable[[Solution[None]], object]] = []

    path = ""

    @property
    def called(self) -> str:
        """What a sentence calls it: its name, with its path in the model where that is known."""
        return f"{self.name} ({self.path})" if self.path else self.name

    if TYPE_CHECKING:

        def __call__(
            self,
            *inputs: Any,  # noqa: ANN401
            z0: StateT | None = None,
            **keywords: Any,  # noqa: ANN401
        ) -> StateT:
            """See `forward`."""

    @override
    def forward(
        self,
        *inputs: Any,
        z0: StateT | None = None,
        **keywords: Any,
    ) -> StateT:
        """Return z*, differentiable in the inputs and the parameters of the cell.

        The arguments are those of `solve`.
        """
        if torch.compiler.is_compiling():
            from deqlab import graph_break  # torch's compiler takes a second to import

            if graph_break.leaves_graph():
                return graph_break.outside(self.forward, *inputs, z0=z0, **keywords)
        else:
            check_not_traced(inputs, keywords)  # as wholes: of torch.fx each of them is a Proxy
        return self.solve(*inputs, z0=z0, **keywords).value

    def solve(
        self,
        *inputs: Any,  # noqa: ANN401
        z0: StateT | None = None,
        **keywords: Any,  # noqa: ANN401
    ) -> Solution[StateT]:
        """Return z* with the verdict on every sample.

        Args:
            inputs: What the cell takes beside z: x, whose rows are samples, and whatever follows.
                Of a cell of vectors (`DenseCell`, `MonotoneCell`) x may have any number of
                dimensions in front, as in `nn.Linear`: each vector is a sample with its own
                verdict, and the verdicts are in the order of x.flatten(0, -2).
            z0: Where to start, in the shape of z*; None is where the cell starts.
            keywords: Inputs of the cell by their names.

        Raises:
            ConvergenceError: A sample missed the tolerance and `on_failure` is "raise".
            TypeError: The cell has no `initial`, and the first input is no tensor.
            ValueError: z0 is not what the state of the cell looks like; or the cell changed the
                shape of z, which started in the shape of x for want of an `initial`, or of a z0.
        """
        if torch.compiler.is_compiling():
            from deqlab import graph_break  # torch's compiler takes a second to import

            if graph_break.leaves_graph():
                return graph_break.outside(self.solve, *inputs, z0=z0, **keywords)
        else:
            check_not_traced(*inputs, *keywords.values(), z0)
        return solved(self, z0, inputs, keywords)

    def equation(self, z: StateT, *inputs: Any, **keywords: Any) -> Equation:  # noqa: ANN401
        """Return the map that a solve at these inputs iterates, and z as the state that it takes.

        What looks at the map beside of a solve asks here: `stability.Regularizer` for one.
        """
        return Equation.of(self.cell, inputs, keywords, z)

    def remember(self, solution: Solution[Any]) -> bool:
        """Keep the verdicts of a solve, and tell the observers.

        Returns:
            Whether one of them speaks of missed samples, so that no warning need.
        """
        if torch.compiler.is_exporting():
            return False  # a program has no attributes to keep them in
        self.last = solution.verdicts()
        return True in [observe(self.last) for observe in self.observers]

    def __prepare_scriptable__(self) -> None:
        refuse_script(type(self).__name__)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"last": None, "observers": []}

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
