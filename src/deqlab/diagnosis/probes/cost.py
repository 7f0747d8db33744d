"""What a training step costs, and of what: evaluations of f, the solver's own work, products."""

from dataclasses import dataclass

from deqlab.costs import flops, seconds
from deqlab.diagnosis.probes.gradients import GradientErrors
from deqlab.diagnosis.probes.solvers import SolverRun
from deqlab.diagnosis.subject import Problem

REPEATS = 5


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds of one solve and of its backward pass.

    Attributes:
        evaluation: Seconds of one evaluation of f, without a tape.
        flops: Of one evaluation, matrix products and convolutions only.
        evaluations: How many a solve takes.
        solve: Seconds of a solve.
        products: With J', of a backward pass; None if it was not measured.
        backward: Seconds of it; None likewise.
    """

    evaluation: float
    flops: int
    evaluations: int
    solve: float
    products: int | None
    backward: float | None

    @property
    def parts(self) -> dict[str, float]:
        """Seconds of each part of a step."""
        in_f = min(self.solve, self.evaluations * self.evaluation)
        found = {"evaluations of f": in_f, "the solver's own work": self.solve - in_f}
        return found if self.backward is None else {**found, "the backward pass": self.backward}

    @property
    def step(self) -> float:
        """Seconds of all parts."""
        return sum(self.parts.values())


def cost(problem: Problem, run: SolverRun, gradients: GradientErrors | None) -> Cost:
    """Time f alone, beside a solve that was timed."""
    (evaluation,) = seconds([lambda: problem.at(problem.z0)], REPEATS)
    operations, _ = flops(lambda: problem.at(problem.z0))
    taken = None if gradients is None else gradients.by_name.get(gradients.chosen)
    return Cost(
        evaluation=evaluation,
        flops=operations,
        evaluations=run.evaluations,
        solve=run.seconds,
        products=None if taken is None else taken.products,
        backward=None if taken is None else taken.backward,
    )
