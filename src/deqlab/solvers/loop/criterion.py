"""What a row is held to: the criterion of convergence, block by block.

A row has converged at z when, in every block of its columns,

    |f(z) - z| <= atol + rtol min(max(|f(z)|, eps s), 10 s),    s = max(|z0|, |f(z0)|).

The scale s of a block is fixed at the start: relative to |f(z)| alone, a map that runs off to
infinity (z + 1, say) would converge. With eps of the dtype of the state, what is below the rounding
of where a block started is read as zero, so that an iteration towards zero ends. No number here is
absolute unless the caller sets atol: the units of a block change nothing.

A block at rest, zero at z0 and at f(z0), moves when others feed it. Its s is then its first |f(z)|
that is not zero, and the largest |f(z) - z| that it has shown takes the place of s in 10 s, for it
may start from far less than it comes to. Until it moves, only f(z) = z is within its tolerance.

Beyond 10 s a residual counts as no less than the rounding of f(z): at 1e16, z + 1 is z. Only if
f(z) = z to the bit, and steps far above that rounding led there, does the row stand still.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from deqlab.linalg.norms import block_norms, sure_above

Array: TypeAlias = NDArray[Any]

SCALE_CAP = 10.0
"""How far |f(z)| may outgrow the start and still loosen the tolerance."""

SLACK = 1e-5
"""By more than this share the residual of a row held still has changed because of other rows; by
less because a sum was taken in another precision."""

STANDING = 16.0
"""How far above the rounding of f(z) a step must have been for f(z) = z to be believed."""

ROUNDING = 4.0
"""Times eps |f(z)| below which a residual may be rounding, of a few operations."""

LEAST_UNIT, TINY = 2.0**-1022, 1e-290
"""What to divide by in place of 0; what a sum of squares in float64 loses no digit above."""

SAFE = {torch.float64: (1e-130, 1e130)}
"""Norms at the start from which no method loses a square on its way to the end."""

SAFE_ELSE = (1e-6, 1e15)
"""The same in float32; half precision is worked on in float32."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a row is held to; see `Solver` for their meaning."""

    rtol: float
    atol: float
    min_steps: int
    max_steps: int
    patience: int
    takes_back: bool = False  # whether bad iterates are trials, and say nothing


class Look(NamedTuple):
    """One iterate of every row, measured; (B,) each."""

    residual: Array  # |f(z) - z|
    tolerance: Array
    measure: Array  # what iterates are ranked by: residuals in units of each block's scale
    within: Array  # whether every block is within its tolerance
    sure: Array  # whether sums in the precision of the state told all that
    allowed: Array = np.zeros(0)  # the tolerance in units of the measure


