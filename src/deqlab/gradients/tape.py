"""One evaluation of f on a tape of its own, and the tensors that the tape leads to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from deqlab.gradients.captured import captured_tensors
from deqlab.maps.flat_map import FlatMap
from deqlab.maps.matrix_map import MapWithArgs


@dataclass(frozen=True)
class Arguments:
    """What f is given beside z, and which tensors in it carry gradients."""

    items: tuple[Any, ...]  # containers are taken apart
    structure: TreeSpec
    positions: tuple[int, ...]  # of the tensors that carry gradients

    @classmethod
    def of(cls, args: Sequence[object]) -> "Arguments":
        """Take args apart."""
        items, structure = tree_flatten(list(args))
        differentiable = (
            i for i, item in enumerate(items) if isinstance(item, Tensor) and item.requires_grad
        )
        return cls(tuple(items), structure, tuple(differentiable))

    @classmethod
    def all_differentiable(cls, count: int) -> "Arguments":
        """Return the places of so many tensors, all of which carry gradients."""
        items, structure = tree_flatten([None] * count)
        return cls(tuple(items), structure, tuple(range(count)))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors that carry gradients."""
        return tuple(self.items[i] for i in self.positions)

    def filled(self, tensors: Sequence[Tensor | None]) -> list[Any]:
        """Return the args, with these in place of the tensors that carry gradients."""
        items = list(self.items)
        for position, tensor in zip(self.positions, tensors, strict=True):
            items[position] = tensor
        args: list[Any] = tree_unflatten(items, self.structure)
        return args

    def emptied(self) -> "Arguments":
        """Return the same without these tensors, which are then kept elsewhere."""
        items = list(self.items)
        for position in self.positions:
            items[position] = None
        return replace(self, items=tuple(items))


@dataclass(frozen=True)
class Tape:
    """One evaluation of f, recorded."""

    leaf: Float[Tensor, "B D"]  # z, as a leaf
    sources: tuple[Tensor, ...]  # the differentiable tensors among the args, as leaves
    out: Float[Tensor, "B D"]  # f at the leaf
    find_captured: Callable[[], tuple[Tensor, ...]]

    @classmethod
    def record(cls, f: MapWithArgs, z: Tensor, args: Sequence[object]) -> "Tape":
        """Evaluate f(z, *args) with the tape on; it ends at z, at args, and at what f captures."""
        arguments = Arguments.of(args)
        leaf = z.detach().requires_grad_()
        sources = tuple(tensor.detach().requires_grad_() for tensor in arguments.tensors)
        aliases = arguments.filled(sources) if sources else args
        since = torch._C._autograd._get_sequence_nr()
        with torch.enable_grad():
            out = f(leaf, *aliases)

        def find_captured() -> tuple[Tensor, ...]:
            reached = f.reached if isinstance(f, FlatMap) else ()
            evaluate = lambda: f(leaf, *aliases)  # noqa: E731
            return captured_tensors(out, (leaf, *sources), since, evaluate, reached)

        return cls(leaf, sources, out, find_captured)

    def captured(self) -> tuple[Tensor, ...]:
        """Return the tensors with a gradient that f reaches by itself; see `captured`."""
        return self.find_captured()


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
