"""One solve of a DEQ layer: from where it starts to what it keeps of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from torch import nn

from deqlab.errors import OnFailure
from deqlab.gradients.base import Gradient
from deqlab.nn.equation import Equation, unwrapped
from deqlab.nn.start import described, start
from deqlab.nn.starts import BestOf, Learned
from deqlab.solution import Solution
from deqlab.solve import solve_for
from deqlab.solvers.base import Solver


@runtime_checkable
class Layer(Protocol):
    """What a solve needs to know of a layer; see `DEQ`."""

    cell: nn.Module
    solver: Solver[Any]
    gradient: Gradient
    on_failure: OnFailure
    rows_independent: bool
    batched: bool
    start: Callable[..., Any] | None
    training: bool

    @property
    def called(self) -> str:
        """What sentences call it."""

    def remember(self, solution: Solution[Any]) -> bool:
        """Keep the verdicts of a solve; return whether an observer speaks of missed samples."""


def solved(
    layer: Layer,
    z0: Any,  # noqa: ANN401
    inputs: Sequence[Any],
    keywords: Mapping[str, Any],
) -> Solution[Any]:
    """Return the solution of a layer at these inputs; see `DEQ.solve`."""

    def draw() -> Any:  # noqa: ANN401
        assert layer.start is not None
        own = start(unwrapped(layer.cell), inputs, keywords)
        return layer.start(own, *inputs, **keywords)

    spent = 0
    if z0 is None and isinstance(layer.start, BestOf):
        z0, spent = layer.start.chosen(
            draw,
            lambda z0: _from(layer, z0, inputs, keywords, trial=True),
            ends=layer.gradient.in_mode(training=layer.training).seeks_equilibrium,
        )
    elif z0 is None and layer.start is not None:
        z0 = draw()
        solution = _from(layer, z0, inputs, keywords)
        if isinstance(layer.start, Learned) and layer.training:
            layer.start.note(z0, solution.value)
        return solution
    return _from(layer, z0, inputs, keywords, spent=spent)


def _from(
    layer: Layer,
    z0: Any,  # noqa: ANN401
    inputs: Sequence[Any],
    keywords: Mapping[str, Any],
    *,
    spent: int = 0,
    trial: bool = False,
) -> Solution[Any]:
    """Solve from z0, or from where the cell starts if it is None.

    Args:
        layer: The layer.
        z0: The start.
        inputs: Its inputs.
        keywords: Likewise.
        spent: Evaluations of f that led to the start.
        trial: Whether nobody shall be told of this solve, nor of its failures.
    """
    try:
        equation = Equation.of(layer.cell, inputs, keywords, z0)
        if layer.rows_independent and equation.rows is None:
            raise ValueError(
                f"rows_independent: {type(layer.cell).__name__}.prepare does not say what has a "
                "row per sample: return it as Prepared(rows=...)"
            )
        solution: Solution[Any] = solve_for(
            layer.called,
            equation.f,
            equation.z0,
            equation.args,
            solver=layer.solver,
            gradient=layer.gradient.in_mode(training=layer.training),
            on_failure="ignore" if trial else layer.on_failure,
            rows_independent=layer.rows_independent and (equation.rows or False),
            # A vector is one sample, as it is for nn.Linear.
            batched=layer.batched and (not equation.is_vector or layer.rows_independent),
            remember=None if trial else lambda solution: layer.remember(_counted(solution, spent)),
        )
    except (RuntimeError, TypeError, ValueError) as error:
        inner = unwrapped(layer.cell)
        other = described(error, layer.called, inner, inputs, keywords, z0)
        if other is None:
            if layer.called not in str(error):
                error.add_note(f"It was raised in a solve of {layer.called}.")
            raise
        raise other from error
    return equation.restored(_counted(solution, spent))


def _counted(solution: Solution[Any], spent: int) -> Solution[Any]:
    return replace(solution, evaluations=solution.evaluations + spent) if spent else solution
