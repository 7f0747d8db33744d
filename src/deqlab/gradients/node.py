"""What a backward pass is made of: the node, the adjoint method that it asks for v, its gradients.

At a fixed point z* = f(z*, theta), with J = df/dz at z*, the vector-Jacobian product is

    u' dz*/dtheta = v' df/dtheta,    where v solves    v = J' v + u                     (exact)
                                     or            v = p(J') u, p a polynomial          (else).

`attach` puts the node on the tape.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deqlab.gradients.captured import Gradients, pull
from deqlab.gradients.tape import Arguments, Tape
from deqlab.linalg.products import Product, vjp
from deqlab.maps.matrix_map import MapWithArgs


class AdjointMethod(ABC):
    """How a gradient finds v."""

    exact: ClassVar[bool] = False
    """Whether v solves v = J'v + u; else it is some products, which a tape may record."""

    @abstractmethod
    def solve(self, product: Product, u: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Return v.

        Args:
            product: v -> J'v at z*.
            u: The cotangent of z*.
        """

    def check(  # noqa: B027, nothing is promised of an inexact v
        self, product: Product, v: Tensor, residual: Float[Tensor, "B D"]
    ) -> None:
        """Take note of J'v + u - v, measured while the gradient left f."""

    def of_adjoint(self) -> "AdjointMethod":
        """Return the method for the adjoint of the adjoint equation, in a second derivative."""
        return self

    def gradients(self, backward: "Backward", tape: Tape) -> Gradients:
        """Return v' df/dtheta, given a tape of f at z*."""
        product = backward.product(tape)
        v = self.solve(product, backward.u)
        residual, gradients = backward.leave(tape, v)
        self.check(product, v, residual)
        return gradients


@dataclass(frozen=True, kw_only=True)
class Backward:
    """One backward pass, as an adjoint method sees it.

    Attributes:
        node: The node.
        u: The cotangent of z*, zero in rows that have no gradient.
        given: The differentiable tensors in the args of f.
        near: What `attach` was given.
    """

    node: "Node"
    u: Float[Tensor, "B D"]
    given: Sequence[Tensor]
    near: Float[Tensor, "B D"] | None = None

    @property
    def args(self) -> list[Any]:
        """The args of f."""
        return self.node.args.filled(self.given)

    def product(self, tape: Tape) -> Product:
        """Return v -> J'v from a tape."""
        return self.node.clean(vjp(tape.out, tape.leaf))

    def leave(self, tape: Tape, v: Tensor) -> tuple[Tensor, Gradients]:
        """Return J'v + u - v and v' df/dtheta, both from one walk over a tape."""
        sources = (tape.leaf, *tape.sources, *self.node.captured)
        image, *gradients = pull(tape.out, sources, v)
        residual = self.u - v if image is None else image + self.u - v
        return self.node.zero_undefined(residual), tuple(gradients)

    def record(self, z: Float[Tensor, "B D"]) -> Tape:
        """Evaluate f anew, at any z."""
        return self.node.record(z, self.given)


@dataclass(frozen=True, kw_only=True)
class Node:
    """What the node knows beside the tensors that it saves.

    Attributes:
        f: The map; it is evaluated anew only where its tape was not kept, or at another point.
        args: Its arguments, without the differentiable tensors in them, which are saved.
        captured: The tensors that f reaches by itself.
        defined: Rows that have a gradient: f was finite.
        method: How v is found.
    """

    f: MapWithArgs
    args: Arguments
    captured: tuple[Tensor, ...]
    defined: Bool[Tensor, " B"]
    method: AdjointMethod

    def record(self, z: Tensor, given: Sequence[Tensor]) -> Tape:
        """Evaluate f anew.

        Raises:
            RuntimeError: It depends on other tensors than it did in the solve.
        """
        tape = Tape.record(self.f, z, self.args.filled(given))
        found = tape.captured()
        same = len(found) == len(self.captured) and all(map(_is_same, found, self.captured))
        if not same:
            raise RuntimeError(
                "the backward pass of fixed_point evaluates f once more, and f depends on other "
                "tensors than it did in the solve: were the parameters of a module replaced in "
                "between (torch.func.functional_call), or does f make tensors that need a gradient "
                "at each call? Pass such tensors to f as args, or leave out accuracy= and "
                "activation checkpointing"
            )
        return tape

    def clean(self, product: Product) -> Product:
        """Keep the undefined rows of a product at zero: they may be 0 * inf."""
        if self._all_defined():
            return product
        return lambda v: self.zero_undefined(product(v))

    def zero_undefined(self, v: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Return v with its undefined rows at zero."""
        if self._all_defined():
            return v
        return torch.where(self.defined[:, None], v, 0.0)

    def _all_defined(self) -> bool:
        """Return whether every row is known to be defined; a device is not asked."""
        return self.defined.is_cpu and bool(self.defined.all())


def _is_same(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors are one for autograd."""
    return a is b or (
        a.grad_fn is not None and (a.grad_fn, a.output_nr) == (b.grad_fn, b.output_nr)
    )
