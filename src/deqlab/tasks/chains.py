"""Chains: a class that only the first node of each knows, and that all others are asked for.

    v_1 -> v_2 -> ... -> v_l        x(v_1) = the unit vector of the class,    x(v_j) = 0 for j > 1

A network must carry one number over l - 1 hops, forwards along the edges, and nothing else is to be
learned. Source: Gu et al. (2020), "Implicit graph neural networks", section 5.1, with 2 classes, 20
chains a class and 100 features; 5 classes are of Liu et al. (2021), "EIGNN", section 4.1.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from deqlab.arguments import check_count


@dataclass(frozen=True, kw_only=True, eq=False)
class Chains:
    """Chains of one length, node by node along each.

    Attributes:
        x: Features.
        y: Classes.
        edges: Sources and targets.
        hops: How far a node is from the first of its chain.
        train: 5 % of the nodes, drawn at random.
        validation: 10 %.
        test: The rest.
    """

    x: Float[Tensor, "N n"]
    y: Int64[Tensor, " N"]
    edges: Int64[Tensor, "2 E"]
    hops: Int64[Tensor, " N"]
    train: Bool[Tensor, " N"]
    validation: Bool[Tensor, " N"]
    test: Bool[Tensor, " N"]


def sample(
    length: int,
    *,
    num_classes: int = 2,
    chains: int = 20,
    num_features: int = 100,
    generator: torch.Generator,
) -> Chains:
    """Return chains of one length; only the parts to train, validate and test on are drawn.

    Args:
        length: Nodes of a chain, at least 2.
        num_classes: Classes, at least 2.
        chains: Chains of each class.
        num_features: n, at least `num_classes`.
        generator: Draws the parts.

    Raises:
        TypeError: A number is not whole.
        ValueError: A number is too small, or there are too few nodes for three parts.

    Example:
        >>> found = sample(10, generator=torch.Generator().manual_seed(0))
        >>> found.x.shape, found.x.sum().item(), found.edges.shape, found.train.sum().item()
        (torch.Size([400, 100]), 40.0, torch.Size([2, 360]), 20)
    """
    for name, value in (("length", length), ("num_classes", num_classes), ("chains", chains)):
        check_count(name, value)
    check_count("num_features", num_features)
    count = num_classes * chains * length
    if length < 2 or num_classes < 2 or num_features < num_classes or count < 20:
        raise ValueError(
            "chains need 2 nodes, 2 classes, a feature for each class and 20 nodes in all, got "
            f"length {length}, num_classes {num_classes}, num_features {num_features} and {count}"
        )
    nodes = torch.arange(count).view(-1, length)
    y = torch.arange(num_classes).repeat_interleave(chains)[:, None].expand(-1, length).flatten()
    x = torch.zeros(count, num_features)
    x[nodes[:, 0], y[nodes[:, 0]]] = 1
    rank = torch.randperm(count, generator=generator)
    return Chains(
        x=x,
        y=y,
        edges=torch.stack([nodes[:, :-1].flatten(), nodes[:, 1:].flatten()]),
        hops=torch.arange(length).repeat(num_classes * chains),
        train=rank < count // 20,
        validation=(rank >= count // 20) & (rank < 3 * count // 20),
        test=rank >= 3 * count // 20,
    )
