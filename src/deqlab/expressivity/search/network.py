"""Which weights a network of one input has: one matrix for DEQs and feed-forward networks.

All neurons, the input and the constant are stacked into s = (z, x, 1), and one matrix A has a row
for each neuron and a last one for the output:

    z_i = relu(A_i s),    y = A_(n+1) s,    A_ij = 0 for neurons j >= i

A is strictly lower triangular in its neurons, so z is the one equilibrium of z = relu(W z + U x +
b), and substitution finds it. Neurons come in levels that do not read one another. A dense network
is a DEQ: each neuron reads x and every neuron before its level, and so does the output. The other
is a feed-forward network (FNN): each neuron reads the level before its own, and the output the last
one. So the FNN of L levels is the DEQ of as many neurons with most of its weights left out.

The neurons of a DEQ may have loops, A_ii, that are below 1. With q_i what a neuron reads from all
others, there still is one equilibrium: a loop divides its neuron by what it is short of 1,

    z_i = relu(A_ii z_i + q_i) = relu(q_i) / (1 - A_ii).

So it changes no function that the network may have, only how large its weights must be.

The cost of a Levenberg-Marquardt step on N points is counted, not measured: with P parameters and M
multiply-adds of one evaluation, the Jacobian J takes 4 passes of 2 M each, J J' takes 2 P^2 and a
Cholesky factorisation P^3 / 3:

    FLOPs = N (2 P^2 + 8 M) + P^3 / 3
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Wiring:
    """The weights that a network may have.

    Attributes:
        levels: Neurons of each level, in order; none for y = A (x, 1).
        dense: Whether it is a DEQ.
        loops: Whether each neuron reads itself; of a DEQ only.
        skip: Whether the output of a DEQ reads x.
    """

    levels: tuple[int, ...]
    dense: bool
    loops: bool = False
    skip: bool = True

    def __post_init__(self) -> None:
        if self.loops and not self.dense:
            raise ValueError("a feed-forward network has no loops: they need dense=True")

    @property
    def num_neurons(self) -> int:
        """Neurons of all levels."""
        return sum(self.levels)

    @property
    def bounds(self) -> tuple[tuple[int, int], ...]:
        """First neuron of each level, and that of the next one."""
        return tuple(pairwise(accumulate(self.levels, initial=0)))

    @cached_property
    def mask(self) -> Bool[Tensor, "rows columns"]:
        """Where A has weights."""
        n = self.num_neurons
        mask = torch.zeros(n + 1, n + 2, dtype=torch.bool)
        mask[:, n + 1] = True
        if self.dense or not self.levels:
            mask[:, n] = True
        first = 0
        for start, end in (*self.bounds, (n, n + 1)):
            mask[start:end, 0 if self.dense else first : start] = True
            first = start
        if self.levels:
            mask[: self.levels[0], n] = True
        if self.loops:
            mask[range(n), range(n)] = True
        if self.levels and not self.skip:
            mask[n, n] = False
        return mask

    @cached_property
    def entries(self) -> tuple[Int[Tensor, " P"], Int[Tensor, " P"]]:
        """Row and column of each weight."""
        rows, columns = self.mask.nonzero(as_tuple=True)
        return rows, columns

    @property
    def num_parameters(self) -> int:
        """P, weights and biases."""
        return int(self.mask.sum())

    @property
    def multiply_adds(self) -> int:
        """M, of one evaluation: a bias costs none, a loop one."""
        return int(self.mask[:, :-1].sum())

    @cached_property
    def is_loop(self) -> Bool[Tensor, " P"]:
        """Which weights are loops."""
        rows, columns = self.entries
        return (rows == columns) & (rows < self.num_neurons)

    def step_flops(self, num_points: int) -> float:
        """Return the FLOPs of one Levenberg-Marquardt step on so many points."""
        p, m = self.num_parameters, self.multiply_adds
        return num_points * (2 * p**2 + 8 * m) + p**3 / 3

    def matrix(self, weights: Float[Tensor, " P"]) -> Float[Tensor, "rows columns"]:
        """Return A from its weights."""
        a = weights.new_zeros(self.num_neurons + 1, self.num_neurons + 2)
        a[self.entries] = weights
        return a


@dataclass(frozen=True)
class Network:
    """A network: its wiring, and A, which is 0 where the wiring has no weight."""

    wiring: Wiring
    matrix: Float[Tensor, "rows columns"]

    @property
    def weights(self) -> Float[Tensor, " P"]:
        """The entries of A that are weights, row by row."""
        return self.matrix[self.wiring.entries]

    def having(self, weights: Float[Tensor, " P"]) -> "Network":
        """Return the network with other weights."""
        return Network(self.wiring, self.wiring.matrix(weights))


def identity(*, dense: bool, loops: bool = False, skip: bool = True) -> Network:
    """Return the network without neurons whose output is x; what grows from it is a `Wiring`."""
    return Network(Wiring((), dense, loops, skip), torch.tensor([[1.0, 0.0]], dtype=torch.float64))
