"""One chord step as functions of torch that every transform can take; see `lift`.

A linear map with a constant J has the simplest of rules: its tangent is itself, its backward pass
its transpose. A batch that `vmap` hides is either one of the problems, whose rows it joins, or one
of right-hand sides for the same problems.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch._C import _functorch
from torch.autograd import forward_ad

from deqlab.gradients.cotangents import one_by_one
from deqlab.gradients.node import Node
from deqlab.gradients.tape import Tape
from deqlab.linalg.products import vjp
from deqlab.linalg.tangents import pushforward
from deqlab.maps.transforms import level_of


@dataclass(kw_only=True)
class Inverse:
    """M = (I - J)^-1 and its transpose at plain rows, as an adjoint method has them.

    Attributes:
        node: The map, and the method.
        tape: f at the value, recorded.
    """

    node: Node
    tape: Tape
    _pushforward: Callable[[Tensor], Tensor] | None = field(default=None, repr=False)

    @property
    def exact(self) -> bool:
        """Whether M is more than a polynomial in J."""
        return self.node.method.exact

    def __call__(self, b: Float[Tensor, "*K R D"], *, transposed: bool) -> Float[Tensor, "*K R D"]:
        """Return M b, or M' b, for any number of right-hand sides."""
        flat = b.reshape(-1, *b.shape[-2:])
        return torch.stack([self._solved(each, transposed) for each in flat]).view(b.shape)

    def _solved(self, b: Float[Tensor, "R D"], transposed: bool) -> Float[Tensor, "R D"]:
        node = self.node
        method = node.method if transposed else node.method.of_adjoint()
        product = node.clean(vjp(self.tape.out, self.tape.leaf) if transposed else self._push)
        b = node.zero_undefined(b)
        x = method.solve(product, b)
        if method.exact:
            method.check(product, x, node.zero_undefined(product(x) + b - x))
        return x

    def _push(self, v: Tensor) -> Tensor:
        if self._pushforward is None:
            self._pushforward = pushforward(self.node.f, self.tape.leaf, self.tape.out)
        return self._pushforward(v)


def chord(
    inverse: Inverse, fz: Float[Tensor, "B D"], z: Float[Tensor, "B D"]
) -> Float[Tensor, "B D"]:
    """Return z, with the derivative of z + M (f(z) - z), in all levels."""
    value: Tensor = _Chord.apply(inverse, fz, z)
    return value


class _Chord(torch.autograd.Function):
    """z with the derivative of z + M (f(z) - z)."""

    @staticmethod
    def forward(inverse: Inverse, fz: Tensor, z: Tensor) -> Tensor:
        return z.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:  # noqa: ANN401
        ctx.inverse, fz, z = inputs
        ctx.level = level_of(output)
        ctx.save_for_backward(fz, z)
        ctx.save_for_forward(fz, z)

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[None, Tensor, Tensor]:  # noqa: ANN401
        fz, z = ctx.saved_tensors
        v = _Linear.apply(ctx.inverse, True, u, _constant(z))
        if torch.is_grad_enabled():
            alive = _functorch.unwrap_if_dead(fz)
            if not ctx.inverse.exact:
                v = _Final.apply(v, alive, None)
            elif alive is fz:  # else this level is over, and records no more
                v = _Final.apply(v, fz, ctx.level)
        return None, v, u - v

    @staticmethod
    def jvp(ctx: Any, _: None, by_fz: Tensor | None, by_z: Tensor | None) -> Tensor:  # noqa: ANN401
        fz, z = ctx.saved_tensors
        # torch has switched it off, for all levels; those further out go on.
        with forward_ad._set_fwd_grad_enabled(True):
            change = torch.zeros_like(z) if by_fz is None else by_fz
            change = change if by_z is None else change - by_z
            dz: Tensor = _Linear.apply(ctx.inverse, False, change, _constant(z))
            if not ctx.inverse.exact:
                dz = _Final.apply(dz, _below(fz, ctx.level), None)
            return dz if by_z is None else by_z + dz

    @staticmethod
    def vmap(
        info: Any,  # noqa: ANN401
        in_dims: tuple[None, int | None, int | None],
        inverse: Inverse,
        fz: Tensor,
        z: Tensor,
    ) -> tuple[Tensor, int]:
        _, of_fz, of_z = in_dims
        assert of_z is not None, "f became batched after the solve"
        z = z.movedim(of_z, 0)
        fz = fz.expand_as(z) if of_fz is None else fz.movedim(of_fz, 0)
        rows: Tensor = _Chord.apply(inverse, fz.flatten(0, 1), z.flatten(0, 1))
        return rows.unflatten(0, (info.batch_size, -1)), 0


