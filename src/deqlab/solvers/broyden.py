"""Broyden's good method, with a limited memory.

Write g = f(z) - z. H estimates the inverse of its Jacobian J - I, and starts at -beta I. The step
and the update, which makes H dg = dz hold for the last pair of differences, are

    s = -H g,    H <- H + (s - H dg) s'H / s'H dg.

Source: Broyden (1965), "A class of methods for solving nonlinear simultaneous equations", Math.
Comp. 19. As every step is a full one, s - H dg = w with w = -H g_new, and with it the next step is
known before H is: s_new = w / (1 - s'w / s's). So H is a product that the steps alone determine,

    H = -beta (I + s_k s_{k-1}' / |s_{k-1}|^2) ... (I + s_1 s_0' / |s_0|^2),

and an update costs one state and two passes over it (see `broyden_updates`). Source: Kelley (1995),
"Iterative Methods for Linear and Nonlinear Equations". On an affine map in D dimensions the method
ends in at most 2D steps: Gay (1979), "Some convergence properties of Broyden's method", SIAM J.
Numer. Anal. 16.

A row restarts on its own, with H = -beta I and beta = min(damping, |dz| / |dg|):

- at full memory, from where it is;
- if its residual exceeds `growth` times the least one since the last restart, from its last good
  point;
- if the first pair has |dg| > 2 |dz| / beta, from where it is: beta was too long. A map that
  contracts never does that, as |dg| <= (1 + |J|) |dz|.

The next point is accepted as it comes, which keeps maps that do not contract moving.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from deqlab.linalg.arrays import (
    Array,
    choose,
    filled,
    known_none,
    more,
    scaled,
    smaller,
    where_known,
)
from deqlab.linalg.norms import row_norms
from deqlab.solvers.base import Solver
from deqlab.solvers.broyden_on_device import UpdatesOnDevice
from deqlab.solvers.broyden_updates import Updates
from deqlab.solvers.loop.evaluation import CountedMap, Iterate
from deqlab.solvers.picard import check_damping


@dataclass
class Secants:
    """What the next step may use; g and the steps are in units of the weights."""

    updates: Updates | UpdatesOnDevice
    z: Array = None  # (B, D), the last accepted point
    g: Array = None  # (B, D), its residual
    least: Array = None  # (B,), |g| since the last restart
    beta: Array = None  # (B,)
    weights: Array = None  # (B, D), if the state has several blocks


@dataclass(frozen=True, kw_only=True)
class Broyden(Solver[Secants]):
    """Broyden's method with `memory` updates at most.

    Memory: memory + 7 states while it steps. Work per step beyond f: 2 memory inner products per
    row. What a finished solve knows of the inverse Jacobian, `inverse` and `inverse_transposed`
    apply. `Unrolled` can differentiate the steps, but their derivative converges later than the
    value.

    Attributes:
        memory: Updates of H between two restarts, at least 1. A restart forgets all of them: to
            drop the oldest alone would break the secant equations of the others. With 1 or 2, a
            row may cycle where Picard converges.
        damping: The first beta, and the largest, in (0, 1].
        growth: A residual this many times the least one since the last restart restarts the row.
    """

    memory: int = 10
    damping: float = 1.0
    growth: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_damping(self.damping)
        if self.memory < 1:
            raise ValueError(f"memory must be at least 1, got {self.memory}; use Picard for 0")
        if not self.growth > 1:
            raise ValueError(f"growth must be more than 1, got {self.growth}")

    @override
    def init(self, z: Float[Tensor, "B D"]) -> Secants:
        kind = Updates if z.is_cpu else UpdatesOnDevice
        return Secants(kind.for_states(z, self.memory + 1))

    @override
    def step(
        self, f: CountedMap, iterate: Iterate, memory: Secants
    ) -> tuple[Float[Tensor, "B D"], Secants]:
        z, array, weights = iterate.z, memory.updates.array, iterate.weights
        weights = memory.weights = None if weights is None else array(weights)
        with np.errstate(all="ignore"):  # what is not finite is judged by the loop
            point, g = array(z), array(iterate.fz) - array(z)
            g = g if weights is None else g * weights
            point, step = self._move(point, g, memory, iterate.running)
            step = step if weights is None else step / weights
            z_next = point + step if step is memory.g else more(point, step)
        z_next = torch.from_numpy(z_next) if isinstance(z_next, np.ndarray) else z_next
        return z_next.to(z.dtype), memory

    def _move(self, z: Array, g: Array, memory: Secants, running: Array) -> tuple[Array, Array]:
        """Return where each row steps from, and its step."""
        updates, residual = memory.updates, row_norms(g)
        if memory.z is None:
            restarts = filled(True, running)
            memory.least = residual
            memory.beta = choose(updates.mask(restarts), self.damping, residual)
            step = scaled(memory.beta, g)
        else:
            rejected, restarts, beta = self._restarts(g, residual, memory, running)
            memory.least, going = smaller(memory.least, residual), running & ~restarts
            if known_none(rejected):
                memory.z = memory.g = None  # not to be held beside the new ones
            step = g if known_none(going) else updates.extend(g, memory.beta, going)
            if not known_none(rejected):
                back = updates.mask(rejected)
                z, g = choose(back, memory.z, z), choose(back, memory.g, g)
            if not known_none(restarts):
                new = updates.mask(restarts)
                memory.beta = choose(new, beta, memory.beta)
                memory.least = choose(new, float("inf"), memory.least)
                first = scaled(memory.beta, g)
                step = first if known_none(~restarts) else choose(new, first, step)
        if not known_none(restarts):
            updates.start(restarts, step)
        memory.z, memory.g = z, g
        return z, step

    def _restarts(
        self, g: Array, residual: Array, memory: Secants, running: Array
    ) -> tuple[Array, Array, Array]:
        """Return which rows leave their point, which restart, and with what beta."""
        updates = memory.updates
        rejected = where_known(residual > self.growth * memory.least, running) & running
        restarts, first = rejected | (updates.full() & running), (updates.count == 1) & running
        if known_none(restarts | first):
            return rejected, restarts, memory.beta
        beta = updates.last_size() / row_norms(g - memory.g)
        too_long = where_known(beta < memory.beta / 2, running) & first
        return rejected, restarts | too_long, choose(~(beta < self.damping), self.damping, beta)

    def inverse(self, memory: Secants, v: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Return H v, row by row: what a finished solve knows of (J - I)^-1 v.

        Args:
            memory: The memory of a solve that no row left, as `run(f, z)` returns it.
            v: One vector a row.

        Raises:
            ValueError: Rows have left the solve.
        """
        return self._apply(memory, v, transposed=False)

    def inverse_transposed(self, memory: Secants, v: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Return H' v, row by row; arguments and errors as in `inverse`."""
        return self._apply(memory, v, transposed=True)

    def _apply(self, memory: Secants, v: Tensor, *, transposed: bool) -> Tensor:
        updates, weights = memory.updates, memory.weights
        if len(updates.count) != len(v):
            raise ValueError(
                f"v has {len(v)} rows and the memory {len(updates.count)}: rows that left the "
                "solve took their memory along; solve with rows_independent=False"
            )
        if memory.beta is None:  # the solve ended at its start: H is as it began
            return -self.damping * v.detach()
        vector = updates.array(v.detach())
        with np.errstate(all="ignore"):  # rows that failed may remember anything
            if weights is not None:  # H is in units of the weights D: D^-1 H D, and its transpose
                vector = vector / weights if transposed else vector * weights
            result = scaled(-memory.beta, updates.apply(vector, transposed=transposed))
            if weights is not None:
                result = result * weights if transposed else result / weights
        result = torch.from_numpy(result) if isinstance(result, np.ndarray) else result
        return result.to(v.dtype)
