"""Every gradient that must keep the contract: a new one adds its line here and inherits all tests.

Each comes with the forward solver it is tested on, and says whether it is exact. Inexact ones
owe all tests but those of the value of the gradient, and are descent directions instead; their
own closed forms stand in tests/gradients.
"""

from dataclasses import dataclass

import pytest

from deqlab.gradients import (
    GMRES,
    Dense,
    Gradient,
    Implicit,
    JacobianFree,
    Phantom,
    Reversed,
    Shine,
    Unrolled,
)
from deqlab.solvers import Anderson, Broyden, Picard, Reversible, Solver

PICARD = Picard(rtol=1e-13, atol=0.0, max_steps=2000)
ANDERSON = Anderson(rtol=1e-13, atol=0.0, max_steps=500)
REVERSIBLE = Reversible(rtol=1e-13, atol=0.0, max_steps=2000)
BROYDEN = Broyden(rtol=1e-13, atol=0.0, max_steps=500)


@dataclass(frozen=True, kw_only=True)
class Case:
    gradient: Gradient
    solver: Solver = ANDERSON
    exact: bool = True
    # The tape holds the iterations: a solve that ends at its start carries no gradient, the
    # derivative is one evaluation behind the value, and a row that fails late spoils the gradient
    # of parameters that it shares (0 * nan).
    taped: bool = False
    # The gradient comes from the path of the solve, which rounding and units change.
    follows_path: bool = False


GRADIENTS = {
    "Implicit": Case(gradient=Implicit()),
    "Implicit-GMRES-restarted": Case(gradient=Implicit(solver=GMRES(restart=2))),
    "Implicit-Dense": Case(gradient=Implicit(solver=Dense())),
    "Implicit-accuracy": Case(gradient=Implicit(accuracy=1e-12)),
    "Implicit-Picard": Case(gradient=Implicit(solver=PICARD)),
    "Implicit-Picard-damped": Case(
        gradient=Implicit(solver=Picard(rtol=1e-13, atol=0.0, max_steps=2000, damping=0.7)),
        solver=PICARD,
    ),
    "Implicit-Anderson-2": Case(
        gradient=Implicit(solver=Anderson(rtol=1e-13, atol=0.0, max_steps=500, memory=2))
    ),
    "JacobianFree": Case(gradient=JacobianFree(), exact=False),
    "Phantom": Case(gradient=Phantom(steps=3, damping=0.8), exact=False),
    "Phantom-unrolled": Case(gradient=Phantom(steps=3, damping=0.8, unrolled=True), exact=False),
    # Exact for few steps; 1e-13 takes more than rounding lets it take back.
    "Reversed": Case(
        gradient=Reversed(rtol=1.0), solver=REVERSIBLE, exact=False, follows_path=True
    ),
    "Shine": Case(gradient=Shine(), solver=BROYDEN, exact=False, follows_path=True),
    "Shine-refined": Case(gradient=Shine(refine=3), solver=BROYDEN, exact=False, follows_path=True),
    "Unrolled-truncated": Case(gradient=Unrolled(steps=2), exact=False),
    "Unrolled-Picard": Case(gradient=Unrolled(), solver=PICARD, taped=True),
    "Unrolled-checkpoint": Case(gradient=Unrolled(checkpoint=True), solver=PICARD, taped=True),
    "Unrolled-Anderson": Case(gradient=Unrolled(), solver=ANDERSON, taped=True),
}

every_gradient = pytest.mark.parametrize("case", GRADIENTS.values(), ids=GRADIENTS)
every_pathless_gradient = pytest.mark.parametrize(
    "case",
    [case for case in GRADIENTS.values() if not case.follows_path],
    ids=[name for name, case in GRADIENTS.items() if not case.follows_path],
)
exact_gradients = pytest.mark.parametrize(
    "case",
    [case for case in GRADIENTS.values() if case.exact],
    ids=[name for name, case in GRADIENTS.items() if case.exact],
)
inexact_gradients = pytest.mark.parametrize(
    "case",
    [case for case in GRADIENTS.values() if not case.exact],
    ids=[name for name, case in GRADIENTS.items() if not case.exact],
)
