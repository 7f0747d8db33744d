"""Explicit feed-forward networks, the other side of every comparison."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import nn

from deqlab.arguments import check_sequence


def mlp(sizes: Sequence[int], *, activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Return a fully connected network with `len(sizes) - 2` hidden layers.

    Args:
        sizes: Inputs, width of each hidden layer, outputs; all at least 1, two or more.
        activation: Makes the module between two linear layers.

    Raises:
        TypeError: `sizes` is no sequence of whole numbers.
        ValueError: Fewer than two sizes, or one below 1.

    Example:
        >>> mlp([64, 32, 10])
        Sequential(
          (0): Linear(in_features=64, out_features=32, bias=True)
          (1): ReLU()
          (2): Linear(in_features=32, out_features=10, bias=True)
        )
    """
    check_sequence("sizes", sizes)
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"sizes needs two or more numbers of at least 1, got {list(sizes)}")
    layers: list[nn.Module] = []
    for num_inputs, num_outputs in pairwise(sizes):
        layers += [nn.Linear(num_inputs, num_outputs), activation()]
    return nn.Sequential(*layers[:-1])
