"""Every solver that must keep the contract: a new one adds its line here and inherits all tests.

Configurations that differ in code path count as solvers of their own; all but the first of each
solver are left to the slow tests. The tests set tolerances and step limits themselves, by
`dataclasses.replace`.
"""

import pytest
import torch

from deqlab.solvers import Anderson, Auto, Broyden, Newton, NewtonKrylov, Picard, Reversible

SOLVERS = {
    "Picard": Picard(),
    "Anderson": Anderson(),
    "Broyden": Broyden(),
    "Newton": Newton(),
    "NewtonKrylov": NewtonKrylov(),
    "Reversible": Reversible(),
    "Auto": Auto(),
}
VARIANTS = {
    "Picard-damped": Picard(damping=0.7),
    "Anderson-1": Anderson(memory=1),
    "Anderson-damped": Anderson(damping=0.7),
    "Anderson-rounded": Anderson(window_dtype=torch.bfloat16),
    "Broyden-3": Broyden(memory=3),
    "Broyden-damped": Broyden(damping=0.7),
    "NewtonKrylov-restarted": NewtonKrylov(restart=1),
    "Reversible-0.8": Reversible(damping=0.8),
    "Reversible-undamped": Reversible(damping=1.0),
    "Auto-eager": Auto(promise=1, stall=3),
}


def calls_per_step(solver):
    """Evaluations of f in one iteration: methods that linearise, or have two states, take two."""
    return 2 if isinstance(solver, Newton | NewtonKrylov | Reversible) else 1


every_solver = pytest.mark.parametrize(
    "solver",
    [
        *(pytest.param(solver, id=name) for name, solver in SOLVERS.items()),
        *(
            pytest.param(solver, id=name, marks=pytest.mark.slow)
            for name, solver in VARIANTS.items()
        ),
    ],
)
