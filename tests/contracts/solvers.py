"""Every solver that must keep the contract: a new one adds its line here and inherits all tests.

Configurations that differ in code path count as solvers of their own. The tests set tolerances
and step limits themselves, by `dataclasses.replace`.
"""

import pytest

from deqlab.solvers import Anderson, Auto, Picard

SOLVERS = [
    pytest.param(Picard(), id="Picard"),
    pytest.param(Picard(damping=0.7), id="Picard-damped"),
    pytest.param(Anderson(), id="Anderson"),
    pytest.param(Anderson(memory=1), id="Anderson-1"),
    pytest.param(Anderson(damping=0.7), id="Anderson-damped"),
    pytest.param(Auto(), id="Auto"),
    pytest.param(Auto(promise=1, stall=3), id="Auto-eager"),
]

every_solver = pytest.mark.parametrize("solver", SOLVERS)
