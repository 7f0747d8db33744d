"""Networks of `wiring` at given points: values, and derivatives by the weights.

Level by level, s = (z, x, 1) is filled in. With l_i = dy/d(A_i s), the derivative of the output by
the input of row i, that of the output by a weight is an outer product:

    l_(n+1) = 1,    l_i = 1[z_i > 0] / (1 - A_ii) sum_(r > i) A_ri l_r,    dy/dA_ij = l_i s_j

where A_ii is 0 without loops. A loop of 1 or more has no equilibrium at every input: the output is
nan, whatever the input.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.expressivity.search.network import Wiring


@dataclass(frozen=True)
class Substitution:
    """Networks of one wiring on fixed points, as functions of their weights."""

    wiring: Wiring
    x: Float[Tensor, " N"]

    def output(self, weights: Float[Tensor, " P"]) -> Float[Tensor, " N"]:
        """Return y at each point."""
        a = self.wiring.matrix(weights)
        return a[-1] @ self._signals(a)

    def jacobian(
        self, weights: Float[Tensor, " P"]
    ) -> tuple[Float[Tensor, " N"], Float[Tensor, "P N"]]:
        """Return y, and dy by each weight."""
        a = self.wiring.matrix(weights)
        s = self._signals(a)
        slopes = self._slopes(a, s)
        rows, columns = self.wiring.entries
        return a[-1] @ s, slopes[rows] * s[columns]

    def _signals(self, a: Float[Tensor, "rows columns"]) -> Float[Tensor, "columns N"]:
        n = self.wiring.num_neurons
        s = self.x.new_zeros(n + 2, len(self.x))
        s[n], s[n + 1] = self.x, 1.0
        for start, end in self.wiring.bounds:
            s[start:end] = torch.relu(a[start:end] @ s)
            if self.wiring.loops:
                s[start:end] *= _amplification(a)[start:end]
        return s

    def _slopes(
        self, a: Float[Tensor, "rows columns"], s: Float[Tensor, "columns N"]
    ) -> Float[Tensor, "rows N"]:
        slopes = torch.zeros_like(s[:-1])
        slopes[-1] = 1.0
        for start, end in reversed(self.wiring.bounds):
            slopes[start:end] = (a[:, start:end].mT @ slopes) * (s[start:end] > 0)
            if self.wiring.loops:
                slopes[start:end] *= _amplification(a)[start:end]
        return slopes


def _amplification(a: Float[Tensor, "rows columns"]) -> Float[Tensor, "n 1"]:
    """Return 1 / (1 - A_ii) for each neuron, or nan where there is none."""
    below = 1 - a[:-1].diagonal()
    return torch.where(below > 0, 1 / below, torch.nan)[:, None]
