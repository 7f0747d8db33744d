"""Modules that stood elsewhere before: who imports one of them is told where it is now."""

import sys
from collections.abc import Iterable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "deqlab.arnoldi": "deqlab.linalg.arnoldi",
    "deqlab.arrays": "deqlab.linalg.arrays",
    "deqlab.compiled.judge": "deqlab.solvers.loop.verdicts",
    "deqlab.flat_map": "deqlab.maps.flat_map",
    "deqlab.gradients.missing": "deqlab.gradients.missing_derivatives",
    "deqlab.gradients.way_back": "deqlab.gradients.reverse_pass",
    "deqlab.hessenberg": "deqlab.linalg.least_squares",
    "deqlab.krylov": "deqlab.linalg.gmres",
    "deqlab.nn.constraints": "deqlab.nn.cells.constraints",
    "deqlab.nn.explicit": "deqlab.nn.models.mlp",
    "deqlab.nn.monotone": "deqlab.nn.cells.monotone",
    "deqlab.nn.multiscale": "deqlab.nn.cells.multiscale, and deqlab.nn.models.multiscale",
    "deqlab.nn.resnet": "deqlab.nn.models.resnet",
    "deqlab.operators": "deqlab.linalg.products",
    "deqlab.rates": "deqlab.linalg.rates",
    "deqlab.solvers.backtrack": "deqlab.solvers.line_search",
    "deqlab.solvers.chain": "deqlab.solvers.broyden_updates",
    "deqlab.solvers.criterion": "deqlab.solvers.loop.criterion",
    "deqlab.solvers.error_control": "deqlab.solvers.loop.error_control",
    "deqlab.solvers.ledger": "deqlab.solvers.loop.compaction",
    "deqlab.solvers.map": "deqlab.solvers.loop.evaluation",
    "deqlab.solvers.monitor": "deqlab.solvers.loop.convergence",
    "deqlab.solvers.window": "deqlab.solvers.anderson_window",
    "deqlab.tasks.cifar10": "deqlab.tasks.files.sets.cifar10",
    "deqlab.tasks.download": "deqlab.tasks.files.download",
    "deqlab.tasks.errors": "deqlab.tasks.files.errors",
    "deqlab.tasks.idx": "deqlab.tasks.files.idx",
    "deqlab.tasks.images": "deqlab.tasks.files.images",
    "deqlab.tasks.originals": "deqlab.tasks.files.originals",
    "deqlab.tasks.sources": "deqlab.tasks.files.registry",
    "deqlab.tasks.status": "deqlab.tasks.files.status",
    "deqlab.tasks.store": "deqlab.tasks.files.store",
}


class MovedModules(MetaPathFinder):
    """The last finder that Python asks: a module that no other one has found."""

    def find_spec(
        self, fullname: str, path: Iterable[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return None: there is no such module.

        Raises:
            ModuleNotFoundError: It has moved, and its message says where to.
        """
        if fullname in MOVED:
            raise ModuleNotFoundError(
                f"{fullname} is now {MOVED[fullname]}; its public names are in the packages that "
                "CONTRIBUTING.md lists",
                name=fullname,
            )
        return None


def tell_of_moves() -> None:
    """Let imports of modules that have moved say where to; done once."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(MovedModules())
