"""Methods that find fixed points. All share one loop; see `base`.

`torch.load` with weights_only=True takes them as values, as in the hyperparameters of a checkpoint:
to make one runs nothing but checks of its settings.
"""

from torch.serialization import add_safe_globals

from deqlab.solvers.anderson import Anderson
from deqlab.solvers.auto import Auto
from deqlab.solvers.base import Solver
from deqlab.solvers.broyden import Broyden
from deqlab.solvers.circular import CircularOperator
from deqlab.solvers.linear_operator import DenseOperator, LinearOperator
from deqlab.solvers.monotone_map import MonotoneMap
from deqlab.solvers.newton import Newton
from deqlab.solvers.newton_krylov import NewtonKrylov
from deqlab.solvers.picard import Picard
from deqlab.solvers.proximal import (
    Box,
    Proximal,
    Relu,
    Sigmoid,
    SoftThreshold,
    Tanh,
    ZeroBorder,
    proximal,
)
from deqlab.solvers.reversible import Reversible
from deqlab.solvers.splitting import DouglasRachford, ForwardBackward, PeacemanRachford
from deqlab.solvers.tiers import TieredOperator
from deqlab.solvers.tuning import tuned

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
    "Box",
    "Broyden",
    "CircularOperator",
    "DenseOperator",
    "DouglasRachford",
    "ForwardBackward",
    "LinearOperator",
    "MonotoneMap",
    "Newton",
    "NewtonKrylov",
    "PeacemanRachford",
    "Picard",
    "Proximal",
    "Relu",
    "Reversible",
    "Sigmoid",
    "SoftThreshold",
    "Solver",
    "Tanh",
    "TieredOperator",
    "ZeroBorder",
    "proximal",
    "tuned",
]
