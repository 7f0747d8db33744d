"""Linear complementarity problems as fixed points: z = relu(W z + q), with gold by other routes.

With M = I - W, z is a fixed point exactly if z >= 0, M z >= q and z'(M z - q) = 0. There is one for
every q exactly if M is a P-matrix: if all its principal minors are positive (Samelson, Thrall &
Wesler 1958).
"""

import itertools

import numpy as np
import torch

from tests.problems import F64


def triangular(dim, rng):
    """M lower triangular with a diagonal above 0, and entries below it up to 1000 times larger."""
    m = np.tril(rng.normal(size=(dim, dim)) * 10 ** rng.uniform(0, 2), -1)
    return m + np.diag(rng.uniform(0.05, 4.0, dim))


def positive(dim, rng):
    """M + M' > 0, mostly skew, of norm 10: no iteration z -> f(z) contracts."""
    a, k = rng.normal(size=(2, dim, dim))
    m = rng.uniform() * a @ a.T / dim + 1e-3 * np.eye(dim) + 5 * (k - k.T)
    return 10 * m / np.linalg.norm(m, 2)


def dominant(dim, rng):
    """The diagonal of M exceeds the rest of its row."""
    m = rng.normal(size=(dim, dim))
    np.fill_diagonal(m, 0)
    return m + np.diag(np.abs(m).sum(axis=1) * rng.uniform(1.01, 1.5, dim) + 0.1)


FAMILIES = {"triangular": triangular, "positive": positive, "dominant": dominant}


class Complementarity:
    """One problem a row, started from 0."""

    def __init__(self, family, dim, batch, seed):
        rng = np.random.default_rng(seed)
        drawn = (FAMILIES[family](dim, rng) for _ in itertools.count())
        # Beyond 1e8 a dense solve leaves more than the tests allow.
        sound = (m for m in drawn if np.linalg.cond(m) < 1e8)
        self.m = np.stack(list(itertools.islice(sound, batch)))
        self.q = rng.normal(size=(batch, dim))
        self.w = torch.from_numpy(np.eye(dim) - self.m)
        self.x = torch.from_numpy(self.q)

    def __call__(self, z):
        return torch.relu(torch.einsum("bij,bj->bi", self.w.to(z), z) + self.x.to(z))

    @property
    def z0(self):
        return torch.zeros_like(self.x)

    def defect(self, z):
        """|f(z) - z|, relative to the larger of |z| and |q|."""
        size = torch.maximum(z.norm(dim=1), self.x.norm(dim=1))
        return (self(z.double()) - z).norm(dim=1) / size

    def by_enumeration(self):
        """The one active set of the 2^D whose basic solution is feasible, row by row."""
        return torch.tensor(
            np.stack([_enumerate(m, q) for m, q in zip(self.m, self.q, strict=True)]), dtype=F64
        )

    def by_substitution(self):
        """Forward substitution, for M lower triangular: z_i = max(0, (q_i - rest) / M_ii)."""
        z = np.zeros_like(self.q)
        for i in range(self.q.shape[1]):
            rest = np.einsum("bj,bj->b", self.m[:, i, :i], z[:, :i])
            z[:, i] = np.maximum(0, (self.q[:, i] - rest) / self.m[:, i, i])
        return torch.from_numpy(z)


def _enumerate(m, q):
    worst, best = np.inf, None
    for active in itertools.product([False, True], repeat=len(q)):
        s, z = np.array(active), np.zeros(len(q))
        if s.any():
            z[s] = np.linalg.solve(m[np.ix_(s, s)], q[s])
        violation = max(0.0, (-z).max(), (q - m @ z).max())
        if violation < worst:
            worst, best = violation, z
    assert worst <= 1e-9 * (1 + np.abs(best).max())
    return best
