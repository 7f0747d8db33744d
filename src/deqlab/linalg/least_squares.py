"""The least-squares problems that are left of linear systems on their Krylov spaces.

Where A V_k = V_{k+1} H with orthonormal V, the residual of x = V y in (I - A) x = beta v_1 is
that of a problem of k unknowns, with M = [I; 0] - H of shape (k+1, k):

    min |beta e_1 - M y|

The unit vector q with q'M = 0 tells all of it: beta e_1 = M y + gamma q, so that the residual is
|gamma| = beta |q_0|. A new column of M changes q by one rotation: it is all that is needed of the
orthogonal factor of M. So the residual is known after each column at the price of one inner
product, and y is found once, from the square system [M q].

Source: Saad & Schultz (1986), "GMRES: a generalized minimal residual algorithm for solving
nonsymmetric linear systems", SIAM J. Sci. Stat. Comput. 7(3), who keep all rotations.
"""

import numpy as np
import torch

from deqlab.linalg.arrays import solve_rows

SINGULAR = 10.0
"""In units of eps: a column of M that lies this close to the span of the others adds nothing."""

ROOM = 6
"""Columns that room is made for at a time."""

SHARE = 3.0
"""The error is taken to be |M+| |gamma| / SHARE at least: only a part of the residual lies where
M does not shrink. With 3 no solve on the workloads of `benchmarks` takes a product more; without
the rule errors were up to 166 times what was asked (see the test of matrices far from normal)."""


class LeastSquares:
    """One problem per row; (B,) each, float64.

    A row is open until its residual is within the tolerance, or a column brings it nothing. A
    closed row takes no further columns, and its residual stands still.

    Where the error of x is what counts, a row that is about to close is held to what its Krylov
    space has shown of I - A: a part of the residual that is too small to see in the rate is large
    in x, if I - A is nearly singular there. |x - x*| is at most |(I - A)^-1| |gamma|, of which
    |M+| |gamma| is the part that is known.

    Args:
        beta: |r|, what the residual starts from.
        tolerance: What the residual may be.
        open_rows: The rows to solve.
        eps: The rounding of the precision that the columns are computed in.
        accuracy: What the error of x may be, relative to |x|; None if only the residual counts.
        size: |x| of the start.

    Attributes:
        tolerance: What the residual may be, which `add` makes smaller if the error demands it.
        residual: The least |beta e_1 - M y| so far.
        closed: The rows that are closed.
        failed: The rows that a column with inf or nan has closed.
        count: The number of columns.
        scale: A lower bound of 1 + |A|, from the first column.
    """

    def __init__(
        self,
        beta: np.ndarray,
        tolerance: np.ndarray,
        open_rows: np.ndarray,
        eps: float,
        *,
        accuracy: np.ndarray | None = None,
        size: np.ndarray | float = 0.0,
    ) -> None:
        self.beta, self.tolerance, self.eps = beta, tolerance, eps
        self.accuracy, self.size = accuracy, np.broadcast_to(size, beta.shape)
        self.residual = beta
        self.closed = ~open_rows
        self.any_closed = bool(self.closed.any())
        self.failed = np.zeros(len(beta), dtype=bool)
        self.used = np.zeros(len(beta), dtype=int)  # columns of closed rows
        self.count = 0
        self.q = np.ones((ROOM, len(beta)))
        self.matrix = np.zeros((len(beta), ROOM, ROOM))  # M, and room for more columns

    def add(self, overlaps: np.ndarray, rest: np.ndarray) -> None:
        """Take in one column of H: V'w, and the norm of what is left of w."""
        k = self.count
        self.count += 1
        if k + 2 > len(self.q):
            self._make_room()
        np.negative(overlaps.T, out=self.matrix[:, : k + 1, k])
        self.matrix[:, k, k] += 1
        np.negative(rest, out=self.matrix[:, k + 1, k])
        if k == 0:
            self.scale = 1 + np.hypot(overlaps[0], rest)
            self.noise = SINGULAR * self.eps * self.scale
        q = self.q[: k + 1]
        diagonal = q[k] - np.einsum("kb,kb->b", q, overlaps)
        radius = np.hypot(diagonal, rest)
        sine, cosine = rest / radius, diagonal / radius
        residual = self.residual * sine
        goes_on = (residual > self.tolerance) & (radius > self.noise)  # false for nan
        sound = None
        if np.count_nonzero(goes_on) < len(goes_on) or self.any_closed:
            sound = (radius > self.noise) & (radius < np.inf) & ~self.closed
            sine, cosine = np.where(sound, sine, 1.0), np.where(sound, cosine, 0.0)
            residual = self.residual * sine
            self.used = np.where(self.closed, self.used, k + sound)
            self.failed |= ~self.closed & ~np.isfinite(radius)
        q *= sine
        self.q[k + 1] = cosine
        self.residual = residual
        if sound is not None:
            self._close(sound)

    def _close(self, sound: np.ndarray) -> None:
        """Close the rows that have met their tolerance, or whose last column is not sound."""
        met = sound & (self.residual <= self.tolerance)
        if self.accuracy is not None and met.any():
            rows = np.flatnonzero(met)
            inverse = torch.linalg.inv_ex(torch.from_numpy(self._systems(rows))).inverse.numpy()
            pseudo_inverse = inverse[:, :-1]
            y = self.beta[rows, None] * pseudo_inverse[:, :, 0]
            size = self.size[rows] + np.sqrt(np.vecdot(y, y))
            allowed = SHARE * self.accuracy[rows] * size
            allowed /= np.sqrt(np.square(pseudo_inverse).sum(axis=(1, 2)))
            self.tolerance[rows] = np.fmin(self.tolerance[rows], allowed)
            met = sound & (self.residual <= self.tolerance)
        self.closed = self.closed | ~sound | met
        self.any_closed = bool(self.closed.any())

    def solve(self) -> np.ndarray:
        """Return y, one row each; zero beyond the columns that a row uses."""
        k = self.count
        # beta e_1 = M y + gamma q
        matrix = self._systems(np.arange(len(self.beta)))
        if self.any_closed:  # columns that a row does not use become those of a shift
            idle = np.arange(k) >= np.where(self.closed, self.used, k)[:, None]
            shift = np.eye(k + 1, k, -1)
            matrix[:, :, :k] = np.where(idle[:, None], shift, matrix[:, :, :k])
        right = np.zeros((len(self.beta), k + 1))
        right[:, 0] = self.beta
        y: np.ndarray = solve_rows(matrix, right)[:, :k]
        return y

    def _systems(self, rows: np.ndarray) -> np.ndarray:
        """Return the square matrices [M q], which are singular only if columns are dependent."""
        k = self.count
        matrix = self.matrix[rows, : k + 1, : k + 1]  # a copy
        matrix[:, :, k] = self.q[: k + 1, rows].T
        return matrix

    def _make_room(self) -> None:
        """Let q and M have more columns."""
        more = self.count // 4 + ROOM
        self.q = np.pad(self.q, ((0, more), (0, 0)), constant_values=1.0)
        self.matrix = np.pad(self.matrix, ((0, 0), (0, more), (0, more)))
