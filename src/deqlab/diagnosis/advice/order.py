"""All findings in order, the most important first.

Each question looks at one thing and returns a finding or none. Their order here is that of findings
of one rank: what makes the rest worthless comes first.
"""

from collections.abc import Callable

from deqlab.diagnosis.advice import on_f, on_fixed_points, on_solves
from deqlab.diagnosis.findings import Finding
from deqlab.diagnosis.measurements import Measurements

Question = Callable[[Measurements], Finding | None]

QUESTIONS: tuple[Question, ...] = (
    on_f.repeatable,
    on_f.finite,
    on_f.coupled,
    on_f.random,
    on_fixed_points.exists,
    on_f.differentiable,
    on_f.learns,
    on_solves.precise,
    on_fixed_points.solved,
    on_f.implicit,
    on_fixed_points.several,
    on_fixed_points.repels,
    on_fixed_points.slow,
    on_solves.gradient,
    on_solves.tolerance,
    on_solves.unmeasured,
    on_fixed_points.attracts,
    on_solves.certificate,
    on_solves.solver_choice,
    on_solves.cost,
    on_solves.warm_starts,
)


def findings_of(measured: Measurements) -> tuple[Finding, ...]:
    """Return all that was found, the most important first."""
    found = [finding for ask in QUESTIONS if (finding := ask(measured)) is not None]
    return tuple(sorted(found, key=lambda finding: finding.rank))
