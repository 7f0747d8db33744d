"""Methods that find fixed points. All share one loop; see `base`.

`torch.load` with weights_only=True takes them as values, as in the hyperparameters of a checkpoint:
to make one runs nothing but checks of its settings.
"""

from torch.serialization import add_safe_globals

from deqlab.solvers.anderson import Anderson
from deqlab.solvers.auto import Auto
from deqlab.solvers.base import Solver
from deqlab.solvers.broyden import Broyden
from deqlab.solvers.monotone_map import MonotoneMap
from deqlab.solvers.newton import Newton
from deqlab.solvers.newton_krylov import NewtonKrylov
from deqlab.solvers.picard import Picard
from deqlab.solvers.reversible import Reversible
from deqlab.solvers.splitting import DouglasRachford, ForwardBackward, PeacemanRachford

add_safe_globals(
    [
        Anderson,
        Auto,
        Broyden,
        DouglasRachford,
        ForwardBackward,
        Newton,
        NewtonKrylov,
        PeacemanRachford,
        Picard,
        Reversible,
    ]
)

__all__ = [
    "Anderson",
    "Auto",
    "Broyden",
    "DouglasRachford",
    "ForwardBackward",
    "MonotoneMap",
    "Newton",
    "NewtonKrylov",
    "PeacemanRachford",
    "Picard",
    "Reversible",
    "Solver",
]
