"""Newton's method with Krylov spaces: no Jacobian is ever formed.

Write g(z) = f(z) - z and J = df/dz. The step solves, to a share eta of |g| in each row,

    |g(z) - (I - J) d| <= eta |g(z)|,    z+ = z + t d

by GMRES on products J v (see `gmres`); `line_search` finds t. How exact a direction is worth having
follows from how well the last one did (Eisenstat & Walker 1996, "Choosing the forcing terms in an
inexact Newton method", SIAM J. Sci. Comput. 17(1), choice 2 with gamma = 0.9 and alpha = 2):

    eta_k = 0.9 (|g_k| / |g_{k-1}|)^2,

but not much below the one before, no more than `forcing`, and never so small that the step would
end far below the tolerance of the solve (Kelley 1995, "Iterative Methods for Linear and Nonlinear
Equations", SIAM). Convergence is then as fast as the forcing terms allow: quadratic in the end.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from deqlab.linalg.arrays import (
    Array,
    choose_rows,
    filled,
    is_finite,
    known_none,
    larger,
    rows_of,
    smaller,
    where,
    zeros_like,
)
from deqlab.linalg.gmres import gmres
from deqlab.linalg.norms import weighted_norms
from deqlab.linalg.products import Product
from deqlab.linalg.tangents import jvp
from deqlab.solvers.base import Solver
from deqlab.solvers.line_search import LineSearch
from deqlab.solvers.loop.criterion import Look
from deqlab.solvers.loop.evaluation import CountedMap, Iterate

GAMMA, ALPHA = 0.9, 2.0
"""The constants of Eisenstat & Walker."""

NEEDED = 0.5
"""The share of the tolerance that a linear solve is held to: so small a linear residual leaves the
rest to the nonlinear one."""

USELESS = 0.99
"""A direction whose linear residual is more than this share of |g| is none."""


@dataclass
class Search:
    """The line that each row is on, and how exact its direction is."""

    line: LineSearch
    eta: Float[Array, " B"]


@dataclass(frozen=True, kw_only=True)
class NewtonKrylov(Solver[Search]):
    """Newton's method by GMRES, for states of any size.

    A step costs one more evaluation of f, with a tape, and some products with J. Memory: that
    tape, and at most restart + 8 states. A row that finds no direction takes a Picard step.

    Attributes:
        forcing: The share of |g| that the linear residual may have at most, in (0, 1).
        max_products: Products with J in one step at most, 1 or more.
        restart: Products in one cycle of GMRES, 1 or more.
    """

    forcing: float = 0.9
    max_products: int = 60
    restart: int = 30

    unrollable: ClassVar[bool] = False
    takes_back: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.forcing < 1:
            raise ValueError(f"forcing must be in (0, 1), got {self.forcing}")
        for name in ("max_products", "restart"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @override
    def init(self, z: Float[Tensor, "B D"]) -> Search:
        return Search(LineSearch.start(z), filled(self.forcing, rows_of(z)))

    @override
    def step(
        self, f: CountedMap, iterate: Iterate, memory: Search
    ) -> tuple[Float[Tensor, "B D"], Search]:
        z, fz, resting = iterate.z, iterate.fz, iterate.resting
        line, g = memory.line, fz - z
        size = weighted_norms(g, iterate.weights)
        trial = line.judge(size)
        d, eta, seek = g, memory.eta, trial.good & iterate.running
        if resting is not None:  # no norm speaks for a block without a scale: a Picard step
            seek = seek & ~resting
        if not known_none(seek):
            eta = where(seek, self._forcing(size, memory, _tolerance(size, iterate.look)), eta)
            d = self._direction(f, iterate, g, eta * size, seek)
        z_next, line = line.follow(trial, z, fz, d, line.shorter(size))
        if resting is not None:  # the units of |g| change when such a block moves
            line = replace(line, size=where(resting, float("inf"), line.size))
        return z_next, Search(line, eta)

    def _forcing(self, size: Array, memory: Search, tolerance: Array) -> Float[Array, " B"]:
        """Return eta for the next direction of each row."""
        with np.errstate(all="ignore"):
            eta = GAMMA * (size / memory.line.size) ** ALPHA
            kept = GAMMA * memory.eta**ALPHA
            eta = where(kept > 0.1, larger(eta, kept), eta)
            eta = where(is_finite(memory.line.size), eta, self.forcing)  # the first
            needed = NEEDED * tolerance / size
        return smaller(larger(eta, smaller(needed, self.forcing)), self.forcing)

    def _direction(
        self,
        f: CountedMap,
        iterate: Iterate,
        g: Float[Tensor, "B D"],
        tolerance: Float[Array, " B"],
        rows: Bool[Array, " B"],
    ) -> Float[Tensor, "B D"]:
        """Return (I - J)^-1 g to the tolerance, or g in rows that come nowhere near."""
        _, product = jvp(f.recordable(), iterate.z)
        weights = iterate.weights
        result = gmres(
            product if weights is None else _weighted(product, weights),
            g if weights is None else g * weights,
            tolerance=tolerance,
            max_products=self.max_products,
            restart=self.restart,
            running=rows,
            also=iterate.running,
        )
        if iterate.tell is not None and result.told is not None:
            iterate.tell(result.told)
        f.counts.products += result.products
        useful = result.residual <= USELESS * result.size
        d = result.x if weights is None else result.x / weights
        return choose_rows(useful, d, g)


def _tolerance(size: Array, look: Look | None) -> Array:
    """Return what |g| may be, in the units of `size`; 0 where nobody has judged z."""
    if look is None:
        return zeros_like(size)
    with np.errstate(all="ignore"):
        return size * look.allowed / look.measure


def _weighted(product: Product, weights: Tensor) -> Product:
    """Return the same map where every block has the scale 1."""
    return lambda v: product(v / weights) * weights
