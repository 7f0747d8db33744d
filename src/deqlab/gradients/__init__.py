"""Ways to differentiate a fixed point."""

from deqlab.gradients.base import Gradient
from deqlab.gradients.implicit import Implicit, JacobianFree
from deqlab.gradients.unrolled import Unrolled

__all__ = ["Gradient", "Implicit", "JacobianFree", "Unrolled"]
