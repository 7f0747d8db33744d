"""Ways to differentiate a fixed point.

`torch.load` with weights_only=True takes them as values; see `deqlab.solvers`.
"""

from torch.serialization import add_safe_globals

from deqlab.gradients.base import Gradient
from deqlab.gradients.implicit import Implicit
from deqlab.gradients.linear_methods import GMRES, Dense
from deqlab.gradients.loops import Loops, RandomLoops
from deqlab.gradients.phantom import JacobianFree, Phantom
from deqlab.gradients.reversible import Reversed
from deqlab.gradients.shine import Shine
from deqlab.gradients.switched import Switched
from deqlab.gradients.unrolled import Unrolled

add_safe_globals(
    [
        GMRES,
        Dense,
        Implicit,
        JacobianFree,
        Loops,
        Phantom,
        RandomLoops,
        Reversed,
        Shine,
        Switched,
        Unrolled,
    ]
)

__all__ = [
    "GMRES",
    "Dense",
    "Gradient",
    "Implicit",
    "JacobianFree",
    "Loops",
    "Phantom",
    "RandomLoops",
    "Reversed",
    "Shine",
    "Switched",
    "Unrolled",
]
