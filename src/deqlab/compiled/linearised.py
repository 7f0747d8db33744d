"""The derivative of f at one point, as graphs.

An adjoint loop takes many products with one Jacobian. The derivative of f is traced once, as one
graph of z, v and the tensors that f reaches; whatever in it does not depend on v is computed before
the loop, and handed to it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx
from torch._higher_order_ops.utils import materialize_as_graph


@dataclass(frozen=True)
class Linearised:
    """The derivative of f at z, in three graphs.

    Attributes:
        point: (z, *reached) -> everything below that does not depend on v, the tensors for
            `product` first.
        product: (v, *the first of these) -> J'v; None if f does not depend on z.
        leave: (v, *all of these) -> J'v, unless there is no product, and v' df / d reached for
            each of `depends`.
        kept: How many of the results of `point` a product takes.
        depends: Which of the reached tensors the gradient reaches.
    """

    point: fx.GraphModule
    product: fx.GraphModule | None
    leave: fx.GraphModule
    kept: int
    depends: tuple[bool, ...]


def linearised(
    f: Callable[..., Tensor],
    z: Float[Tensor, "B D"],
    reached: Sequence[Any],
    differentiable: Sequence[bool],
) -> Linearised:
    """Trace the derivative of f(z, *reached).

    Args:
        f: The map.
        z: Its argument; only shape, dtype and device are looked at.
        reached: What else it is given: tensors, and numbers that stand for sizes.
        differentiable: Which of these shall have a gradient.
    """

    def derivative(z: Tensor, v: Tensor, *reached: Any) -> list[Tensor | None]:  # noqa: ANN401
        leaf = z.detach().requires_grad_()
        leaves = [
            each.detach().requires_grad_() if needed else each
            for each, needed in zip(reached, differentiable, strict=True)
        ]
        out = f(leaf, *leaves)
        sources = [
            leaf,
            *(each for each, is_one in zip(leaves, differentiable, strict=True) if is_one),
        ]
        return list(torch.autograd.grad(out, sources, v, allow_unused=True))

    example = torch.empty_like(z)
    joint: Any = materialize_as_graph(derivative, (z, example, *reached), force_enable_grad=True)
    first, v, *others = joint.graph.find_nodes(op="placeholder")
    (results,) = joint.graph.output_node().args
    image, *gradients = results
    moving = _depending(joint.graph, v)
    found = iter(gradients)
    depends = tuple(is_one and next(found) is not None for is_one in differentiable)
    for_product = _met(moving, [image])
    for_rest = [node for node in _met(moving, gradients) if node not in for_product]
    kept = [*for_product, *for_rest]
    leaving = [node for node in results if node is not None]
    return Linearised(
        point=_part(joint, [first, *others], kept),
        product=None if image is None else _part(joint, [v, *for_product], [image]),
        leave=_part(joint, [v, *kept], leaving),
        kept=len(for_product),
        depends=depends,
    )


def _depending(graph: fx.Graph, source: fx.Node) -> set[fx.Node]:
    """Return all nodes that depend on one."""
    found = {source}
    for node in graph.nodes:
        if not found.isdisjoint(node.all_input_nodes):
            found.add(node)
    return found


def _met(moving: set[fx.Node], results: Iterable[fx.Node | None]) -> list[fx.Node]:
    """Return the nodes outside of `moving` that the way to some results meets first."""
    met: dict[fx.Node, None] = {}
    seen, stack = set(), [node for node in results if node is not None]
    while stack:
        node = stack.pop()
        if node in seen or node.op == "get_attr":
            continue
        seen.add(node)
        if node in moving:
            stack.extend(node.all_input_nodes)
        else:
            met[node] = None
    return list(met)


def _part(
    whole: fx.GraphModule, inputs: Sequence[fx.Node], outputs: Sequence[fx.Node]
) -> fx.GraphModule:
    """Return the part of a graph that leads from some nodes to others."""
    graph = fx.Graph()
    copies = {node: graph.placeholder(node.name) for node in inputs}
    needed, stack = set(), list(outputs)
    while stack:
        node = stack.pop()
        if node not in copies and node not in needed:
            needed.add(node)
            stack.extend(node.all_input_nodes)
    for node in whole.graph.nodes:
        if node in needed:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(tuple(copies[node] for node in outputs))
    return fx.GraphModule(whole, graph)