class Criterion:
    """The scale of each block of each row, (B, K), and what follows from it.

    Args:
        z: The start.
        fz: Its image.
        sizes: |f(z0)| in each block, (B, K).
        rules: The settings of the solver.
        blocks: Columns of each block.
    """

    def __init__(
        self,
        z: Float[Tensor, "B D"],
        fz: Float[Tensor, "B D"],
        sizes: Array,
        rules: Rules,
        blocks: Sequence[int],
    ) -> None:
        self.rtol, self.atol, self.blocks = rules.rtol, rules.atol, blocks
        self.eps = torch.finfo(z.dtype).eps
        self.least_sure = sure_above(z.dtype)
        if not ((sizes > self.least_sure) & (sizes < np.inf)).all():
            sizes = block_norms(fz, blocks)
        self.sizes = sizes  # |f(z)| at the last iterate
        self.start = np.maximum(block_norms(z, blocks), sizes)
        self.reach = self.start  # the largest |f(z) - z| beyond the cap, or the start
        self.late: Array | None = None  # blocks that started at rest, if there are any
        self.doubt: Array | float = self.least_sure  # residuals up to it are looked at closely
        self.limit: Array | None = None  # tolerances of rows that were reopened
        if not self.start.all():
            self.late = self.start == 0
            self.doubt = np.where(self.late, np.inf, self.least_sure)
        self._rescale()

    def look(self, residuals: Array, sizes: Array) -> Look:
        """Measure an iterate by |f(z) - z| and |f(z)| in each block, (B, K) each."""
        self.sizes = sizes
        tolerances = np.maximum(self.rtol * np.minimum(sizes, self.cap), self.floor)
        if self.atol:
            tolerances += self.atol
        if self.limit is not None:
            tolerances = np.minimum(tolerances, self.limit)
        sure: Array = np.logical_and(sizes <= self.cap, residuals > self.doubt)
        within: Array = np.less_equal(residuals, tolerances)
        if residuals.shape[1] == 1:
            residual, tolerance = residuals.ravel(), tolerances.ravel()
            return Look(residual, tolerance, residual, within.ravel(), sure.ravel(), tolerance)
        every = np.logical_and.reduce
        return Look(
            norm_of(residuals),
            norm_of(tolerances),
            norm_of(residuals / self.unit),
            every(within, axis=1),
            every(sure, axis=1),
            norm_of(tolerances / self.unit),
        )

    def look_closely(
        self, z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"]
    ) -> tuple[Look, Array | None]:
        """Measure where sums overflow or vanish, and where z is far out or a block was at rest.

        Returns:
            The look, and which rows have blocks that moved for the first time; None for no row.
        """
        residuals = block_norms(fz.detach() - z.detach(), self.blocks)
        sizes = block_norms(fz, self.blocks)
        beyond = sizes > self.cap if self.late is None else (sizes > self.cap) | self.late
        genuine = (residuals > self.eps**0.5 * sizes) & (residuals < np.inf)
        self.reach = np.where(beyond & genuine, np.maximum(self.reach, residuals), self.reach)
        moved = self._wake(sizes)
        rounding = np.where(sizes > self.cap, self.eps / 2 * sizes, 0.0)
        stands = (residuals == 0) & (STANDING * rounding <= self.reach)
        counted = np.where(stands, residuals, np.maximum(residuals, rounding))
        exact = norm_of(residuals) if residuals.shape[1] > 1 else residuals.ravel()
        return self.look(counted, sizes)._replace(residual=exact), moved

    def distance(self, z: Float[Tensor, "B D"], best: Float[Tensor, "B D"]) -> Array:
        """Return how far z is from `best`, in units of the measure."""
        return self._measure(block_norms(z.detach() - best.detach(), self.blocks))

    def rounding(self) -> Array:
        """Return what the measure of the last iterate may be by rounding alone."""
        return ROUNDING * self.eps * self._measure(self.sizes)

    def hold_to(self, rows: Array, tolerances: Array) -> None:
        """Hold these rows to such a tolerance in each block, (B, K), as well."""
        if self.limit is None:
            self.limit = np.full_like(self.start, np.inf)
        self.limit[rows] = tolerances[rows]

    def limited(self, allowed: Array) -> Array:
        """Return what is allowed, in units of the measure, now that some rows were reopened."""
        if self.limit is None:
            return allowed
        return np.fmin(allowed, self._measure(self.limit))

    def weights(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B D"] | None:
        """Return one over the scale of each block, for each number of the state.

        None for one block that needs no weights. One whose squares would leave the range of its
        dtype gets a power of two, which changes no digit.
        """
        low, high = SAFE.get(z.dtype, SAFE_ELSE)
        if len(self.blocks) == 1 and ((self.start > low) & (self.start < high)).all():
            return None
        scale = np.where(self.start > 0, self.start, 1.0)
        if len(self.blocks) == 1:
            unsafe = (scale < low) | (scale > high)
            if not unsafe.any():
                return None
            scale = np.where(unsafe, 2.0 ** np.round(np.log2(scale)), 1.0)
        each = torch.from_numpy(1 / np.maximum(scale, 4 * torch.finfo(z.dtype).tiny)).to(z)
        return each.repeat_interleave(torch.tensor(self.blocks, device=z.device), dim=1)

    def resting(self, count: int) -> Array | None:
        """Return which rows have blocks without a scale; None if that is known of no row.

        A block that has not moved after as many iterates as there are blocks may never do so.
        """
        if self.late is None or count > len(self.blocks):
            return None
        rows: Array = (self.start == 0).any(axis=1)
        return rows

    def keep_only(self, rows: Array) -> None:
        """Forget all rows but these."""
        for name, known in vars(self).items():
            if isinstance(known, np.ndarray):
                setattr(self, name, known[rows])

    def _measure(self, parts: Array) -> Array:
        return parts.ravel() if parts.shape[1] == 1 else norm_of(parts / self.unit)

    def _wake(self, sizes: Array) -> Array | None:
        """Give a scale to blocks at rest that have moved; return the rows where there are some."""
        if self.late is None:
            return None
        woken = (self.start == 0) & (sizes > 0) & (sizes < np.inf)
        self.start = np.where(woken, sizes, self.start)
        self.reach = np.maximum(self.reach, self.start)
        self._rescale()
        return woken.any(axis=1) if woken.any() else None

    def _rescale(self) -> None:
        """Take from the scales what follows from them."""
        scale = self.start if self.late is None else np.where(self.late, self.reach, self.start)
        self.cap = SCALE_CAP * scale
        self.floor = self.rtol * self.eps * self.start
        self.unit = np.maximum(self.start, LEAST_UNIT) if len(self.blocks) > 1 else self.start


def has_changed(residual: Array, before: Array) -> Array:
    """Return which rows have another residual than they had at the same point before."""
    with np.errstate(invalid="ignore"):  # inf - inf
        changed: Array = ~(abs(residual - before) <= SLACK * before)
    return changed


def norm_of(parts: Array) -> Array:
    """Return the norm of each row, also where squares overflow or vanish."""
    squares = np.vecdot(parts, parts)
    if squares.min(initial=1.0) > TINY and squares.max(initial=1.0) < np.inf:
        return np.asarray(np.sqrt(squares))
    largest = parts.max(axis=1, initial=0.0)
    unit = np.where((largest > 0) & (largest < np.inf), largest, 1.0)
    parts = parts / unit[:, None]
    norms: Array = np.sqrt(np.vecdot(parts, parts)) * unit
    return norms
