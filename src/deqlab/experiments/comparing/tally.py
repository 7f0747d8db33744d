"""What is known of the training steps between two evaluations."""

from dataclasses import dataclass, field
from statistics import fmean

from torch import Tensor

from deqlab.experiments.base import Row
from deqlab.solution import Solution


@dataclass
class Tally:
    """What happened since the last evaluation; plain values, which a checkpoint keeps.

    Attributes:
        losses: The training loss of each step.
        evaluations: The evaluations of f of each solve; none where the network is no DEQ.
        products: Those of its adjoint, products and evaluations.
        converged: The share of samples whose solve and adjoint both converged.
    """

    losses: list[float] = field(default_factory=list)
    evaluations: list[int] = field(default_factory=list)
    products: list[int] = field(default_factory=list)
    converged: list[float] = field(default_factory=list)

    def add(self, loss: Tensor, solution: Solution | None) -> None:
        """Add a step."""
        self.losses.append(loss.item())
        if solution is not None:
            self.evaluations.append(solution.evaluations)
            # A linear method counts products; a solver of fixed points evaluates a map of one.
            solves = solution.adjoint
            self.products.append(sum(solve.products + solve.evaluations for solve in solves))
            both = [solution, *solution.adjoint]
            self.converged.append(min(s.converged.double().mean().item() for s in both))

    def row(self) -> Row:
        """Return the means over all steps."""
        row: Row = {"train_loss": fmean(self.losses)}
        if self.evaluations:
            row["evaluations"] = fmean(self.evaluations)
            row["adjoint_products"] = fmean(self.products)
            row["train_converged"] = fmean(self.converged)
        return row
