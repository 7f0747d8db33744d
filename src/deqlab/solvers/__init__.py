"""Methods that find fixed points. All share one loop; see `base`."""

from deqlab.solvers.anderson import Anderson
from deqlab.solvers.base import Solver
from deqlab.solvers.picard import Picard

__all__ = ["Anderson", "Picard", "Solver"]
