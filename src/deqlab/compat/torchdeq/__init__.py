"""The names of torchdeq 0.1.0 on the solvers and gradients of deqlab.

`from deqlab.compat.torchdeq import get_deq` takes the place of `from torchdeq import get_deq`, and
what a model calls stays as it is. `translate` says what a set of options is in deqlab, for whoever
wants to leave this package behind. What differs stands in docs/from-torchdeq.md.
"""

from typing import NoReturn

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
from deqlab.compat.torchdeq.loss import fp_correction, jac_reg, power_method
from deqlab.compat.torchdeq.norm import apply_norm, remove_norm, reset_norm
from deqlab.compat.torchdeq.options import Options
from deqlab.compat.torchdeq.parser import add_deq_args
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

LEFT_OUT = {
    "get_solver": "a solver is a value: translate(f_solver=...).solver, with a method solve(f, z)",
    "register_solver": "a solver is a subclass of deqlab.solvers.Solver, passed as a value",
    "register_deq": "a layer is a module that calls deqlab.fixed_point",
    "register_norm": "a norm is a parametrisation of torch (torch.nn.utils.parametrize)",
    "register_norm_module": "a norm is a parametrisation of torch (torch.nn.utils.parametrize)",
    "register_weight_func": "pass the function itself: fp_correction(..., weight_func=function)",
    "backward_factory": "a gradient is a value: translate(ift=...).gradient",
    "solver_stat_from_final_step": "every solve has its verdicts: info.solution",
    "mixed_init": "torch.randn(shape) * torch.empty(shape).bernoulli_(0.5)",
    "mem_gc": "torch.utils.checkpoint.checkpoint(module, *inputs, use_reentrant=False)",
}
"""Names of torchdeq that are not here, and what to use."""


def __getattr__(name: str) -> NoReturn:
    if name in LEFT_OUT:
        raise ImportError(f"deqlab has no {name} of torchdeq: {LEFT_OUT[name]}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
