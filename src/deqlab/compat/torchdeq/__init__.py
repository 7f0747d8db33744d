"""The names of torchdeq 0.1.0 on the solvers and gradients of deqlab.

`from deqlab.compat.torchdeq import get_deq` takes the place of `from torchdeq import get_deq`, and
what a model calls stays as it is. `translate` says what a set of options is in deqlab, for whoever
wants to leave this package behind. What differs stands in docs/from-torchdeq.md.
"""

from deqlab.compat.torchdeq.core import DEQIndexing, DEQSliced, get_deq, reset_deq
from deqlab.compat.torchdeq.dropout import (
    VariationalDropout,
    VariationalDropout1d,
    VariationalDropout2d,
    VariationalDropout3d,
    VariationalDropToken1d,
    VariationalDropToken2d,
    VariationalDropToken3d,
    reset_dropout,
)
from deqlab.compat.torchdeq.info import SolverStat
from deqlab.compat.torchdeq.left_out import found_by
from deqlab.compat.torchdeq.loss import fp_correction, jac_reg, power_method
from deqlab.compat.torchdeq.norm import apply_norm, remove_norm, reset_norm
from deqlab.compat.torchdeq.options import Options
from deqlab.compat.torchdeq.parser import add_deq_args
from deqlab.compat.torchdeq.submodules import make_submodules
from deqlab.compat.torchdeq.translation import Translation, translate

__all__ = [
    "DEQIndexing",
    "DEQSliced",
    "Options",
    "SolverStat",
    "Translation",
    "VariationalDropToken1d",
    "VariationalDropToken2d",
    "VariationalDropToken3d",
    "VariationalDropout",
    "VariationalDropout1d",
    "VariationalDropout2d",
    "VariationalDropout3d",
    "add_deq_args",
    "apply_norm",
    "fp_correction",
    "get_deq",
    "jac_reg",
    "power_method",
    "remove_norm",
    "reset_deq",
    "reset_dropout",
    "reset_norm",
    "translate",
]

__getattr__ = found_by(__name__)
make_submodules()
