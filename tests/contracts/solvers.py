"""Every solver that must keep the contract: a new one adds its line here and inherits all tests.

Configurations that differ in code path count as solvers of their own. The tests set tolerances
and step limits themselves, by `dataclasses.replace`.
"""

import pytest

from deqlab.solvers import Anderson, Auto, Broyden, Newton, NewtonKrylov, Picard, Reversible

SOLVERS = [
    pytest.param(Picard(), id="Picard"),
    pytest.param(Picard(damping=0.7), id="Picard-damped"),
    pytest.param(Anderson(), id="Anderson"),
    pytest.param(Anderson(memory=1), id="Anderson-1"),
    pytest.param(Anderson(damping=0.7), id="Anderson-damped"),
    pytest.param(Broyden(), id="Broyden"),
    pytest.param(Broyden(memory=3), id="Broyden-3"),
    pytest.param(Broyden(damping=0.7), id="Broyden-damped"),
    pytest.param(Newton(), id="Newton"),
    pytest.param(NewtonKrylov(), id="NewtonKrylov"),
    pytest.param(NewtonKrylov(restart=1), id="NewtonKrylov-restarted"),
    pytest.param(Reversible(), id="Reversible"),
    pytest.param(Reversible(damping=0.8), id="Reversible-0.8"),
    pytest.param(Reversible(damping=1.0), id="Reversible-undamped"),
    pytest.param(Auto(), id="Auto"),
    pytest.param(Auto(promise=1, stall=3), id="Auto-eager"),
]


def calls_per_step(solver):
    """Evaluations of f in one iteration: methods that linearise, or have two states, take two."""
    return 2 if isinstance(solver, Newton | NewtonKrylov | Reversible) else 1


every_solver = pytest.mark.parametrize("solver", SOLVERS)
