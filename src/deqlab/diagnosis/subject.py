"""What is diagnosed: f at some inputs, where its solves start, and how they are made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deqlab.gradients.base import Gradient
from deqlab.maps.flat_map import FlatMap
from deqlab.maps.matrix_map import Bound
from deqlab.maps.reachable import reachable
from deqlab.nn.deq import DEQ
from deqlab.nn.equation import Equation, unwrapped
from deqlab.nn.start import start
from deqlab.own.target import first_line
from deqlab.solution import Solution
from deqlab.solvers.base import Solver
from deqlab.state import Layout


class DiagnosisError(ValueError):
    """There is nothing to diagnose; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One map at one batch of inputs.

    Attributes:
        name: What it is called.
        asked: The function, cell or layer.
        inputs: What it takes beside z.
        keywords: Likewise, by their names.
        z0: The start that the caller gave; None is where the cell starts.
        solver: The solver that is diagnosed.
        gradient: Likewise.
        batched: Whether rows are samples; else the whole state is one.
    """

    name: str
    asked: Callable[..., Any]
    inputs: tuple[Any, ...]
    keywords: Mapping[str, Any]
    z0: Any
    solver: Solver[Any]
    gradient: Gradient
    batched: bool

    def problem(self) -> "Problem":
        """Return the equation at these inputs, on matrices.

        Raises:
            DiagnosisError: There is no start, or it is no state.
        """
        layer = self.asked if isinstance(self.asked, DEQ) else None
        cell = self.asked if layer is None else layer.cell
        z0 = self.z0
        try:
            if z0 is None and layer is not None and layer.start is not None:
                own = start(unwrapped(cell), self.inputs, self.keywords)
                z0 = layer.start(own, *self.inputs, **self.keywords)
            equation = Equation.of(cell, self.inputs, self.keywords, z0)
            layout = Layout.of(equation.z0, batched=self.batched and not equation.is_vector)
        except Exception as error:
            raise DiagnosisError(
                f"{self.name} cannot start at these inputs: {first_line(error)}"
            ) from error
        flat = FlatMap(equation.f, layout, layout.flatten(equation.z0).device)
        z = layout.flatten(equation.z0).detach()
        return Problem(f=flat, args=equation.args, z0=z, layout=layout)

    def with_inputs(self, inputs: tuple[Any, ...]) -> "Subject":
        """Return the same at other inputs."""
        return replace(self, inputs=inputs)

    def as_one_sample(self) -> "Subject":
        """Return the same where the whole state is one sample."""
        return replace(self, batched=False)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """z = f(z) on (B, D) matrices, with what f draws and what it writes held still.

    Attributes:
        f: The map, called as f(z, *args).
        args: What it takes beside z.
        z0: The start.
        layout: How matrices stand for states.
    """

    f: FlatMap
    args: tuple[Any, ...]
    z0: Float[Tensor, "B D"]
    layout: Layout

    @property
    def map(self) -> Bound:
        """The map z -> f(z, *args)."""
        return Bound(self.f, self.args)

    def at(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Return f(z), without a tape."""
        with torch.no_grad():
            return self.map(z)

    def solve(self, solver: Solver[Any], z: Float[Tensor, "B D"]) -> Solution:
        """Return what a solver finds from z, without a tape."""
        with torch.no_grad():
            return solver.solve(self.map, z, blocks=self.layout.blocks)

    @property
    def modules(self) -> list[tuple[str, nn.Module]]:
        """The modules that f can name, each after its name in the one that contains it."""
        found = reachable(self.f.f, *self.args).modules
        paths: dict[int, str] = {}
        for module in found:
            for path, part in module.named_modules():
                # The longest one begins at the outermost module.
                paths[id(part)] = max(path, paths.get(id(part), ""), key=len)
        return [(_label(module, paths[id(module)]), module) for module in found]


def _label(module: nn.Module, path: str) -> str:
    kind = type(module).__name__
    return f"{path} ({kind})" if path else kind
