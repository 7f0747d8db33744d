"""Networks at given points: their outputs, and the derivatives of these by the weights.

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

from deqlab.expressivity.search.network import Architecture, Network


def evaluate(network: Network, x: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Return the output of a network at each point, or nan where it has no equilibrium.

    Example:
        >>> from deqlab.expressivity.search import Architecture, identity
        >>> network = identity(Architecture((1,), dense=True))
        >>> evaluate(network, torch.tensor([0.25, 2.0], dtype=torch.float64)).tolist()
        [0.25, 2.0]
    """
    return Evaluation(network.architecture, x).output(network.weights)


@dataclass(frozen=True)
class Evaluation:
    """Networks of one architecture at fixed points, as functions of their weights.

    Attributes:
        architecture: Which weights there are.
        x: The points, of the dtype of the weights.
    """

    architecture: Architecture
    x: Float[Tensor, " N"]

    def output(self, weights: Float[Tensor, " P"]) -> Float[Tensor, " N"]:
        """Return y at each point."""
        a = self.architecture.matrix(weights)
        return a[-1] @ self._signals(a)

    def jacobian(
        self, weights: Float[Tensor, " P"]
    ) -> tuple[Float[Tensor, " N"], Float[Tensor, "P N"]]:
        """Return y at each point, and its derivative by each weight."""
        a = self.architecture.matrix(weights)
        s = self._signals(a)
        slopes = self._slopes(a, s)
        rows, columns = self.architecture.entries
        return a[-1] @ s, slopes[rows] * s[columns]

    def _signals(self, a: Float[Tensor, "rows columns"]) -> Float[Tensor, "columns N"]:
        """Return s, by forward substitution."""
        n = self.architecture.num_neurons
        s = self.x.new_zeros(n + 2, len(self.x))
        s[n], s[n + 1] = self.x, 1.0
        for start, end in self.architecture.bounds:
            s[start:end] = torch.relu(a[start:end] @ s)  # rows of later neurons are still 0
            if self.architecture.loops:
                s[start:end] *= _amplification(a)[start:end]
        return s

    def _slopes(
        self, a: Float[Tensor, "rows columns"], s: Float[Tensor, "columns N"]
    ) -> Float[Tensor, "rows N"]:
        """Return l, by backward substitution."""
        slopes = torch.zeros_like(s[:-1])
        slopes[-1] = 1.0
        for start, end in reversed(self.architecture.bounds):
            slopes[start:end] = (a[:, start:end].mT @ slopes) * (s[start:end] > 0)
            if self.architecture.loops:
                slopes[start:end] *= _amplification(a)[start:end]
        return slopes


def _amplification(a: Float[Tensor, "rows columns"]) -> Float[Tensor, "n 1"]:
    """Return 1 / (1 - A_ii) for each neuron, or nan where it has no equilibrium."""
    below = 1 - a[:-1].diagonal()
    return torch.where(below > 0, 1 / below, torch.nan)[:, None]
