"""A recorded computation as a function of other tensors than those it was recorded with.

A tape is recorded with leaves of its own, and what it computes is wanted as a function of the
tensors that these leaves stood for, with derivatives of every order. So is each derivative of it,
which is recorded with the same leaves.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from deqlab.gradients.captured import Gradients, pull
from deqlab.gradients.missing_derivatives import missing_derivatives_are_named


def relink(
    outs: Sequence[Tensor | None], sources: Sequence[Tensor], inputs: Sequence[Tensor]
) -> Gradients:
    """Return `outs` as functions of `inputs`, which have the values of `sources`.

    Args:
        outs: What was computed; what depends on no source is returned as it is.
        sources: What it was computed from, and where its tape is cut.
        inputs: One tensor for each source.
    """
    taped = [out for out in outs if out is not None and out.requires_grad]
    if not taped:
        return tuple(outs)
    linked = dict(zip(map(id, taped), _Relink.apply((taped, sources), *inputs), strict=True))
    return tuple(linked.get(id(out), out) for out in outs)


class _Relink(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        tape: tuple[Sequence[Tensor], Sequence[Tensor]],
        *inputs: Tensor,
    ) -> tuple[Tensor, ...]:
        outs, ctx.sources = tape  # as they are: their hooks are to keep still
        ctx.save_for_backward(*inputs, *outs)
        ctx.set_materialize_grads(False)
        return tuple(out.clone() for out in outs)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> Gradients:  # noqa: ANN401
        sources, n = ctx.sources, len(ctx.sources)
        inputs: Sequence[Tensor] = ctx.saved_tensors[:n]
        pairs = list(zip(ctx.saved_tensors[n:], cotangents, strict=True))
        outs = [out for out, c in pairs if c is not None]
        given = [c for _, c in pairs if c is not None]
        if not given:
            return (None,) * (n + 1)
        recorded = torch.is_grad_enabled()
        leaves = [c.detach().requires_grad_() for c in given] if recorded else given
        with missing_derivatives_are_named():
            gradients = pull(outs, sources, leaves, graph=recorded)
        if not recorded:
            return (None, *gradients)
        return (None, *relink(gradients, (*sources, *leaves), (*inputs, *given)))
