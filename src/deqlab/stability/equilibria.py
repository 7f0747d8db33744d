"""How well equilibria were solved, over one solve or over all batches of a data set."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float64
from torch import Tensor

from deqlab.solution import Solution


def relative_residual(solution: Solution) -> Float64[Tensor, " B"]:
    """Return |f(z) - z| / |z| per sample; a zero state has none, and gives its residual."""
    return _relative(solution, torch.linalg.vector_norm(solution.matrix, dim=1).double())


@dataclass
class Solves:
    """What is kept of the solves of a network; nothing, if it has none.

    Attributes:
        residuals: The relative residuals of the samples of each solve.
        converged: Whether they are at their equilibrium.
        evaluations: The evaluations of f of the longest solve.
    """

    residuals: list[Tensor] = field(default_factory=list)
    converged: list[Tensor] = field(default_factory=list)
    evaluations: int = 0

    def add(self, solution: Solution | None, *, size: Tensor | None = None) -> None:
        """Add a solve, if there is one.

        Args:
            solution: The solve.
            size: What the residuals are relative to; None is |z| in the precision of z.
        """
        if solution is None:
            return
        relative = relative_residual(solution) if size is None else _relative(solution, size)
        self.residuals.append(relative)
        self.converged.append(solution.converged)
        self.evaluations = max(self.evaluations, solution.evaluations)

    def row(self, *names: str) -> dict[str, float]:
        """Return measures of all solves by name; none, if nothing was solved.

        Args:
            names: Some of "residual", "residual_max", "converged" and "evaluations"; default: all.
        """
        if not self.residuals:
            return {}
        residual = torch.cat(self.residuals)
        row: dict[str, float] = {
            "residual": residual.median().item(),
            "residual_max": residual.max().item(),
            "converged": torch.cat(self.converged).double().mean().item(),
            "evaluations": self.evaluations,
        }
        return {name: row[name] for name in names or row}


def _relative(solution: Solution, size: Tensor) -> Tensor:
    return solution.residual / torch.where(size > 0, size, 1.0)
