"""Networks of one input and one output: one matrix for DEQs and feed-forward networks.

All neurons, the input and the constant are stacked into s = (z, x, 1), and one matrix A has a row
for each neuron and a last one for the output:

    z_i = relu(A_i s),    y = A_(n+1) s,    A_ij = 0 for neurons j >= i

A is strictly lower triangular in its neurons, so z is the one equilibrium of z = relu(W z + U x +
b), and forward substitution finds it. Neurons come in levels that do not read one another. A dense
network is a DEQ: each neuron reads x and every neuron before its level, and so does the output. The
other kind is a feed-forward network (FNN): each neuron reads the level before its own, and the
output reads the last level. So the FNN of L levels is the DEQ of as many neurons with most of its
weights left out.

The neurons of a DEQ may have loops, A_ii, that are below 1. With q_i what a neuron reads from all
others, there is still one equilibrium, in which the neuron is divided by 1 - A_ii:

    z_i = relu(A_ii z_i + q_i) = relu(q_i) / (1 - A_ii).

So loops change no function that the network can have, only how large its weights must be.

The cost of a Levenberg-Marquardt step on N points is counted, not measured: with P parameters and M
multiply-adds of one evaluation, the Jacobian J takes 4 passes of 2 M each, J J' takes 2 P^2 and a
Cholesky factorisation P^3 / 3:

    FLOPs = N (2 P^2 + 8 M) + P^3 / 3
"""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

CLOSE = 0.25
"""Two costs that differ by at most a quarter count as equal."""


@dataclass(frozen=True)
class Architecture:
    """Which weights a network has.

    Attributes:
        levels: The number of neurons of each level, each at least 1; empty for y = A (x, 1).
        dense: Whether the network is a DEQ; else it is feed-forward.
        loops: Whether each neuron reads itself, which is for DEQs only.
        skip: Whether the output of a DEQ reads x.

    Raises:
        ValueError: A level has no neuron, or a feed-forward network has loops.
    """

    levels: tuple[int, ...]
    dense: bool
    loops: bool = False
    skip: bool = True

    def __post_init__(self) -> None:
        if min(self.levels, default=1) < 1:
            raise ValueError(f"each level needs at least 1 neuron, got levels={self.levels}")
        if self.loops and not self.dense:
            raise ValueError("a feed-forward network has no loops: they need dense=True")

    @property
    def num_neurons(self) -> int:
        """The number of neurons of all levels."""
        return sum(self.levels)

    @property
    def bounds(self) -> tuple[tuple[int, int], ...]:
        """For each level the index of its first neuron, and that of the first one after it."""
        return tuple(pairwise(accumulate(self.levels, initial=0)))

    @cached_property
    def mask(self) -> Bool[Tensor, "rows columns"]:
        """Where A has weights, with n + 1 rows and n + 2 columns."""
        n = self.num_neurons
        mask = torch.zeros(n + 1, n + 2, dtype=torch.bool)
        mask[:, n + 1] = True  # biases
        if self.dense or not self.levels:
            mask[:, n] = True  # x
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
        """The row and the column of each weight, row by row."""
        rows, columns = self.mask.nonzero(as_tuple=True)
        return rows, columns

    @property
    def num_parameters(self) -> int:
        """P, the number of weights and biases."""
        return int(self.mask.sum())

    @property
    def multiply_adds(self) -> int:
        """M, the multiply-adds of one evaluation: a bias costs none, a loop one."""
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
    """A network: its architecture, and A, which is 0 where the architecture has no weight.

    Example:
        >>> tent = Architecture((2,), dense=False)  # 2 relu(x) - 4 relu(x - 1/2)
        >>> Network(tent, tent.matrix(torch.tensor([1, 0, 1, -0.5, 2, -4, 0]))).matrix
        tensor([[ 0.0000,  0.0000,  1.0000,  0.0000],
                [ 0.0000,  0.0000,  1.0000, -0.5000],
                [ 2.0000, -4.0000,  0.0000,  0.0000]])
    """

    architecture: Architecture
    matrix: Float[Tensor, "rows columns"]

    @property
    def weights(self) -> Float[Tensor, " P"]:
        """The entries of A that are weights, row by row."""
        return self.matrix[self.architecture.entries]

    def with_weights(self, weights: Float[Tensor, " P"]) -> "Network":
        """Return the network of the same architecture with other weights."""
        return Network(self.architecture, self.architecture.matrix(weights))


def identity(architecture: Architecture) -> Network:
    """Return the network without neurons whose output is x, in float64.

    Growth level by level from it leads to networks that are dense, and have loops and a skip, as
    `architecture` says. The levels of `architecture` do not matter.
    """
    return Network(replace(architecture, levels=()), torch.tensor([[1.0, 0.0]]).double())


def matching_width(depth: int, flops: float, num_points: int) -> int:
    """Return the width at which a Levenberg-Marquardt step of an FNN costs a given budget.

    This is the width of closest cost, if that is within a quarter of the budget; else it is the
    largest width whose cost is below the budget.

    Args:
        depth: The number of hidden layers, at least 1.
        flops: The budget: FLOPs of a step.
        num_points: The number of training points.

    Raises:
        ValueError: Even with one neuron a layer the FNN costs more.

    Example:
        >>> deq = Architecture((1,) * 10, dense=True)
        >>> [matching_width(depth, deq.step_flops(1000), 1000) for depth in (1, 2, 3)]
        [25, 7, 5]
    """

    def cost(width: int) -> float:
        return Architecture((width,) * depth, dense=False).step_flops(num_points)

    width = 1
    while cost(width + 1) <= flops:
        width += 1
    if cost(width) > (1 + CLOSE) * flops:
        raise ValueError(
            f"an FNN of {depth} hidden layers costs {cost(1):.3g} FLOPs a step at width 1, and the "
            f"budget is {flops:.3g}; take fewer layers"
        )
    over = cost(width + 1)
    closer = over - flops < flops - cost(width)
    return width + 1 if closer and over <= (1 + CLOSE) * flops else width
