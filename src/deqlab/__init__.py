"""deqlab: deep equilibrium models in PyTorch, built, trained and explained.

A deep equilibrium model (DEQ) outputs the fixed point z* of a small network z = f(z, x). This
module lists the public names; `deqlab.solvers`, `.gradients`, `.nn`, `.stability` and `.tasks`
have the rest. Names are imported when they are first used, so that the command line answers at
once and the report needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from deqlab.moved import tell_of_moves
from deqlab.version import __version__

if TYPE_CHECKING:
    from deqlab.diagnosis import diagnose
    from deqlab.errors import ConvergenceError, ConvergenceWarning
    from deqlab.gradients import Implicit, JacobianFree, Phantom, Shine, Unrolled
    from deqlab.nn.deq import DEQ
    from deqlab.solution import Solution, Status
    from deqlab.solve import fixed_point
    from deqlab.solvers import Anderson, Auto, Broyden, Newton, NewtonKrylov, Picard

_HOMES = {
    "Anderson": "deqlab.solvers",
    "Auto": "deqlab.solvers",
    "Broyden": "deqlab.solvers",
    "ConvergenceError": "deqlab.errors",
    "ConvergenceWarning": "deqlab.errors",
    "DEQ": "deqlab.nn.deq",
    "Implicit": "deqlab.gradients",
    "JacobianFree": "deqlab.gradients",
    "Newton": "deqlab.solvers",
    "NewtonKrylov": "deqlab.solvers",
    "Phantom": "deqlab.gradients",
    "Picard": "deqlab.solvers",
    "Shine": "deqlab.gradients",
    "Solution": "deqlab.solution",
    "Status": "deqlab.solution",
    "Unrolled": "deqlab.gradients",
    "diagnose": "deqlab.diagnosis",
    "fixed_point": "deqlab.solve",
}

__all__ = [
    "DEQ",
    "Anderson",
    "Auto",
    "Broyden",
    "ConvergenceError",
    "ConvergenceWarning",
    "Implicit",
    "JacobianFree",
    "Newton",
    "NewtonKrylov",
    "Phantom",
    "Picard",
    "Shine",
    "Solution",
    "Status",
    "Unrolled",
    "__version__",
    "diagnose",
    "fixed_point",
]


tell_of_moves()


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'deqlab' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
