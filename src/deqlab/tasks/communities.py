"""A made graph of communities: nodes of a class are mostly linked to their like.

Each node draws `degree` neighbours, of its own class with probability `likeness`; its features are
binary words, of which those of its class are four times as frequent. Neither the graph nor the
features of a node alone say its class for certain. A stochastic block model (Holland, Laskey &
Leinhardt 1983) with equal degrees on one side.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from deqlab.arguments import check_count


def sample(
    num_nodes: int = 200,
    *,
    num_classes: int = 4,
    num_words: int = 60,
    degree: int = 3,
    likeness: float = 0.8,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "N n"], Int64[Tensor, " N"], Int64[Tensor, "2 E"]]:
    """Draw features, classes and edges, each edge in both directions.

    Args:
        num_nodes: N, at least 2 a class.
        num_classes: Classes, of equal size to one node.
        num_words: n; a class has num_words // num_classes of its own.
        degree: Neighbours that each node draws.
        likeness: The probability that a neighbour is of the same class, from 0 to 1.
        generator: The source of randomness.

    Raises:
        TypeError: A number is not whole.
        ValueError: A number is out of its domain.

    Example:
        >>> x, y, edges = sample(40, generator=torch.Generator().manual_seed(0))
        >>> x.shape, y.bincount().tolist(), edges.shape
        (torch.Size([40, 60]), [10, 10, 10, 10], torch.Size([2, 240]))
    """
    for name, value in (("num_classes", num_classes), ("degree", degree)):
        check_count(name, value)
    check_count("num_nodes", num_nodes)
    if num_nodes < 2 * num_classes or num_words < num_classes:
        raise ValueError(
            f"num_nodes must be at least {2 * num_classes} and num_words {num_classes} for "
            f"{num_classes} classes, got {num_nodes} and {num_words}"
        )
    if not 0 <= likeness <= 1:
        raise ValueError(f"likeness must be from 0 to 1, got {likeness}")
    y = torch.arange(num_nodes) % num_classes
    own = torch.arange(num_words) % num_classes == y[:, None]
    chance = torch.where(own, 0.2, 0.05)
    x = torch.bernoulli(chance, generator=generator)
    target = torch.arange(num_nodes).repeat_interleave(degree)
    alike = torch.rand(len(target), generator=generator) < likeness
    other = torch.randint(num_classes, target.shape, generator=generator)
    wanted = torch.where(alike, y[target], other)
    # The nodes of class c are c, c + num_classes, ...; the least class has the fewest.
    place = torch.randint(num_nodes // num_classes, target.shape, generator=generator)
    source = wanted + num_classes * place
    edges = torch.stack([torch.cat([source, target]), torch.cat([target, source])])
    return x, y, edges
