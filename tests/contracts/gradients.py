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
    # The gradient has no derivative of its own, and says so.
    once: bool = False

    @property
    def refuses_transforms(self) -> bool:
        """Whether it is that of the solver's own steps, which torch.func cannot follow."""
        return self.taped or self.once


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
    "Reversed": Case(gradient=Reversed(), solver=REVERSIBLE, follows_path=True, once=True),
    "Shine": Case(gradient=Shine(), solver=BROYDEN, exact=False, follows_path=True),
    "Shine-refined": Case(gradient=Shine(refine=3), solver=BROYDEN, exact=False, follows_path=True),
    "Unrolled-truncated": Case(gradient=Unrolled(steps=2), exact=False),
    "Unrolled-Picard": Case(gradient=Unrolled(), solver=PICARD, taped=True),
    "Unrolled-checkpoint": Case(gradient=Unrolled(checkpoint=True), solver=PICARD, taped=True),
    "Unrolled-Anderson": Case(gradient=Unrolled(), solver=ANDERSON, taped=True),
}

VARIANTS = {
    "Implicit-GMRES-restarted",
    "Implicit-Picard-damped",
    "Implicit-Anderson-2",
    "Phantom-unrolled",
    "Shine-refined",
    "Unrolled-truncated",
    "Unrolled-Anderson",
}
"""Those that are left to the slow tests: another configuration of the same method is not."""


def parameters(cases):
    """Return what a test is parametrised by, with the names of `GRADIENTS`."""
    return [
        pytest.param(case, id=name, marks=[pytest.mark.slow] if name in VARIANTS else [])
        for name, case in cases.items()
    ]


def gradients(keep=lambda case: True):
    """Return the mark that gives a test the cases to keep, as `case`."""
    kept = {name: case for name, case in GRADIENTS.items() if keep(case)}
    return pytest.mark.parametrize("case", parameters(kept))


every_gradient = gradients()
pathless_gradients = gradients(lambda case: not case.follows_path)
untaped_gradients = gradients(lambda case: not case.taped)
exact_gradients = gradients(lambda case: case.exact)
twice_exact_gradients = gradients(lambda case: case.exact and not case.once)
inexact_gradients = gradients(lambda case: not case.exact)
