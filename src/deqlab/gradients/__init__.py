"""Ways to differentiate a fixed point."""

from deqlab.gradients.base import Gradient
from deqlab.gradients.implicit import Implicit
from deqlab.gradients.linear_methods import GMRES, Dense
from deqlab.gradients.phantom import JacobianFree, Phantom
from deqlab.gradients.reversible import Reversed
from deqlab.gradients.shine import Shine
from deqlab.gradients.unrolled import Unrolled

__all__ = [
    "GMRES",
    "Dense",
    "Gradient",
    "Implicit",
    "JacobianFree",
    "Phantom",
    "Reversed",
    "Shine",
    "Unrolled",
]
