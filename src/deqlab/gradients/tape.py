"""One evaluation of f on a tape of its own, and the tensors that the tape leads to."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.gradients.base import MapWithArgs


@dataclass(frozen=True)
class Tape:
    """One evaluation of f, recorded."""

    leaf: Float[Tensor, "B D"]  # z, as a leaf
    sources: tuple[Tensor, ...]  # the differentiable args, as leaves
    out: Float[Tensor, "B D"]  # f at the leaf

    @classmethod
    def record(cls, f: MapWithArgs, z: Tensor, args: Sequence[object]) -> "Tape":
        """Evaluate f(z, *args) with the tape on; it ends at z and at the args."""
        leaf = z.detach().requires_grad_()
        aliases = {
            i: arg.detach().requires_grad_()
            for i, arg in enumerate(args)
            if isinstance(arg, Tensor) and arg.requires_grad
        }
        with torch.enable_grad():
            out = f(leaf, *(aliases.get(i, arg) for i, arg in enumerate(args)))
        return cls(leaf, tuple(aliases.values()), out)

    def captured(self) -> tuple[Tensor, ...]:
        """Return the leaves that f reaches by itself: parameters, tensors that it captures."""
        known = (self.leaf, *self.sources)
        return tuple(t for t in _leaves(self.out) if not any(t is k for k in known))


class LastTape:
    """f at given args, recorded: for the evaluation that a solve expects to be its last.

    The tape that an implicit gradient needs is one of f at z*, where the loop evaluates f anyway.
    """

    def __init__(self, f: MapWithArgs, args: Sequence[object]) -> None:
        self.f, self.args = f, args
        self.tape: Tape | None = None
        self.point: Tensor | None = None

    def __call__(self, z: Tensor) -> Tensor:
        """Return f(z, *args), and keep its tape in place of an earlier one."""
        self.point, self.tape = z, Tape.record(self.f, z, self.args)
        return self.tape.out.detach()

    def at(self, z: Tensor) -> Tape | None:
        """Return the tape if it was recorded at this very tensor."""
        return self.tape if self.point is z else None


def _leaves(out: Tensor) -> list[Tensor]:
    """Return the leaves that need a gradient on the tape of `out`, in the order they are met."""
    leaves: list[Tensor] = []
    seen, stack = set(), [out.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)  # AccumulateGrad nodes have one
        if isinstance(variable, Tensor):
            leaves.append(variable)
        stack.extend(parent for parent, _ in node.next_functions)
    return leaves
