"""Names of torchdeq that a module does not define: in the package, or left out with a sentence."""

import sys
from collections.abc import Callable
from typing import Any

_SOLVER = "translate(f_solver={!r}).solver is that solver as a value, with a method solve(f, z)"
_NORM = "a norm is a parametrisation of torch (torch.nn.utils.parametrize)"
_STATE = "get_deq and deqlab.fixed_point take a state of several tensors as a tuple"
_OWN_LOOP = "a solver of your own is a subclass of deqlab.solvers.Solver, which has the loop"
_CHECKPOINT = "torch.utils.checkpoint.checkpoint(module, *inputs, use_reentrant=False)"

LEFT_OUT = {
    "get_solver": "a solver is a value: translate(f_solver=...).solver, with a method solve(f, z)",
    "register_solver": "a solver is a subclass of deqlab.solvers.Solver, passed as a value",
    "anderson_solver": _SOLVER.format("anderson"),
    "broyden_solver": _SOLVER.format("broyden"),
    "fixed_point_iter": _SOLVER.format("fixed_point_iter"),
    "simple_fixed_point_iter": _SOLVER.format("simple_fixed_point_iter"),
    **dict.fromkeys(
        ("line_search", "scalar_search_armijo"),
        "deqlab.solvers.NewtonKrylov has a line search, of each row",
    ),
    **dict.fromkeys(("matvec", "rmatvec"), "deqlab.solvers.Broyden keeps its updates to itself"),
    **dict.fromkeys(
        ("batch_flatten", "batch_masked_mixing", "init_solver_info", "update_state"), _OWN_LOOP
    ),
    **dict.fromkeys(
        ("dummy_solver_stat", "solver_stat_from_final_step", "solver_stat_from_info"),
        "every solve has its verdicts: info.solution",
    ),
    "register_deq": "a layer is a module that calls deqlab.fixed_point",
    "deq_decorator": _STATE,
    **dict.fromkeys(("DEQWrapper", "MDEQWrapper", "SpeedyMDEQWrapper"), _STATE),
    "DEQConfig": "get_deq, apply_norm and translate take a Namespace, a dict, or keywords; Options "
    "has them checked",
    "register_norm": _NORM,
    "register_norm_module": _NORM,
    "WeightNorm": "apply_norm(model, 'weight_norm')",
    "SpectralNorm": "apply_norm(model, 'spectral_norm'); deqlab.nn.SpectralNorm bounds a DenseCell",
    "register_weight_func": "pass the function itself: fp_correction(..., weight_func=function)",
    "backward_factory": "a gradient is a value: translate(ift=...).gradient",
    "make_pair": "a gradient is a value: translate(ift=...).gradient",
    "mixed_init": "torch.randn(shape) * torch.empty(shape).bernoulli_(0.5)",
    **dict.fromkeys(
        ("mem_gc", "DEQGradCkpt", "filter_input", "filter_out", "reset_grad"), _CHECKPOINT
    ),
}
"""What to use in the place of each."""


def found_by(module: str) -> Callable[[str], Any]:
    """Return what a module asks for a name that it does not define: its `__getattr__`.

    torchdeq has many names in several modules; each module here has those of the package. A name
    that is left out is an ImportError, since `from module import name` would put a sentence of its
    own in the place of that of an AttributeError.
    """

    def find(name: str) -> Any:  # noqa: ANN401
        if name in LEFT_OUT:
            raise ImportError(f"deqlab has no {name} of torchdeq: {LEFT_OUT[name]}")
        package = sys.modules[__package__]
        if module != __package__ and name in vars(package).get("__all__", ()):
            return getattr(package, name)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return find
