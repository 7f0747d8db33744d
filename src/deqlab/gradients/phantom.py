"""Gradients that are inexact and cheap: a few terms in place of the adjoint equation.

With J at z*, u the cotangent and k steps of damping lambda,

    v = lambda sum_{t < k} (lambda J' + (1 - lambda) I)^t u

tends to (I - J')^-1 u as k grows, where the damped iteration contracts. Source: Geng et al.
(2021), "On Training Implicit Models" (phantom gradients). The unrolled form differentiates k
damped steps from z*; at a fixed point it is the same to first order.

k = 1 with lambda = 1 is v = u. Source: Fung et al. (2022), "JFB: Jacobian-Free Backpropagation
for Implicit Networks".
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from deqlab.gradients.base import Gradient, Problem
from deqlab.gradients.node import AdjointMethod
from deqlab.gradients.unrolled import carry, continued
from deqlab.gradients.without_tape import OneStep, attached, solved
from deqlab.linalg.products import Product
from deqlab.solution import Solution
from deqlab.solvers.picard import check_damping


@dataclass(frozen=True, kw_only=True)
class Phantom(Gradient):
    """An inexact gradient at the price of `steps` backward passes through f.

    Attributes:
        steps: k, at least 1.
        damping: lambda, in (0, 1]. Below 1 the sum is longer sighted for eigenvalues of J near or
            below -1, and shorter sighted for those near 1.
        unrolled: True differentiates k steps from z*, one tape each; False takes k - 1 products
            with J' at z*, on one tape.
    """

    steps: int = 5
    damping: float = 1.0
    unrolled: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        check_damping(self.damping)

    @override
    def solve(self, problem: Problem) -> Solution:
        if self.unrolled:
            with torch.no_grad():
                solution = problem.solve()
            end = continued(problem, solution, steps=self.steps, damping=self.damping)
            return carry(problem, solution, end)
        solution, _, tape = solved(problem)
        return attached(problem, solution, tape, _Neumann(self.steps, self.damping))


class _Neumann(AdjointMethod):
    """The first terms of the damped Neumann series."""

    def __init__(self, steps: int, damping: float) -> None:
        self.steps, self.damping = steps, damping

    @override
    def solve(self, product: Product, u: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        term = v = self.damping * u
        for _ in range(self.steps - 1):
            term = torch.lerp(term, product(term), self.damping)
            v = v + term
        return v


@dataclass(frozen=True, kw_only=True)
class JacobianFree(Gradient):
    """An inexact gradient at the price of one backward pass through f: v = u.

    Its error is of the order of |J|; where f contracts enough and is well conditioned it keeps a
    descent direction (Fung et al. 2022).
    """

    @override
    def solve(self, problem: Problem) -> Solution:
        solution, _, tape = solved(problem)
        return attached(problem, solution, tape, OneStep())