class _Linear(torch.autograd.Function):
    """M b or M' b, with M a constant; `at` tells which batches are those of the problems."""

    @staticmethod
    def forward(inverse: Inverse, transposed: bool, b: Tensor, at: Tensor) -> Tensor:
        image: Tensor = one_by_one(lambda each: inverse(each, transposed=transposed), b)
        return image

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:  # noqa: ANN401
        ctx.inverse, ctx.transposed, _, at = inputs
        ctx.save_for_backward(at)
        ctx.save_for_forward(at)

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[None, None, Tensor, None]:  # noqa: ANN401
        (at,) = ctx.saved_tensors
        v: Tensor = _Linear.apply(ctx.inverse, not ctx.transposed, u, _constant(at))
        return None, None, v, None

    @staticmethod
    def jvp(ctx: Any, _: None, __: None, by_b: Tensor, *___: object) -> Tensor:  # noqa: ANN401
        (at,) = ctx.saved_tensors
        with forward_ad._set_fwd_grad_enabled(True):
            image: Tensor = _Linear.apply(ctx.inverse, ctx.transposed, by_b, _constant(at))
            return image

    @staticmethod
    def vmap(
        info: Any,  # noqa: ANN401
        in_dims: tuple[None, None, int | None, int | None],
        inverse: Inverse,
        transposed: bool,
        b: Tensor,
        at: Tensor,
    ) -> tuple[Tensor, int]:
        *_, of_b, of_at = in_dims
        if of_at is None:  # more right-hand sides
            assert of_b is not None
            return _Linear.apply(inverse, transposed, b.movedim(of_b, 0), at), 0
        if of_b is None:
            b = b.unsqueeze(-3).expand(*b.shape[:-2], info.batch_size, *b.shape[-2:])
        else:
            b = b.movedim(of_b, -3)
        at = at.movedim(of_at, 0).flatten(0, 1)
        rows: Tensor = _Linear.apply(inverse, transposed, b.flatten(-3, -2), at)
        return rows.unflatten(-2, (info.batch_size, -1)), b.ndim - 3


class _Final(torch.autograd.Function):
    """v as it is, which is a constant that knows better: who differentiates it is refused.

    The chord steps are counted: a level that differentiates twice has none left. `tag` is what v
    owes its derivative to. An inexact M has no derivative in any level, which is level None.
    """

    @staticmethod
    def forward(v: Tensor, tag: Tensor, level: int | None) -> Tensor:
        return v.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:  # noqa: ANN401
        level = inputs[2]
        ctx.inexact, ctx.refuses = level is None, level is None or level_of(output) == level

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        _Final.check(ctx)
        return u, None, None

    @staticmethod
    def jvp(ctx: Any, by_v: Tensor, *_: object) -> Tensor:  # noqa: ANN401
        if ctx.inexact:  # else a level of forward mode, which was counted
            _Final.check(ctx)
        return by_v

    @staticmethod
    def vmap(
        info: Any,  # noqa: ANN401
        in_dims: tuple[int | None, ...],
        v: Tensor,
        tag: Tensor,
        level: int | None,
    ) -> tuple[Tensor, int | None]:
        return _Final.apply(v, tag, level), in_dims[0]

    @staticmethod
    def check(ctx: Any) -> None:  # noqa: ANN401
        """Raise if a derivative of v is none."""
        if not ctx.refuses:
            return
        if ctx.inexact:
            raise NotImplementedError(
                "a second derivative of fixed_point under transforms of torch.func by an inexact "
                "gradient, which has the first only; use Implicit() instead"
            )
        raise NotImplementedError(
            "a second derivative of fixed_point by create_graph=True, of a solve that was called "
            "under a transform of torch.func or in forward mode: it has as many derivatives as "
            "there are transforms around it, and one backward pass; use one transform more "
            "instead (torch.func.grad of torch.func.grad), or no transform at all"
        )


def _constant(z: Tensor) -> Tensor:
    return _functorch.unwrap_if_dead(z).detach()


def _below(tensor: Tensor, level: int) -> Tensor:
    """Return a tensor without what this level differentiates; level -1 is that of dual numbers."""
    if level < 0:
        primal: Tensor = forward_ad.unpack_dual(tensor).primal
        return primal
    lower: Tensor = _functorch._unwrap_for_grad(tensor, level)
    return lower
