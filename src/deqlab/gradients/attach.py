"""The node that stands on the tape in place of a whole solve; see `node` for what it computes.

The node's inputs are all tensors that f depends on: the tensors in its arguments, and those that
its tape reaches by itself (see `captured`). So it is safe under data-parallel hooks, several
forwards before one backward, and second derivatives: when the backward pass is itself recorded,
the adjoint equation is attached as the fixed-point problem that it is, on the same tape, and
derivatives of any order follow.

The tape is saved as torch saves tensors: it is freed with the graph, once backward has passed.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deqlab.gradients.captured import Gradients, pull
from deqlab.gradients.cotangents import one_by_one
from deqlab.gradients.missing_derivatives import (
    check_twice_differentiable,
    missing_derivatives_are_named,
)
from deqlab.gradients.node import AdjointMethod, Backward, Node
from deqlab.gradients.relink import relink
from deqlab.gradients.tape import Arguments, Tape
from deqlab.linalg.attention import plain_attention, uses_fused_attention
from deqlab.linalg.products import tapes_are_packed, vjp
from deqlab.maps.matrix_map import MapWithArgs


def attach(
    f: MapWithArgs,
    z_star: Float[Tensor, "B D"],
    args: Sequence[object],
    *,
    defined: Bool[Tensor, " B"],
    method: AdjointMethod,
    tape: Tape | None = None,
    near: Float[Tensor, "B D"] | None = None,
) -> Float[Tensor, "B D"]:
    """Return a copy of z_star that carries the gradient of the fixed point.

    If f depends on nothing that needs a gradient, neither does the result, which is then z_star.

    Args:
        f: The map, called as f(z, *args).
        z_star: Its fixed point.
        args: Passed on to f. A tensor that reaches f through a closure gets its gradient as well.
        defined: False for rows that shall pass no gradient.
        method: How v is found.
        tape: A tape of f at z_star; None to evaluate f once, and record it.
        near: A point that the method wants to see in the backward pass.
    """
    z_star = z_star.detach()
    arguments = Arguments.of(args)
    tape = tape or Tape.record(f, z_star, args)
    captured = tape.captured()
    if not tape.out.requires_grad or not (captured or arguments.positions):
        return z_star
    node = Node(f=f, args=arguments.emptied(), captured=captured, defined=defined, method=method)
    return _attach(node, z_star, tape, arguments.tensors, near)


def _attach(
    node: Node,
    z_star: Tensor,
    tape: Tape,
    given: Sequence[Tensor],
    near: Tensor | None = None,
) -> Tensor:
    # Where someone packs what a tape saves (activation checkpointing, offloading), each of the
    # many walks over this tape would unpack it all: it is then recorded in the backward pass.
    kept = () if tapes_are_packed() else (tape.leaf, tape.out, *tape.sources)
    value: Tensor = _Attach.apply(node, (near, *kept), z_star, *given, *node.captured)
    return value


class _Attach(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        node: Node,
        beside: tuple[Tensor | None, ...],
        z_star: Tensor,
        *inputs: Tensor,
    ) -> Tensor:
        ctx.node, ctx.count = node, len(inputs)
        ctx.save_for_backward(z_star, *inputs, *beside)
        ctx.set_materialize_grads(False)
        return z_star.clone()  # who writes to the value shall not write to the tape

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        if cotangent is None:
            return (None,) * len(ctx.needs_input_grad)
        if torch.compiler.is_compiling():  # where a compiled function calls backward()
            from deqlab import graph_break

            return graph_break.outside(_Attach.backward, ctx, cotangent)
        node: Node = ctx.node
        gradients = one_by_one(
            lambda u: _gradients(node, ctx.count, ctx.saved_tensors, u), cotangent
        )
        return None, None, None, *gradients


def _gradients(node: Node, count: int, saved: Sequence[Any], cotangent: Tensor) -> Gradients:
    """Return the gradient of each of the node's `count` inputs, given what it has saved."""
    z_star, *others = saved
    given, (near, *kept) = others[: len(node.args.positions)], others[count:]
    tape = _tape(node, kept) if kept else node.record(z_star, given)
    u = node.zero_undefined(cotangent)
    with missing_derivatives_are_named():
        if torch.is_grad_enabled():
            if uses_fused_attention(tape.out):
                with plain_attention():
                    tape = node.record(z_star, given)
            return _recorded_backward(node, z_star, tape, given, u)
        return node.method.gradients(Backward(node=node, u=u, given=given, near=near), tape)


def _tape(node: Node, kept: Sequence[Tensor]) -> Tape:
    """Return the tape that was saved."""
    leaf, out, *sources = kept
    return Tape(leaf, tuple(sources), out, lambda: node.captured)


def _recorded_backward(
    node: Node, z_star: Tensor, tape: Tape, given: Sequence[Tensor], u: Tensor
) -> Gradients:
    """The backward pass as a differentiable function of u and of all that z* depends on.

    z* is attached once more, so that it carries its own derivative, and so is v: as the fixed
    point of v -> J(z*, theta)' v + u, whose tape is a derivative of the tape of f.
    """
    z_star = _attach(node, z_star, tape, given)
    sources = (tape.leaf, *tape.sources, *node.captured)
    inputs = (z_star, *given, *node.captured)
    if node.method.exact:
        v = _attached_adjoint(node, tape, z_star, given, u)
    else:
        cotangent = u.detach().requires_grad_()
        product = node.clean(vjp(tape.out, tape.leaf, create_graph=True))
        found = node.method.solve(product, cotangent)
        check_twice_differentiable(tape.out, found)
        (linked,) = relink([found], (*sources, cotangent), (*inputs, u))
        assert linked is not None
        v = linked
    leaf = v.detach().requires_grad_()
    partial = pull(tape.out, sources[1:], leaf, graph=True)
    check_twice_differentiable(tape.out, *partial)
    return relink(partial, (*sources, leaf), (*inputs, v))


def _attached_adjoint(
    node: Node, tape: Tape, z_star: Tensor, given: Sequence[Tensor], u: Tensor
) -> Tensor:
    """Return v, which carries its derivatives by z*, u and all that f depends on."""
    with torch.no_grad():
        product = node.clean(vjp(tape.out, tape.leaf))
        v = node.method.solve(product, u)
        node.method.check(product, v, node.zero_undefined(product(v) + u - v))
    leaf, cotangent = v.detach().requires_grad_(), u.detach().requires_grad_()
    image = vjp(tape.out, tape.leaf, create_graph=True)(leaf)
    check_twice_differentiable(tape.out, image)
    out = node.zero_undefined(image) + cotangent

    def adjoint_map(v: Tensor, u: Tensor, z: Tensor, *given: Tensor) -> Tensor:
        """The same anew, where a tape is not kept."""
        product = vjp(node.f(z, *node.args.filled(given)), z, create_graph=True)
        return node.zero_undefined(product(v)) + u

    sources = (cotangent, tape.leaf, *tape.sources)
    args = Arguments.all_differentiable(len(sources))
    other = replace(node, f=adjoint_map, args=args, method=node.method.of_adjoint())
    adjoint_tape = Tape(leaf, sources, out, lambda: node.captured)
    return _attach(other, v.detach(), adjoint_tape, (u, z_star, *given))
