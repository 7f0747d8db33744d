"""What feed-forward ReLU networks (FNNs) of one input and one output cannot do.

Regions. Inside a piece of what enters a layer each unit of the layer has one kink at most, so that
n units make n + 1 pieces of it: at most (n + 1)^L of L layers. A layer of one unit is constant on
one side of its kink, where later layers add nothing: it adds a single piece. Source: Serra,
Tjandraatmadja & Ramalingam (2018), "Bounding and Counting Linear Regions of Deep Neural Networks",
Theorem 1, with one input; (n + 1)^L is also what follows from Telgarsky (2015, arXiv:1509.08101).

Weights. In infinity norm a layer changes distances by |W_l|_inf at most, and ReLU by 1. A network
within eps of a function that rises by r over a distance of w rises itself by r - 2 eps there, and

    max_l |W_l|_inf >= ((r - 2 eps) / w)^(1 / (L + 1))

for its L + 1 matrices, at any width. Derived; that bounded depth needs exponentially large weights
is published: Wu et al. (2024), "Separation and Bias of Deep Equilibrium Models on Expressivity and
Learning Dynamics".
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from deqlab.nn.cells.dense import DenseCell
from deqlab.nn.cells.monotone import MonotoneCell


def largest_pieces(widths: Sequence[int]) -> int:
    """Return the most linear regions that an FNN with these hidden layers can have.

    Args:
        widths: Units of each hidden layer, from input to output, all at least 1; none for no
            hidden layer.

    Raises:
        ValueError: A width is below 1.

    Example:
        >>> largest_pieces([4, 4]), largest_pieces([1, 1, 1])
        (25, 4)
    """
    if any(width < 1 for width in widths):
        raise ValueError(f"widths must be at least 1, got {list(widths)}")
    pieces = 1
    for width in reversed(widths):
        pieces = pieces + 1 if width == 1 else (width + 1) * pieces
    return pieces


def smallest_width(depth: int, pieces: int) -> int:
    """Return the least width with which an FNN of `depth` hidden layers can have so many regions.

    Args:
        depth: Hidden layers, at least 1.
        pieces: Linear regions, at least 1.

    Raises:
        ValueError: A number is below 1.

    Example:
        >>> smallest_width(depth=2, pieces=2**10)
        31
    """
    _check_count("depth", depth)
    _check_count("pieces", pieces)
    high = 1
    while largest_pieces([high] * depth) < pieces:
        high *= 2
    low = high // 2  # too few, or 0
    while high - low > 1:
        middle = (low + high) // 2
        enough = largest_pieces([middle] * depth) >= pieces
        low, high = (low, middle) if enough else (middle, high)
    return high


def smallest_depth(width: int, pieces: int) -> int:
    """Return the fewest hidden layers of `width` with which an FNN can have so many regions.

    Args:
        width: Units of each hidden layer, at least 1.
        pieces: Linear regions, at least 1.

    Raises:
        ValueError: A number is below 1.

    Example:
        >>> smallest_depth(width=10, pieces=2**10)
        3
    """
    _check_count("width", width)
    _check_count("pieces", pieces)
    if width == 1:
        return pieces - 1
    depth = 0
    while (width + 1) ** depth < pieces:
        depth += 1
    return depth


def smallest_infinity_norm(*, run: float, depth: int, error: float, rise: float = 1.0) -> float:
    """Return what the largest |W_l|_inf of an FNN must be to fit a steep function.

    Args:
        run: w, over which the function rises, above 0: delta for `steep.Ramp(delta)`.
        depth: L, hidden layers, 0 or more.
        error: eps, the largest error of the network, 0 or more. From rise / 2 on a constant does,
            and the answer is 0.
        rise: r, by how much the function rises, above 0.

    Raises:
        ValueError: A number is out of its domain.

    Example:
        >>> smallest_infinity_norm(run=2.0**-10, depth=1, error=0.0)
        32.0
    """
    if not (run > 0 and rise > 0 and error >= 0 and depth >= 0):
        raise ValueError(
            "run and rise must be above 0, error and depth 0 or more, got "
            f"run={run}, rise={rise}, error={error}, depth={depth}"
        )
    slope: float = max(0.0, rise - 2 * error) / run
    return float(slope ** (1 / (depth + 1)))


@torch.no_grad()
def largest_infinity_norm(module: nn.Module) -> float:
    """Return the largest infinity norm, a row sum of |entries|, of all weight matrices in `module`.

    Biases are left out, as the bound holds without them. A DEQ's matrix counts as the constrained
    W that its cell uses.

    Raises:
        ValueError: `module` has no matrix, or a parameter of more than two dimensions.

    Example:
        >>> from deqlab.expressivity.constructions import steep_ramp
        >>> largest_infinity_norm(steep_ramp(2.0**-20))
        2.0
    """
    norms = [matrix.abs().sum(dim=1).amax().item() for matrix in _matrices(module)]
    if not norms:
        raise ValueError(f"{type(module).__name__} has no weight matrix")
    return max(norms)


def _matrices(module: nn.Module) -> Iterator[Tensor]:
    for part in module.modules():
        if isinstance(part, DenseCell | MonotoneCell):
            yield part.weight
            continue
        for name, parameter in part.named_parameters(recurse=False):
            if parameter.ndim > 2:
                raise ValueError(
                    f"{type(part).__name__}.{name} has shape {tuple(parameter.shape)}: infinity "
                    "norms are of matrices"
                )
            if parameter.ndim == 2:
                yield parameter


def _check_count(name: str, count: int) -> None:
    if count < 1:
        raise ValueError(f"{name} must be at least 1, got {count}")
