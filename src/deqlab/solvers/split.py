"""z = sigma(W z + q), or its adjoint equation, taken apart for splitting methods.

The adjoint equation of an equilibrium, v = J'v + u with J = D W and D = diag(sigma'), is of the
same form. With y = D v,

    y = D (W'y + u),    v = W'y + u,

and D, whose entries are in [0, 1], is a proximal operator as sigma is: that of alpha phi is
d t / (d + alpha (1 - d)). I - W' is as monotone as I - W, so that the same method solves it, with
the transpose of the same resolvent. The loop sees v and not y: it is v that is held to a tolerance.
Source: Winston & Kolter (2020), Theorem 2.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils._pytree import tree_map

from deqlab.maps.flat_map import FlatMap
from deqlab.maps.matrix_map import MatrixMap
from deqlab.solvers.linear_operator import LinearOperator
from deqlab.solvers.monotone_map import MonotoneMap
from deqlab.state import Layout

Prox = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True, kw_only=True)
class Split:
    """The parts of one equation.

    Attributes:
        operator: What W is for the weights w.
        w: The weights.
        q: What is added to W z.
        prox: (u, alpha) -> the proximal operator of alpha phi.
        derivative: u -> the diagonal of the derivative of sigma.
        layout: How matrices stand for states; None where they are the states.
        shows_image: Whether the iterates of the loop are W z + q, as for an adjoint equation, and
            not z.
    """

    operator: LinearOperator
    w: Any
    q: Float[Tensor, "B D"]
    prox: Prox
    derivative: Callable[[Tensor], Tensor]
    layout: Layout | None
    shows_image: bool = False

    def image(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Return W z + q."""
        if self.layout is None:
            out: Tensor = self.operator.affine(self.w, z, self.q)
            return out
        states = self.layout.unflatten(z), self.layout.unflatten(self.q)
        return self.layout.flatten(self.operator.affine(self.w, *states))

    def resolvent(self, alpha: float) -> Callable[[Any], Any]:
        """Return (I + alpha (I - W))^-1, for `solved`."""
        return self.operator.resolvent(self.w, alpha)

    def solved(
        self, resolvent: Callable[[Any], Any], u: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B D"]:
        """Return the resolvent of u."""
        if self.layout is None:
            out: Tensor = resolvent(u)
            return out
        return self.layout.flatten(resolvent(self.layout.unflatten(u)))


class AdjointMap:
    """v -> J'v + u at a fixed point of z = sigma(W z + q), whose parts splitting methods find.

    Attributes:
        split: The equation y = D (W'y + u).
    """

    def __init__(
        self,
        f: MatrixMap,
        z_star: Float[Tensor, "B D"],
        u: Float[Tensor, "B D"],
        needed: Bool[Tensor, " B"] | None = None,
    ) -> None:
        """Take the map apart at z_star.

        Args:
            f: The map; a `Bound` one that splitting methods take.
            z_star: Its fixed point.
            u: The cotangent.
            needed: Rows whose v is waited for: of the others it is u. None for all.
        """
        forward = parts(f, "an adjoint", z_star.dtype)
        slope = forward.derivative(forward.image(z_star))
        if needed is not None:
            slope = torch.where(needed[:, None], slope, 0.0)
        self.slope: Tensor = slope
        self.split = replace(
            forward,
            w=forward.operator.transpose(forward.w),
            q=u,
            prox=self._prox,
            derivative=lambda t: self.slope,
            shows_image=True,
        )

    def __call__(self, v: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Return J'v + u."""
        return self.split.image(self.slope * v)

    def _prox(self, t: Tensor, alpha: float) -> Tensor:
        d = self.slope
        return d * t if alpha == 1 else d * t / (d + alpha * (1 - d))


def parts(f: MatrixMap, method: str, dtype: torch.dtype) -> Split:
    """Return the parts of a map, in the dtype of the state: autocast may have made q of another.

    Raises:
        TypeError: f is no `MonotoneMap`, and no adjoint of one.
    """
    if isinstance(f, AdjointMap):
        return f.split
    origin: object = getattr(f, "origin", f)
    layout: Layout | None = None
    if isinstance(origin, FlatMap):
        layout, origin = origin.layout, origin.f
    args = getattr(f, "args", ())
    if isinstance(origin, MonotoneMap) and len(args) == 2:
        return _split(origin, args, layout, dtype)
    what = getattr(origin, "__name__", type(origin).__name__)
    raise TypeError(
        f"{method} splits z = sigma(W z + q): pass a MonotoneMap and (W, q), or a cell that is one "
        f"(nn.MonotoneCell, nn.MonotoneConvCell), got {what}; Anderson() takes any map"
    )


def _split(
    f: MonotoneMap, args: tuple[Any, ...], layout: Layout | None, dtype: torch.dtype
) -> Split:
    args = tree_map(lambda part: part.to(dtype) if isinstance(part, Tensor) else part, args)
    w, q = f.weights(*args)
    if layout is None:
        return Split(
            operator=f.operator, w=w, q=q, prox=f.prox, derivative=f.derivative, layout=None
        )
    flatten, unflatten = layout.flatten, layout.unflatten
    return Split(
        operator=f.operator,
        w=w,
        q=flatten(q),
        prox=lambda u, alpha: flatten(f.prox(unflatten(u), alpha)),
        derivative=lambda u: flatten(f.derivative(unflatten(u))),
        layout=layout,
    )
