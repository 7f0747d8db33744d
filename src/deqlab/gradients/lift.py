"""Derivatives of a solve under transforms of torch.func, and of dual numbers.

The solve itself is set aside (see `maps.transforms`), and ends with the numbers of z*. What the
transforms follow is made of evaluations of f after it, in the levels of the caller, where torch
differentiates f in every one of them. With M = (I - J)^-1 at the numbers of z*, a constant linear
map, a chord step of Newton's method

    z_{k+1} = z_k + M (f(z_k) - z_k),    z_0 = z* without a derivative,

changes no number and raises the order by one: if z_k is z* in all derivatives up to order k, its
error e is of order k + 1, and that of z_{k+1} is e - M (I - J(z*)) e + O(e^2), of order k + 2, for
M (I - J(z*)) is I but for what z* moves by. So as many steps as there are orders make the value
exact, and the first order is

    dz = M df    forwards,        v = M' u    and    v' df    backwards.

M is a linear system row by row, which the gradient solves by its own method and holds to its own
tolerance. Batches that the caller maps over are rows, or more right-hand sides of the same rows.

An inexact gradient has its own M, a polynomial in J, and the first order only: it takes one step.
Source of the order: Griewank & Walther (2008), "Evaluating Derivatives", ch. 15.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from deqlab.gradients.chord import Inverse, chord
from deqlab.gradients.node import AdjointMethod, Node
from deqlab.gradients.tape import Arguments, Tape
from deqlab.maps.matrix_map import MatrixMap
from deqlab.maps.transforms import Levels


@dataclass(frozen=True, kw_only=True)
class Called:
    """A solve as its caller sees it, within the transforms.

    Attributes:
        f: The map, which torch differentiates.
        z_star: Its fixed point, without a derivative.
        start: Where the solve began.
        defined: Rows that have a derivative.
        levels: The transforms.
    """

    f: MatrixMap
    z_star: Float[Tensor, "B D"]
    start: Float[Tensor, "B D"]
    defined: Bool[Tensor, " B"]
    levels: Levels


class Rule(ABC):
    """How the value of a solve gets its derivatives."""

    @abstractmethod
    def value(self, called: Called) -> Float[Tensor, "B D"]:
        """Return z_star, with derivatives in all levels."""


@dataclass
class Lift:
    """What a solve under transforms asks of a gradient: a rule in place of a tape."""

    rule: Rule | None = None

    @staticmethod
    def refuse(gradient: object) -> None:
        """Say that a gradient has no rule.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(
            "fixed_point under a transform of torch.func (grad, jvp, jacrev, ...) or forward-mode "
            f"differentiation: {type(gradient).__name__} differentiates the steps of the solver, "
            "which are taken outside of it; use Implicit(), Phantom(), JacobianFree() or "
            "Unrolled(steps=...) instead"
        )


@dataclass(frozen=True, kw_only=True)
class Steps(Rule):
    """The derivative of some damped steps of f, whose end stands for the value.

    Attributes:
        count: How many.
        damping: As in `Picard`.
        free: The first of them that have no derivative.
        from_start: Whether they begin where the solve did, and not at its value.
    """

    count: int
    damping: float = 1.0
    free: int = 0
    from_start: bool = False

    @override
    def value(self, called: Called) -> Float[Tensor, "B D"]:
        z = called.start if self.from_start else called.z_star
        defined = called.defined[:, None]
        for step in range(self.count):
            fz = torch.where(defined, called.f(z), called.z_star)
            z = fz if self.damping == 1 else torch.lerp(z, fz, self.damping)
            z = z.detach() if step < self.free else z
        return called.z_star + (z - z.detach())


@dataclass(frozen=True, kw_only=True)
class Chords(Rule):
    """Chord steps from the value, by the linear map of an adjoint method.

    Attributes:
        inverse: M and its transpose.
    """

    inverse: Inverse

    @classmethod
    def of(cls, method: AdjointMethod, f: MatrixMap, tape: Tape, defined: Tensor) -> "Chords":
        """Return the rule of an adjoint method, given a tape of f at the value."""
        node = Node(f=f, args=Arguments.of(()), captured=(), defined=defined, method=method)
        return cls(inverse=Inverse(node=node, tape=tape))

    @override
    def value(self, called: Called) -> Float[Tensor, "B D"]:
        z, steps, taken = called.z_star, 1, 0
        while taken < steps:
            fz = called.f(z)
            if not taken and self.inverse.exact:
                # Outside of all transforms a backward pass may follow.
                steps = max(1, called.levels.orders + called.levels.rows(fz).requires_grad)
            z = chord(self.inverse, fz, z)
            taken += 1
        return z
