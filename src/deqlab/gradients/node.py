"""The node that stands on the tape in place of a whole solve.

At a fixed point z* = f(z*, theta), with J = df/dz at z*, the vector-Jacobian product is

    u' dz*/dtheta = v' df/dtheta,    where v solves    v = J' v + u                     (exact)
                                     or            v = p(J') u, p a polynomial          (else).

The node's inputs are all tensors that f depends on: the arguments of f, and every leaf that its
tape reaches (parameters of a module, tensors that a closure captures). So it is safe under
data-parallel hooks, several forwards before one backward, and second derivatives: when the
backward pass is itself recorded, f is evaluated anew at the attached z*, the adjoint equation is
attached as the fixed-point problem that it is, and derivatives of any order follow.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deqlab.gradients.base import MapWithArgs
from deqlab.gradients.tape import Tape
from deqlab.operators import Product, tapes_are_packed, vjp

Gradients: TypeAlias = tuple[Tensor | None, ...]

AdjointSolve: TypeAlias = Callable[[Product, Tensor], Tensor]
"""(v -> J'v, u) -> v, on (B, D) matrices."""


@dataclass(frozen=True, kw_only=True)
class SecondLook:
    """A point closer to z* than the value: the gradient leaves f there.

    Attributes:
        point: Where.
        tell: Told J'v + u - v there, where v solves the adjoint equation at the value.
    """

    point: Float[Tensor, "B D"]
    tell: Callable[[Float[Tensor, "B D"]], None]


@dataclass(frozen=True, kw_only=True)
class _Node:
    """What the node knows: the map, the tape of one evaluation, and how to find v."""

    f: MapWithArgs
    args: tuple[object, ...]
    positions: tuple[int, ...]  # of the differentiable tensors in args
    defined: Bool[Tensor, " B"]  # rows that have a gradient: f was finite
    solve: AdjointSolve
    solve_again: AdjointSolve
    exact: bool
    captured: tuple[Tensor, ...]  # leaves that f reaches by itself
    tape: Tape | None  # None where it is to be recorded anew
    look: SecondLook | None

    def with_args(self, inputs: Sequence[Tensor]) -> list[object]:
        """Return the args of f, the differentiable ones as they were saved."""
        args = list(self.args)
        for position, tensor in zip(self.positions, inputs, strict=False):
            args[position] = tensor
        return args

    def leave(self, tape: Tape, u: Tensor, v: Tensor, args: Sequence[object]) -> Gradients:
        """Return v' df/dtheta: at the value, whose tape this is, or at the point of `look`."""
        if self.look is None:
            return _grad(tape.out, (*tape.sources, *self.captured), v, create_graph=False)
        tape = Tape.record(self.f, self.look.point, args)
        sources = (tape.leaf, *tape.sources, *self.captured)
        image, *gradients = _grad(tape.out, sources, v, create_graph=False)
        self.look.tell(self.zero_undefined(u - v if image is None else image + u - v))
        return tuple(gradients)

    def clean(self, product: Product) -> Product:
        """Keep the undefined rows of a product at zero: they may be 0 * inf."""
        return lambda v: self.zero_undefined(product(v))

    def zero_undefined(self, v: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        if bool(self.defined.all()):
            return v
        return torch.where(self.defined[:, None], v, 0.0)


def attach(
    f: MapWithArgs,
    z_star: Float[Tensor, "B D"],
    args: Sequence[object],
    *,
    defined: Bool[Tensor, " B"],
    solve: AdjointSolve,
    solve_again: AdjointSolve | None = None,
    exact: bool = True,
    tape: Tape | None = None,
    look: SecondLook | None = None,
) -> Float[Tensor, "B D"]:
    """Return z_star, now carrying the gradient of the fixed point.

    If f depends on nothing that needs a gradient, neither does the result.

    Args:
        f: The map, called as f(z, *args).
        z_star: Its fixed point.
        args: Passed on to f. A tensor that reaches f through a closure gets its gradient as
            well, but by a second walk over whatever tape made it: pass it here instead.
        defined: False for rows that shall pass no gradient.
        solve: Solves the adjoint equation for v; it is called without a tape.
        solve_again: Solves the equations that derivatives of v lead to; None for the same.
        exact: False if `solve` computes something else than the solution: a few products, which
            a tape may then record.
        tape: Of f at z_star; None to evaluate f once, and record it.
        look: Where the gradient leaves f; None for z_star.
    """
    z_star = z_star.detach()
    tape = tape or Tape.record(f, z_star, args)
    captured = tape.captured()
    given = {i: arg for i, arg in enumerate(args) if isinstance(arg, Tensor) and arg.requires_grad}
    inputs = (*given.values(), *captured)
    if not inputs or not tape.out.requires_grad:
        return z_star
    node = _Node(
        f=f,
        args=tuple(args),
        positions=tuple(given),
        defined=defined,
        solve=solve,
        solve_again=solve_again or solve,
        exact=exact,
        captured=captured,
        # Where someone packs what a tape saves (activation checkpointing, offloading), each of
        # the many walks over this tape would unpack it all: it is then recorded in the backward
        # pass.
        tape=None if tapes_are_packed() else tape,
        look=look,
    )
    value: Tensor = _Attach.apply(node, z_star, *inputs)
    return value


class _Attach(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, node: _Node, z_star: Tensor, *inputs: Tensor) -> Tensor:  # noqa: ANN401
        ctx.node = node
        ctx.save_for_backward(z_star, *inputs)
        ctx.set_materialize_grads(False)
        return z_star  # as it is: autograd makes an alias of it, not a copy

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        if cotangent is None:
            return (None,) * len(ctx.needs_input_grad)
        if torch._C._functorch.is_legacy_batchedtensor(cotangent):
            raise NotImplementedError(
                "the gradient of fixed_point for a batch of cotangents at once (vmap, "
                "is_grads_batched, vectorize=True): an adjoint solve decides row by row when to "
                "stop; call torch.autograd.grad once for each cotangent instead"
            )
        node: _Node = ctx.node
        z_star, *inputs = ctx.saved_tensors
        u = node.zero_undefined(cotangent)
        if torch.is_grad_enabled():
            gradients = _recorded_backward(node, z_star, inputs, u)
        else:
            args = node.with_args(inputs)
            tape = node.tape or Tape.record(node.f, z_star, args)
            v = node.solve(node.clean(vjp(tape.out, tape.leaf)), u)
            gradients = node.leave(tape, u, v, args)
        return None, None, *gradients


def _recorded_backward(
    node: _Node, z_star: Tensor, inputs: Sequence[Tensor], u: Tensor
) -> tuple[Tensor | None, ...]:
    """The backward pass as a differentiable function of u and of all that z* depends on.

    z* is attached once more, so that it carries its own derivative, and so is v: as the fixed
    point of v -> J(z*, theta)' v + u.
    """
    args = node.with_args(inputs)
    z_star = attach(node.f, z_star, args, defined=node.defined, solve=node.solve, exact=node.exact)
    # Behind gates: z* depends on the arguments, and these may depend on each other.
    gate = _Switch()
    z: Tensor = _Gate.apply(gate, z_star)
    gated = {i: _Gate.apply(gate, args[i]) for i in node.positions}
    out = node.f(z, *(gated.get(i, arg) for i, arg in enumerate(args)))
    sources = (*gated.values(), *node.captured)
    if not node.exact:
        v = node.solve(node.clean(vjp(out, z, create_graph=True)), u)
    else:
        with torch.no_grad():
            v = node.solve(node.clean(vjp(out, z)), u)
            if node.look is not None:
                node.leave(Tape.record(node.f, z.detach(), args), u, v, args)

        def adjoint_map(v: Tensor, z: Tensor, u: Tensor, *args: object) -> Tensor:
            product = vjp(node.f(z, *args), z, create_graph=True)
            return node.zero_undefined(product(v)) + u

        v = attach(adjoint_map, v, (z_star, u, *args), defined=node.defined, solve=node.solve_again)
    gate.closed = True  # v' df/dtheta is the partial derivative
    gradients = _grad(out, sources, v, create_graph=True)
    gate.closed = False  # but it depends on what lies behind, which the next derivative must see
    return gradients


class _Switch:
    """Whether a gate lets gradients pass."""

    closed = False


class _Gate(torch.autograd.Function):
    """The identity, whose gradient can be held back for the time of one backward pass."""

    @staticmethod
    def forward(ctx: Any, switch: _Switch, z: Tensor) -> Tensor:  # noqa: ANN401
        ctx.switch = switch
        return z

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        return None, None if ctx.switch.closed else cotangent


def _grad(
    out: Tensor, sources: Sequence[Tensor], v: Tensor, *, create_graph: bool
) -> tuple[Tensor | None, ...]:
    return torch.autograd.grad(
        out, sources, v, retain_graph=True, create_graph=create_graph, allow_unused=True
    )
