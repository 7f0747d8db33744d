"""The implicit gradient inside of a graph: an operator, whose backward pass holds the adjoint loop.

torch.compile traces f as a graph of z and of whatever it reaches, and hands both to `_node`, which
runs while the graph is differentiated: its `backward` becomes part of the backward graph.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, fx
from torch._higher_order_ops import dynamo_bypassing_wrapper

from deqlab.compiled.adjoint import Backward, Settings
from deqlab.compiled.linearised import linearised
from deqlab.compiled.report import HERE, refuse
from deqlab.gradients.implicit import Implicit
from deqlab.gradients.linear_methods import GMRES
from deqlab.solvers.loop.progress import NONFINITE


def attach_implicit(
    f: Callable[[Tensor], Tensor],
    z_star: Float[Tensor, "B D"],
    gradient: Implicit,
    *,
    status: Int64[Tensor, " B"],
    evaluations: Int64[Tensor, ""],
    rtol: float,
    blocks: Sequence[int],
    what: str,
    on_failure: str,
) -> Float[Tensor, "B D"]:
    """Return z_star, now carrying the gradient of the fixed point.

    Args:
        f: The map.
        z_star: Its fixed point, which no tape leads to.
        gradient: One that `check_gradient` lets pass.
        status: The verdicts of the forward solve.
        evaluations: Its evaluations.
        rtol: Its tolerance.
        blocks: Columns of each block.
        what: The name of whoever asked for the solve.
        on_failure: What a failed backward solve does.
    """
    method = gradient.solver
    assert isinstance(method, GMRES)
    rtol = rtol or 100 * torch.finfo(z_star.dtype).eps  # as in `Implicit.solve`

    def with_verdicts(
        z: Tensor, status: Tensor, evaluations: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        # In this order, so that these are the first three tensors that the graph takes.
        z, status, evaluations = z.clone(), status.clone(), evaluations.clone()
        fz = torch.where(status[:, None] != NONFINITE, f(z), z.detach())
        return fz.contiguous(), status, evaluations

    node = partial(
        _node,
        rtol=rtol if method.rtol is None else method.rtol,
        max_products=method.max_products,
        blocks=tuple(blocks),
        what=f"adjoint of {what}",
        on_failure=on_failure,
    )
    value: Tensor = dynamo_bypassing_wrapper(node, with_verdicts, z_star, status, evaluations)[0]
    return value


def _node(graph: fx.GraphModule, **settings: Any) -> Callable[..., tuple[Tensor, ...]]:  # noqa: ANN401
    """Return what stands in the graph in place of f: its fixed point, with a gradient."""

    def attached(*inputs: Any) -> tuple[Tensor, ...]:  # noqa: ANN401
        first = [i for i, each in enumerate(inputs) if isinstance(each, Tensor)][:3]
        order = [*first, *(i for i in range(len(inputs)) if i not in first)]

        def f(*given: Any) -> Tensor:  # noqa: ANN401
            placed = dict(zip(order, given, strict=True))
            fz: Tensor = graph(*(placed[i] for i in range(len(inputs))))[0]
            return fz

        z, status, evaluations, *reached = (inputs[i] for i in order)
        value = _Attach.apply(f, Settings(**settings), z, status, evaluations, *reached)
        return value, status.clone(), evaluations.clone()

    return attached


class _Attach(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        f: Callable[..., Tensor],
        settings: Settings,
        z: Tensor,
        status: Tensor,
        evaluations: Tensor,
        *reached: Any,  # noqa: ANN401
    ) -> Tensor:
        given = (status, evaluations, *reached)
        ctx.linear = linearised(f, z, given, (False, False, *ctx.needs_input_grad[5:]))
        ctx.settings, ctx.eps = settings, _rounding(z)
        kept = ctx.linear.point(z, *given)
        ctx.numbers = [None if isinstance(each, Tensor) else each for each in kept]
        tensors = (each for each in kept if isinstance(each, Tensor))
        ctx.save_for_backward(status, evaluations, *tensors)
        return z.clone()

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        if torch.is_grad_enabled():
            refuse(f"{HERE}: a gradient of the gradient (create_graph=True) is not compiled")
        status, evaluations, *tensors = ctx.saved_tensors
        others = iter(tensors)
        kept = [next(others) if each is None else each for each in ctx.numbers]
        backward = Backward(ctx.linear, ctx.settings, ctx.eps, status, evaluations, kept)
        gradients = iter(backward.gradients(u.contiguous()))
        given = (next(gradients) if is_one else None for is_one in ctx.linear.depends)
        return None, None, None, *given


def _rounding(z: Tensor) -> float:
    """Return that of the precision in which f works."""
    device, eps = z.device.type, torch.finfo(z.dtype).eps
    if torch.is_autocast_enabled(device):
        return max(eps, torch.finfo(torch.get_autocast_dtype(device)).eps)
    return eps
