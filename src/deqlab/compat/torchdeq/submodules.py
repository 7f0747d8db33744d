"""The modules inside of torchdeq, so that `from torchdeq.utils.arg_utils import ...` has its place.

They have no files here: each is made when the package is imported, and finds its names there, or
says what to use.
"""

import sys
from types import ModuleType

from deqlab.compat.torchdeq.left_out import found_by

NAMES: dict[str, tuple[str, ...]] = {
    "grad": (),
    "loss.correction": ("fp_correction",),
    "loss.jacobian": ("jac_reg", "power_method"),
    "norm.base_norm": ("apply_norm", "remove_norm", "reset_norm"),
    "norm.spectral_norm": (),
    "norm.weight_norm": (),
    "solver": (),
    "solver.anderson": (),
    "solver.broyden": (),
    "solver.fp_iter": (),
    "solver.stat": ("SolverStat",),
    "solver.utils": ("SolverStat",),
    "utils": ("add_deq_args",),
    "utils.arg_utils": ("add_deq_args",),
    "utils.config": (),
    "utils.init": (),
    "utils.layer_utils": (),
    "utils.mem": (),
}
"""Modules of torchdeq that no file here stands for, parents first, and what `import *` takes."""


def make_submodules() -> None:
    """Make them, inside of the package that has their names."""
    for place, names in NAMES.items():
        full = f"{__package__}.{place}"
        made = ModuleType(full, f"The place of torchdeq.{place}; see {__package__}.")
        made.__package__ = full.rpartition(".")[0]
        made.__all__ = list(names)  # type: ignore[attr-defined]
        made.__getattr__ = found_by(full)  # type: ignore[method-assign]
        sys.modules[full] = made
        parent, _, last = full.rpartition(".")
        setattr(sys.modules[parent], last, made)
