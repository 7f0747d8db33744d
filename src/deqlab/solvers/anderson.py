"""Anderson acceleration (type II).

Write g = f(z) - z, and let dF and dG hold the last m differences of f(z) and of g. The step
solves a small least-squares problem per row and moves along its solution:

    c       = argmin |g_k - dG c|^2 + ridge |dG D^-1 c|^2          (see `anderson_window`)
    z_{k+1} = f(z_k) - dF c - (1 - beta) (g_k - dG c)

Source: Walker & Ni (2011), "Anderson acceleration for fixed-point iterations", SIAM J. Numer.
Anal. 49(4), eq. (2.2), with dZ = dF - dG; on an affine map in exact arithmetic it spans the same
space as GMRES (their Thm 2.2). In a state of several blocks, g is measured in units of each
block's own scale, so that a large block does not drown a small one.

The safeguard, per row: a point whose residual exceeds `growth` times the least one since the
last restart is left; the row restarts with an empty window from a Picard step at its last good
point. The next point is then accepted as it comes, which keeps maps that do not contract moving.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from deqlab.linalg.arrays import Array, choose, known_none, smaller
from deqlab.linalg.norms import row_norms
from deqlab.solvers.anderson_window import Window
from deqlab.solvers.base import Solver
from deqlab.solvers.loop.evaluation import CountedMap, Iterate
from deqlab.solvers.picard import check_damping
from deqlab.solvers.rounded_window import RoundedWindow

WINDOW_DTYPES = (torch.bfloat16, torch.float32)
"""In what differences can be kept: dtypes with the range of float32. float16 has 11 bits of a
number, and too few orders between a column's largest and least."""


@dataclass
class Recent:
    """What the next step may use."""

    window: Window | None = None
    least: Array | None = None  # (B,), |g| since the last restart


@dataclass(frozen=True, kw_only=True)
class Anderson(Solver[Recent]):
    """Anderson acceleration with a window of `memory` differences.

    Memory: 2 memory states beside z, f(z) and the next z; with a `window_dtype` of half the bits,
    memory + 2. Work per step beyond f: 2 memory inner products per row.

    Attributes:
        memory: m, at least 1; no more than D differences are ever kept.
        damping: beta, in (0, 1]; below 1 helps where f has eigenvalues far below 0.
        ridge: Tikhonov weight relative to the normalised columns of dG.
        growth: A residual this many times the least one since the last restart restarts the row.
        window_dtype: In what the differences are kept: torch.bfloat16 for float32 states, or
            torch.float32 for float64 ones, halves the window (see `rounded_window`). It may take
            more iterations; the verdicts on them are as exact as ever. None, and a dtype of as many
            bits as the state, is the precision of the state, and so is `Unrolled`, whose tape holds
            every difference anyway.
    """

    memory: int = 5
    damping: float = 1.0
    ridge: float = 1e-10
    growth: float = 10.0
    window_dtype: torch.dtype | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_damping(self.damping)
        if self.memory < 1:
            raise ValueError(f"memory must be at least 1, got {self.memory}; use Picard for 0")
        if not self.ridge >= 0:
            raise ValueError(f"ridge must be 0 or more, got {self.ridge}")
        if not self.growth > 1:
            raise ValueError(f"growth must be more than 1, got {self.growth}")
        if self.window_dtype not in (None, *WINDOW_DTYPES):
            raise ValueError(
                "window_dtype must be torch.bfloat16, torch.float32 or None, got "
                f"{self.window_dtype}"
            )

    @override
    def init(self, z: Float[Tensor, "B D"]) -> Recent:
        return Recent()

    @override
    def step(
        self, f: CountedMap, iterate: Iterate, memory: Recent
    ) -> tuple[Float[Tensor, "B D"], Recent]:
        z, weights = iterate.z, iterate.weights
        if memory.window is None:
            columns = max(1, min(self.memory, z.shape[1]))
            memory.window = self._window(z, columns, taped=f.taped)
        array = memory.window.array
        states = array(iterate.fz), array(z), None if weights is None else array(weights)
        memory.window.weigh(states[2])
        with np.errstate(all="ignore"):  # what is not finite is judged by the loop
            z_next = self._by_parts(memory, memory.window, *states)
        z_next = torch.from_numpy(z_next) if isinstance(z_next, np.ndarray) else z_next
        return z_next.to(z.dtype), memory

    def _window(self, z: Float[Tensor, "B D"], columns: int, *, taped: bool) -> Window:
        dtype, working = self.window_dtype, torch.promote_types(z.dtype, torch.float32)
        if dtype is None or taped or dtype.itemsize >= working.itemsize:
            return Window.for_states(z, columns, taped=taped)
        return RoundedWindow.of_dtype(dtype, z, columns)

    def _by_parts(
        self, memory: Recent, window: Window, fz: Array, z: Array, weights: Array | None
    ) -> Array:
        """Return the next iterate, a few rows at a time where their window fits a cache."""
        parts = window.parts()
        if len(parts) == 1:
            return self._next(fz, z, weights, memory, window)
        z_next, least, part = np.empty_like(fz), np.empty(len(fz)), window
        for rows in parts:
            part = window.part(rows)
            some = Recent(part, None if memory.least is None else memory.least[rows])
            part_weights = None if weights is None else weights[rows]
            z_next[rows] = self._next(fz[rows], z[rows], part_weights, some, part)
            least[rows] = some.least
        memory.least, window.used, window.open = least, part.used, part.open
        return z_next

    def _next(
        self, fz: Array, z: Array, weights: Array | None, memory: Recent, window: Window
    ) -> Array:
        """Return the next iterate; g is kept in units of the weights."""
        g = fz - z if weights is None else (fz - z) * weights
        residual = row_norms(g)
        if memory.least is None:
            memory.least = residual
            window.hold(fz, g)
            return self._damped(fz, g, weights)

        rejected = residual > self.growth * memory.least
        memory.least = smaller(memory.least, residual)
        good = None if known_none(rejected) else window.held()
        window.close(fz, g)
        coefficients = window.coefficients(g, self.ridge)
        rest = g if self.damping == 1 else window.less_dg(g, coefficients)
        z_next = self._damped(window.less_df(fz, coefficients), rest, weights)
        if good is not None:
            z_next = choose(rejected, self._damped(*good, weights), z_next)
            fz, g = choose(rejected, good[0], fz), choose(rejected, good[1], g)
            memory.least = choose(rejected, float("inf"), memory.least)
            window.forget(rejected)
        window.hold(fz, g)
        return z_next

    def _damped(self, fz: Array, g: Array, weights: Array | None) -> Array:
        if self.damping == 1:
            return fz
        return fz - (1 - self.damping) * (g if weights is None else g / weights)
